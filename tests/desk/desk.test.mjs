// Each page at both widths, in dark and light; then each action, and what it does.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { check, follow, launch, LOOKS, shoot, signIn, visitor } from "./browser.mjs";
import { fill, makeDatabase, OPERATOR_TOKEN, READ_ONLY_TOKEN, sql, startDesk, startReceiver, until } from "./world.mjs";

const TOKENS = { PGALERT_DESK_OPERATOR_TOKEN: OPERATOR_TOKEN, PGALERT_DESK_READ_ONLY_TOKEN: READ_ONLY_TOKEN };
const ONE = "SELECT id FROM pgalert.alert_dlq WHERE alert_id =";
let browser, receiver, desk, quiet;

before(async () => {
  makeDatabase("desk");
  makeDatabase("quiet");
  receiver = await startReceiver();
  await fill(receiver);
  desk = await startDesk({ environment: TOKENS });
  quiet = await startDesk({ database: "quiet", sends: false });
  browser = await launch();
  await until("all alerts have ended", () => sql("SELECT count(*) FROM pgalert.alert_dlq") === "71");
});

after(async () => {
  await browser?.close();
  await desk?.stop();
  await quiet?.stop();
  receiver?.stop();
});

// A page of somebody who has signed in, closed at the end; errors in its console fail the test.
async function withPage(options, work) {
  const { context, page, problems } = await visitor(browser, options.address ?? desk.address, options);
  try {
    if (!options.address) await signIn(page, options);
    await work(page);
    assert.deepEqual(problems, [], "errors in the console");
  } finally {
    await context.close();
  }
}

const notice = async (page) => {
  try {
    return await page.getByRole("status").textContent();
  } catch (cause) {
    throw new Error(`no notice, but at ${page.url()}: ${await page.locator("body").innerText()}`, { cause });
  }
};
const letters = (condition) => Number(sql(`SELECT count(*) FROM pgalert.alert_dlq WHERE ${condition}`));

describe("pages", () => {
  const pages = () => [
    ["overview", "/?period=hour"],
    ["overview-week", "/?period=week"],
    ["letters", "/letters"],
    ["letters-filtered", "/letters?state=exhausted&user_id=bob&sort=oldest"],
    ["letter", `/letters/${sql(`${ONE} 'disk-7'`)}`],
    ["errors", "/errors"],
    ["deliveries", "/deliveries"],
    ["recipients", "/recipients"],
    ["gradual", "/gradual"],
    ["no-page", "/nowhere"],
  ];
  for (const look of LOOKS) {
    test(`each at ${look.width} px, ${look.scheme}`, async () => {
      const { context, page, problems } = await visitor(browser, desk.address, look);
      await page.goto("/");
      await check(page, "sign-in");
      await shoot(page, "sign-in", look);
      await signIn(page);
      for (const [name, path] of pages()) {
        const response = await page.goto(path);
        assert.equal(response.status(), name === "no-page" ? 404 : 200, name);
        await check(page, name);
        await shoot(page, name, look);
      }
      assert.deepEqual(problems.filter((problem) => !problem.includes("404")), []);
      await context.close();
    });
    test(`without anything to show at ${look.width} px, ${look.scheme}`, async () => {
      await withPage({ ...look, address: quiet.address }, async (page) => {
        for (const [name, path, text] of [
          ["overview", "/", "Nothing failed."],
          ["letters", "/letters", "Nothing failed."],
          ["errors", "/errors", "Nothing failed."],
          ["deliveries", "/deliveries", "Quiet."],
          ["recipients", "/recipients", "Nobody yet."],
          ["gradual", "/gradual", "None."],
          ["actions", "/actions", "Nothing was done by hand."],
        ]) {
          await page.goto(path);
          assert.ok(await page.getByText(text, { exact: true }).first().isVisible(), `${name}: ${text}`);
          await check(page, `${name} without anything`);
          await shoot(page, `quiet-${name}`, look);
        }
      });
    });
  }
});

