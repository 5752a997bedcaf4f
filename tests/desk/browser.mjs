// A real browser, and what every page must be: free of faults that axe-core finds, of errors, and of sideways scrolling.
import assert from "node:assert/strict";
import { readFileSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { OPERATOR_TOKEN } from "./world.mjs";

const target = process.env.PGALERT_TEST_TARGET;
const require = createRequire(join(target, "node", "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const shots = join(target, "shots");
mkdirSync(shots, { recursive: true });

export const LOOKS = [390, 1440].flatMap((width) => ["light", "dark"].map((scheme) => ({ width, scheme })));

export const launch = () => chromium.launch({ executablePath: process.env.PGALERT_TEST_CHROMIUM, args: ["--no-sandbox"] });

// A person with a browser of their own. `problems` are errors of the console, a refusal of the policy of contents among them.
export async function visitor(browser, address, { width = 1440, scheme = "light", script = true } = {}) {
  const context = await browser.newContext({
    baseURL: address,
    colorScheme: scheme,
    javaScriptEnabled: script,
    reducedMotion: "reduce",
    viewport: { width, height: width < 800 ? 844 : 900 },
  });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const problems = [];
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(error.message));
  return { context, page, problems };
}

// Clicks what leads to another page, and waits for it.
export async function follow(page, target) {
  const loaded = page.waitForEvent("load");
  await target.click();
  await loaded;
}

export async function signIn(page, { name = "Ada", token = OPERATOR_TOKEN } = {}) {
  await page.goto("/sign-in");
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Token").fill(token);
  await follow(page, page.getByRole("button", { name: "Sign in" }));
}

export async function shoot(page, name, { width, scheme }) {
  const whole = await page.evaluate(() => document.documentElement.scrollHeight);
  const clip = { x: 0, y: 0, width, height: Math.min(whole, width < 800 ? 1500 : 1100) };
  await page.screenshot({ path: join(shots, `${name}-${width}-${scheme}.png`), fullPage: true, clip });
}

export async function check(page, name) {
  await page.evaluate(axe);
  const found = await page.evaluate(() =>
    globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  const faults = found.violations.map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => `${node.html} (${node.failureSummary})`).join("; ")}`);
  assert.deepEqual(faults, [], `axe-core on ${name}`);
  const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(wide <= room, `${name} scrolls sideways: ${wide} > ${room}`);
}
