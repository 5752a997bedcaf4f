// What is easier with a script; everything works without it.
for (const all of document.querySelectorAll("[data-all]")) {
  const form = all.closest("form");
  const boxes = [...form.querySelectorAll(`input[name="${all.dataset.all}"]`)];
  const counter = form.querySelector(`[data-count="${all.dataset.all}"]`);
  const show = () => {
    const ticked = boxes.filter((box) => box.checked).length;
    all.checked = ticked === boxes.length;
    all.indeterminate = ticked > 0 && ticked < boxes.length;
    if (counter) counter.textContent = `(${ticked})`;
  };
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
    show();
  });
  for (const box of boxes) box.addEventListener("change", show);
  show();
}
// A second press while the first is on its way would only be answered "already queued".
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});