describe("signing in and out", () => {
  test("a wrong token is told, and the name kept", async () => {
    const { context, page } = await visitor(browser, desk.address);
    await signIn(page, { token: "not a token of anybody" });
    assert.match(await page.getByRole("alert").textContent(), /token is not known/);
    assert.equal(await page.getByLabel("Your name").inputValue(), "Ada");
    await context.close();
  });

  test("one comes to the page that was wanted, and is out after signing out", async () => {
    await withPage({}, async (page) => {
      await follow(page, page.getByRole("button", { name: "Sign out" }));
      await page.goto("/errors?channel=webhook");
      await page.getByLabel("Your name").fill("Ada");
      await page.getByLabel("Token").fill(OPERATOR_TOKEN);
      await page.keyboard.press("Enter");
      await page.getByRole("heading", { name: "Errors", exact: true }).waitFor();
      assert.match(page.url(), /\/errors\?channel=webhook$/);
    });
  });

  test("who only reads has nothing to press", async () => {
    await withPage({ name: "Rita", token: READ_ONLY_TOKEN }, async (page) => {
      for (const path of ["/letters", `/letters/${sql(`${ONE} 'disk-7'`)}`, "/errors", "/recipients"]) {
        await page.goto(path);
        assert.equal(await page.locator("form[method=post]:not([action='/sign-out'])").locator("button").count(), 0, path);
        await check(page, `${path}, to be read only`);
      }
    });
  });
});

describe("what is shown", () => {
  test("markup of an alert is text", async () => {
    await withPage({}, async (page) => {
      await page.goto(`/letters/${sql(`${ONE} 'script'`)}`);
      assert.match(await page.title(), /^<script>document.title = "name"/);
      assert.match(await page.locator("blockquote").textContent(), /^<script>document.title = "message"<\/script><img/);
      assert.equal(await page.locator("main script, main img").count(), 0);
      await page.goto("/letters?alert_id=script");
      assert.ok(await page.getByRole("link", { name: '<script>document.title = "name"</script>' }).isVisible());
    });
  });

  test("a filter, an order and the next page", async () => {
    await withPage({}, async (page) => {
      await page.goto("/letters");
      await follow(page, page.getByRole("link", { name: /^exhausted/ }));
      await page.getByText("Filter and order").click();
      await page.getByLabel("User").fill("bob");
      await page.getByLabel("Order").selectOption("oldest first");
      await follow(page, page.getByRole("button", { name: "Show" }));
      const seen = async () => page.locator("tbody input[name=id]").evaluateAll((boxes) => boxes.map((box) => box.value));
      const first = await seen();
      assert.equal(first.length, 50);
      await follow(page, page.getByRole("link", { name: "Next page" }));
      const all = [...first, ...(await seen())];
      assert.equal(all.join("\n"), sql("SELECT id FROM pgalert.alert_dlq WHERE state = 'exhausted' AND user_id = 'bob' ORDER BY created_at, id"));
    });
  });

  test("a search of deliveries goes on where it found nothing among many", async () => {
    sql(`INSERT INTO pgalert.alert_deliveries (alert_id, content_hash, delivery_methods, delivery_key, attempt, priority, accepted_at)
         SELECT 'rare-' || n, 'h', CASE n WHEN 1 THEN '["pager"]' ELSE '["slack"]' END::jsonb, pgalert._message_key(), 1, 'normal', now() FROM generate_series(1, 20001) n`);
    await withPage({}, async (page) => {
      await page.goto("/deliveries");
      await page.getByLabel("Channel").fill("pager");
      await follow(page, page.getByRole("button", { name: "Show" }));
      assert.ok(await page.getByText("None so far.").isVisible());
      assert.match(await page.locator("main").textContent(), /Looked through deliveries as far as those of/);
      for (const look of LOOKS) {
        await page.setViewportSize({ width: look.width, height: 844 });
        await page.emulateMedia({ colorScheme: look.scheme });
        await check(page, "deliveries, not found yet");
        await shoot(page, "deliveries-further", look);
      }
      await follow(page, page.getByRole("link", { name: "Look further" }));
      assert.equal(await page.locator("tbody tr").count(), 1);
      assert.ok(await page.getByRole("link", { name: "rare-1", exact: true }).isVisible());
      for (let step = 0; (await page.getByRole("link", { name: "Look further" }).count()) > 0; step++) {
        assert.ok(step < 10, "it comes to the end");
        await follow(page, page.getByRole("link", { name: "Look further" }));
        assert.equal(await page.locator("tbody tr").count(), 0, "there is no other");
      }
      assert.equal(await page.getByRole("link", { name: "Next page" }).count(), 0);
    });
  });

  test("by the keyboard alone", async () => {
    await withPage({}, async (page) => {
      await page.goto("/letters");
      await page.keyboard.press("Tab");
      assert.equal(await page.evaluate(() => document.activeElement.textContent), "To the content");
      await page.keyboard.press("Enter");
      assert.equal(await page.evaluate(() => document.activeElement.id), "main");
      await page.locator("tbody input[name=id]").first().focus();
      await page.keyboard.press("Space");
      assert.equal(await page.locator("[data-count=id]").textContent(), "(1)");
      await page.keyboard.press("Tab");
      await page.keyboard.press("Enter");
      await page.getByRole("heading", { name: "Attempts" }).waitFor();
    });
  });
});

