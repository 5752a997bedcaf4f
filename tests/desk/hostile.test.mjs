// Texts of strangers are text: markup in each that a page shows runs nowhere, and moves nothing.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { check, follow, launch, signIn, visitor } from "./browser.mjs";
import { makeDatabase, OPERATOR_TOKEN, READ_ONLY_TOKEN, sql, startDesk } from "./world.mjs";

const markup = (name) => `<script>document.title="${name}"</script><img src=x onerror="document.title=1">"'>${name}`;
const quoted = (name) => `'${markup(name).replaceAll("'", "''")}'`;
const asJson = (name) => JSON.stringify(markup(name)).replaceAll("'", "''");
let browser, desk;

before(async () => {
  makeDatabase("hostile");
  // Channels have names of letters, digits and "_": of what is below, the tables would refuse no other.
  sql(`
    DO $$ BEGIN CREATE ROLE courier LOGIN IN ROLE pgalert_driver; CREATE ROLE clerk LOGIN IN ROLE pgalert_operator; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
    INSERT INTO pgalert.recipients (user_id, channel, address, disabled_at, disabled_reason) VALUES (${quoted("user")}, 'webhook', ${quoted("address")}, now(), ${quoted("disabled")});
    INSERT INTO pgalert.alert_dlq (alert_id, user_id, alert_data, error_message, error_class, state, channels, host, priority, content_hash, delivery_key, accepted_at)
    VALUES (${quoted("alert")}, ${quoted("user")}, '{"id": ${asJson("alert")}, "name": ${asJson("name")}, "message": ${asJson("message")}}', ${quoted("error")}, ${quoted("class")},
            'exhausted', ARRAY['webhook', ${quoted("channel")}], ${quoted("host")}, ${quoted("priority")}, 'h', '0199c1f2-7b1c-7d7e-8a50-0123456789ab', now());
    INSERT INTO pgalert.delivery_failures (delivery_key, alert_id, user_id, channel, recipient_id, attempt, outcome, error_class, error, host)
    SELECT '0199c1f2-7b1c-7d7e-8a50-0123456789ab', ${quoted("alert")}, ${quoted("user")}, ${quoted("channel")}, recipient_id, 1, 'failed', ${quoted("class")}, ${quoted("error")}, ${quoted("host")} FROM pgalert.recipients;
    INSERT INTO pgalert.alert_deliveries (alert_id, user_id, content_hash, delivery_methods, delivery_key, attempt, priority, accepted_at)
    VALUES (${quoted("alert")}, ${quoted("user")}, 'h', jsonb_build_array(${quoted("channel")}), gen_random_uuid(), 1, ${quoted("priority")}, now());
    INSERT INTO pgalert.operator_log (operator, action, filter, letters, reason) VALUES (${quoted("operator")}, ${quoted("action")}, jsonb_build_object('user_id', ${quoted("user")}), 1, ${quoted("reason")});
    INSERT INTO pgalert.gradual_retries (filter, started_by, reason, total, max_failure_share) VALUES (jsonb_build_object('user_id', ${quoted("user")}), ${quoted("operator")}, ${quoted("reason")}, 1, 0.1);`, "hostile");
  desk = await startDesk({ database: "hostile", sends: false, environment: { PGALERT_DESK_OPERATOR_TOKEN: OPERATOR_TOKEN, PGALERT_DESK_READ_ONLY_TOKEN: READ_ONLY_TOKEN } });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await desk?.stop();
});

const letter = () => `/letters/${sql("SELECT id FROM pgalert.alert_dlq", "hostile")}`;
// Each page, and what it shows of it.
const pages = () => [
  ["/", ["class", "channel"]],
  ["/letters", ["name", "user", "channel", "class", "error"]],
  [letter(), ["name", "message", "alert", "user", "channel", "priority", "class", "error", "host", "address", "disabled"]],
  ["/errors", ["class", "channel", "host"]],
  ["/deliveries", ["alert", "user", "channel", "priority"]],
  ["/recipients", ["user", "address", "disabled", "class"]],
  ["/gradual", ["user", "operator", "reason"]],
  ["/actions", ["operator", "action", "user", "reason"]],
  [`/letters?${new URLSearchParams({ user_id: markup("asked"), error_group: markup("group"), channels: markup("channels") })}`, []],
  [`/actions?${new URLSearchParams({ operator: markup("asked") })}`, []],
  [`/deliveries?${new URLSearchParams({ alert_id: markup("asked") })}`, []],
  [`/recipients?${new URLSearchParams({ user_id: markup("asked") })}`, []],
  [`/letters?${new URLSearchParams({ state: markup("asked") })}`, []],
  [`/sign-in?${new URLSearchParams({ next: markup("asked") })}`, []],
];

