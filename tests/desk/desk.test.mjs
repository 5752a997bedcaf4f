// Each page at both widths, in dark and light; then each action, and what it does.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { check, launch, LOOKS, shoot, signIn, visitor } from "./browser.mjs";
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

const notice = (page) => page.getByRole("status").textContent();
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