describe("what is done", () => {
  const open = (page, alert) => page.goto(`/letters/${sql(`${ONE} '${alert}'`)}`);

  test("a retry that fails again leaves the letter with its count", async () => {
    await withPage({}, async (page) => {
      await open(page, "disk-1");
      await page.getByRole("button", { name: "Retry now" }).click();
      assert.match(await notice(page), /^Queued/);
      await until("it has failed again", () => letters("alert_id = 'disk-1' AND state = 'exhausted' AND retry_count = 1") === 1);
      await page.reload();
      assert.equal(await page.locator(".timeline li").count(), 2);
    });
  });

  test("edited and retried, it arrives as it was edited; without a script, too", async () => {
    for (const [alert, script] of [["disk-2", true], ["disk-3", false]]) {
      const { context, page } = await visitor(browser, desk.address, { script, width: 390 });
      await signIn(page);
      await open(page, alert);
      await page.getByRole("textbox", { name: "Message" }).fill(`Mended: ${alert}\r\nSecond line`);
      await page.getByLabel("Address by webhook").fill(`${receiver.url}/ok`);
      await page.getByRole("button", { name: "Save and retry" }).click();
      assert.match(await notice(page), /^Saved and queued/);
      await until(`${alert} arrives`, () => receiver.received.some((one) => one.alert_id === alert));
      const got = receiver.received.filter((one) => one.alert_id === alert);
      assert.deepEqual(got.map((one) => [one.path, one.message]), [["/ok", `Mended: ${alert}\nSecond line`]]);
      await until("it is no letter any more", () => letters(`alert_id = '${alert}'`) === 0);
      sql(`UPDATE pgalert.recipients SET address = '${receiver.url}/down' WHERE user_id = 'bob'`);
      await context.close();
    }
  });

  test("discarded with a reason, which the log of actions has", async () => {
    await withPage({}, async (page) => {
      await open(page, "disk-4");
      await page.getByLabel("Reason to discard").fill("the disk was replaced");
      await page.getByRole("button", { name: "Discard" }).click();
      assert.match(await notice(page), /^Discarded/);
      assert.equal(letters("alert_id = 'disk-4'"), 0);
      assert.equal(sql("SELECT operator || ' ' || action || ': ' || reason FROM pgalert.operator_log ORDER BY id DESC LIMIT 1"), "Ada discard: the disk was replaced");
    });
  });

  test("one that is gone is told", async () => {
    const { context, page } = await visitor(browser, desk.address);
    await signIn(page);
    await page.goto("/letters/00000000-0000-0000-0000-000000000000");
    assert.equal(await page.getByRole("heading", { level: 1 }).textContent(), "Not found");
    await context.close();
  });

  test("what is ticked is discarded, and nothing else", async () => {
    await withPage({}, async (page) => {
      const before = letters("true");
      await page.goto("/letters?user_id=cleo");
      await page.getByLabel("Select all of this page").check();
      await page.locator("tbody input[name=id]").first().uncheck();
      await page.getByPlaceholder("Reason (needed to discard)").fill("the receiver is gone");
      await page.getByRole("button", { name: "Discard" }).click();
      assert.equal(await notice(page), "2 letters discarded.");
      assert.deepEqual([letters("user_id = 'cleo'"), letters("true")], [1, before - 2]);
      assert.match(page.url(), /user_id=cleo/);
    });
  });

  test("an address that was disabled is enabled", async () => {
    await withPage({}, async (page) => {
      await page.goto("/recipients?user_id=cleo");
      await page.getByRole("button", { name: /^Enable/ }).click();
      assert.match(await notice(page), /again/);
      assert.equal(sql("SELECT disabled_at IS NULL FROM pgalert.recipients WHERE user_id = 'cleo'"), "t");
      await page.goto("/actions?action=enable_recipient");
      await follow(page, page.getByRole("link", { name: "webhook of cleo" }));
      assert.equal(await page.locator("tbody tr").count(), 1);
    });
  });

  test("a group is all of its letters, and no letter that only looks like them", async () => {
    const lost = (alert, channels, host) => sql(`
      INSERT INTO pgalert.alert_dlq (alert_id, user_id, alert_data, error_message, error_class, state, channels, host, priority, content_hash, delivery_key, accepted_at)
      VALUES ('${alert}', 'eve', '{"message": "m"}', 'the modem is silent', 'modem', 'exhausted', '${channels}', ${host}, 'normal', 'h', gen_random_uuid(), now())`);
    lost("both-1", "{slack,sms}", "NULL");
    lost("both-2", "{slack,sms}", "NULL");
    lost("one", "{slack}", "NULL");
    lost("other", "{slack,sms}", "'modem.example.com'");
    await withPage({}, async (page) => {
      const group = page.locator(".group", { hasText: "slack,sms" }).filter({ hasNotText: "modem.example.com" });
      await page.goto("/errors?error_class=modem");
      await follow(page, group.getByRole("link", { name: "2 letters" }));
      assert.equal(await page.locator("tbody tr").count(), 2);
      assert.match(await page.locator(".head").textContent(), /2 match/);
      await page.goto("/errors?error_class=modem");
      await group.getByText("Act on all").click();
      await group.getByLabel("Reason (needed to discard)").fill("the modem was replaced");
      await group.getByRole("button", { name: "Discard all" }).click();
      assert.equal(await notice(page), "2 letters discarded.");
      assert.equal(sql("SELECT string_agg(alert_id, ' ' ORDER BY alert_id) FROM pgalert.alert_dlq WHERE error_class = 'modem'"), "one other");
      sql("DELETE FROM pgalert.alert_dlq WHERE error_class = 'modem'");
    });
  });

  test("a group is retried gradually and stops while it fails; then all of it is retried", async () => {
    await withPage({}, async (page) => {
      const failing = page.locator(".group", { hasText: "http.5xx" });
      await page.goto("/errors");
      await failing.getByText("Act on all").click();
      await check(page, "errors, with a group open");
      await failing.getByRole("button", { name: "Retry gradually" }).click();
      assert.match(await notice(page), /^Started/);
      await until("it has stopped", () => sql("SELECT state FROM pgalert.list_gradual_retries()") === "stopped");
      await page.goto("/gradual");
      assert.ok(await page.getByText("stopped", { exact: true }).isVisible());
      for (const look of LOOKS) {
        await page.setViewportSize({ width: look.width, height: 844 });
        await page.emulateMedia({ colorScheme: look.scheme });
        await check(page, "gradual retries");
        await shoot(page, "gradual", look);
      }

      receiver.mended = true;
      await page.setViewportSize({ width: 1440, height: 900 });
      await page.goto("/errors");
      const count = letters("error_class = 'http.5xx' AND state <> 'queued'");
      await failing.getByText("Act on all").click();
      await failing.getByRole("button", { name: "Retry all now" }).click();
      assert.equal(await notice(page), `${count} letters queued.`);
      await until("all have arrived", () => letters("error_class = 'http.5xx'") === 0);
      const alerts = receiver.received.map((one) => one.alert_id);
      assert.equal(new Set(alerts).size, alerts.length, "each was sent once");
    });
  });
});