describe("markup is text", () => {
  for (const [role, token] of [["operator", OPERATOR_TOKEN], ["reader", READ_ONLY_TOKEN]]) {
    test(`on each page, to one whose own name is markup: ${role}`, async () => {
      const { context, page, problems } = await visitor(browser, desk.address);
      const asked = [];
      page.on("request", (request) => asked.push(new URL(request.url()).pathname));
      await signIn(page, { name: markup("me").slice(0, 80), token });
      for (const [path, shown] of pages()) {
        const response = await page.goto(path);
        assert.ok([200, 400].includes(response.status()), `${path}: ${response.status()}`);
        await page.waitForLoadState("networkidle");
        const text = (await page.locator("body").innerText()).replaceAll("\u00a0", " ");
        for (const name of shown) assert.ok(text.includes(markup(name)), `${path} shows the markup of ${name} as it is: ${text}`);
        assert.match(await page.title(), path === letter() ? /^<script>/ : /pgalert$/);
        const strange = await page.evaluate(() => document.querySelectorAll("body script, img[src=x], [onerror]").length);
        assert.equal(strange, 0, `${path} has elements that it was not made with`);
        if (role === "operator") await check(page, path.slice(0, 40));
      }
      assert.ok(!asked.some((path) => path.endsWith("/x")), "an image of the markup was asked for");
      assert.deepEqual(problems.filter((problem) => !/40\d/.test(problem)), []);
      await context.close();
    });
  }

  test("what is pressed among it does what it says", async () => {
    const { context, page } = await visitor(browser, desk.address);
    await signIn(page, {});
    await page.goto("/errors");
    await follow(page, page.getByRole("link", { name: "1 letter" }));
    assert.equal(await page.locator("tbody tr").count(), 1, "the group is found by its names");
    await page.goto("/actions");
    await follow(page, page.locator("td.lead a"));
    assert.equal(await page.locator("tbody tr").count(), 1);
    await page.goto("/errors");
    await page.getByText("Act on all").click();
    await page.getByLabel("Reason (needed to discard)").fill(markup("why"));
    await follow(page, page.getByRole("button", { name: "Discard all" }));
    assert.equal(sql("SELECT count(*) FROM pgalert.alert_dlq", "hostile"), "0");
    assert.equal(sql("SELECT reason FROM pgalert.operator_log ORDER BY id DESC LIMIT 1", "hostile"), markup("why"));
    await context.close();
  });
});

describe("who reads only", () => {
  test("has nothing to press on any page, and a form of another does nothing for them", async () => {
    const { context, page } = await visitor(browser, desk.address);
    await signIn(page, { name: "Rita", token: READ_ONLY_TOKEN });
    for (const path of ["/", "/letters", "/errors", "/deliveries", "/recipients", "/gradual", "/actions"]) {
      await page.goto(path);
      assert.equal(await page.locator("form[method=post]:not([action='/sign-out']) button").count(), 0, path);
    }
    // The one form of the page, which is signed, sent to where it was not meant for.
    const response = page.waitForResponse((one) => one.request().method() === "POST");
    await page.evaluate(() => {
      const form = document.querySelector("form[action='/sign-out']");
      form.action = "/recipients/1/enable";
      form.submit();
    });
    assert.equal((await response).status(), 403);
    assert.equal(sql("SELECT count(*) FROM pgalert.operator_log", "hostile"), "2");
    await context.close();
  });

  test("a form without its page's signature is refused", async () => {
    const { context, page } = await visitor(browser, desk.address);
    await signIn(page);
    await page.goto("/recipients");
    await page.locator("form[action$='/enable'] [name=csrf]").evaluate((field) => (field.value = "forged"));
    const response = page.waitForResponse((one) => one.request().method() === "POST");
    await page.getByRole("button", { name: /^Enable/ }).click();
    assert.equal((await response).status(), 403);
    assert.equal(sql("SELECT disabled_at IS NOT NULL FROM pgalert.recipients", "hostile"), "t");
    await context.close();
  });
});