describe("what was done", () => {
  test("is listed with who and why, filtered and paged; from a letter one comes to its own", async () => {
    await withPage({ name: "Grace" }, async (page) => {
      await page.goto(`/letters/${sql(`${ONE} 'mail-1'`)}`);
      await page.getByLabel("Reason (may stay empty)").first().fill("the server is back");
      await page.getByRole("button", { name: "Retry now" }).click();
      assert.match(await notice(page), /^Queued/);
      await follow(page, page.getByRole("link", { name: "what persons did with it" }));
      const row = page.locator("tbody tr");
      assert.equal(await row.count(), 1);
      assert.match((await row.textContent()).replace(/\s+/g, " "), /Grace ?retry .*1 ?the server is back/);

      await follow(page, page.getByRole("link", { name: "All", exact: true }));
      for (const look of LOOKS) {
        await page.setViewportSize({ width: look.width, height: 844 });
        await page.emulateMedia({ colorScheme: look.scheme });
        await check(page, "actions");
        await shoot(page, "actions", look);
      }
      await page.setViewportSize({ width: 1440, height: 900 });
      await page.getByLabel("What").selectOption("discard");
      await page.getByLabel("Who").fill("Ada");
      await follow(page, page.getByRole("button", { name: "Show" }));
      const discards = "FROM pgalert.operator_log WHERE operator = 'Ada' AND action = 'discard'";
      assert.equal(await row.count(), Number(sql(`SELECT count(*) ${discards}`)));
      assert.ok(await page.getByText("the disk was replaced").isVisible());

      sql("INSERT INTO pgalert.operator_log (operator, action, letters) SELECT 'robot', 'retry', n FROM generate_series(1, 70) n");
      await page.goto("/actions?operator=robot");
      const seen = async () => page.locator("tbody td[data-label=Letters]").allTextContents();
      const first = await seen();
      await follow(page, page.getByRole("link", { name: "Next page" }));
      const numbers = Array.from({ length: 70 }, (_, n) => String(70 - n));
      assert.deepEqual([...first, ...(await seen())], numbers);
    });
  });
});
