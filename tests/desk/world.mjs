// What the desk is tried on: a database with the extension, a receiver that fails as it is told, and the driver.
import { execFileSync, spawn } from "node:child_process";
import { createServer } from "node:http";
import { once } from "node:events";
import { createInterface } from "node:readline";

export const OPERATOR_TOKEN = "an operator's token of the tests";
export const READ_ONLY_TOKEN = "a reader's token of the tests";

// Runs SQL as superuser; returns what it printed.
export function sql(text, database = "desk") {
  const options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database];
  return execFileSync("psql", options, { input: text, encoding: "utf8" }).trim();
}

// Asks until the answer is true.
export async function until(what, probe, limit = 30_000) {
  const deadline = Date.now() + limit;
  for (;;) {
    if (await probe()) return;
    if (Date.now() > deadline) throw new Error(`waited ${limit} ms in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

// A webhook's receiver: /ok takes all, /gone is gone, /down fails until `receiver.mended`.
export async function startReceiver() {
  const receiver = { received: [], mended: false };
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    const status = request.url === "/gone" ? 410 : request.url === "/down" && !receiver.mended ? 503 : 204;
    if (status === 204) receiver.received.push({ path: request.url, ...JSON.parse(body) });
    response.writeHead(status).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  receiver.url = `http://127.0.0.1:${server.address().port}`;
  receiver.stop = () => server.close();
  return receiver;
}

export function makeDatabase(name) {
  sql(`CREATE DATABASE ${name}`, "postgres");
  sql("CREATE EXTENSION pgalert", name);
}

const url = (user, database) => `postgresql://${user}@/${database}?host=${process.env.PGHOST}`;

// `pgalert run --desk`, or with `sends: false` the desk alone. Returns where it is.
export async function startDesk({ database = "desk", sends = true, environment = {} } = {}) {
  const child = spawn(process.env.PGALERT_TEST_DRIVER, sends ? ["run", "--desk"] : ["desk"], {
    env: {
      PATH: process.env.PATH,
      DATABASE_URL: url("courier", database),
      PGALERT_DESK_DATABASE_URL: url("clerk", database),
      PGALERT_DESK_LISTEN: "127.0.0.1:0",
      PGALERT_METRICS_LISTEN: "",
      PGALERT_HTTP_ALLOW_HTTP: "true",
      PGALERT_HTTP_ALLOW_ADDRESSES: "127.0.0.0/8",
      PGALERT_WORKER_QUICK_RETRIES: "",
      PGALERT_WORKER_RETRY_INTERVAL: "1s",
      PGALERT_WORKER_MAINTAIN_INTERVAL: "1s",
      PGALERT_BREAKER_FAILURES: "0",
      ...environment,
    },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const lines = createInterface({ input: child.stderr });
  let log = "";
  const address = await new Promise((resolve, reject) => {
    lines.on("line", (line) => {
      log += `${line}\n`;
      const found = line.match(/the desk is at (http:\S+)\//);
      if (found) resolve(found[1]);
    });
    child.on("exit", (code) => reject(new Error(`the desk ended with ${code}:\n${log}`)));
  });
  const stop = async () => {
    child.removeAllListeners("exit");
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    await ended;
  };
  return { address, stop };
}

// Users whose receivers do well and badly, alerts that were fired at them, and a week before.
export async function fill(receiver) {
  sql(`
    CREATE ROLE courier LOGIN IN ROLE pgalert_driver;
    CREATE ROLE clerk LOGIN IN ROLE pgalert_operator;
    INSERT INTO pgalert.policies (name, retry_schedule, daily_limit) VALUES ('at_once', '{}', NULL), ('often', DEFAULT, NULL);
    SELECT pgalert.add_recipient('ann', 'webhook', '${receiver.url}/ok');
    SELECT pgalert.add_recipient('bob', 'webhook', '${receiver.url}/down');
    SELECT pgalert.add_recipient('cleo', 'webhook', '${receiver.url}/gone');
    SELECT pgalert.add_recipient('dora', 'email', 'dora@example.com');`);
  past();
  sql(`
    SELECT count(pgalert.deliver_alert(jsonb_build_object('id', id, 'name', name, 'channels', channels, 'priority', priority), user_id, message)) FROM (
      SELECT 'cpu-' || n, 'CPU of web-' || n || ' above 90 %', '["webhook"]'::jsonb, 'often', 'ann', 'CPU at ' || 90 + n % 9 || ' % for 5 minutes' FROM generate_series(1, 40) n
      UNION ALL SELECT 'disk-' || n, 'Disk of db-' || n || ' is full', '["webhook"]', 'at_once', 'bob', '/var is at ' || 91 + n % 9 || ' % on db-' || n FROM generate_series(1, 57) n
      UNION ALL SELECT 'vix-' || n, 'VIX above ' || 25 + n, '["webhook"]', 'often', 'bob', 'VIX exceeded ' || 25 + n FROM generate_series(1, 6) n
      UNION ALL SELECT 'cert-' || n, 'Certificate of shop-' || n || ' ends', '["webhook"]', 'often', 'cleo', 'It ends in ' || n || ' days.' FROM generate_series(1, 3) n
      UNION ALL SELECT 'mail-' || n, 'Backup ' || n || ' is late', '["email"]', 'often', 'dora', 'Backup ' || n || ' was to end at 03:00.' FROM generate_series(1, 4) n
      UNION ALL SELECT 'script', '<script>document.title = "name"</script>', '["webhook"]', 'at_once', 'bob', '<script>document.title = "message"</script><img src=x onerror="document.title = 1">'
    ) AS a (id, name, channels, priority, user_id, message)`);
}

// A week of deliveries and some failures, as they would have been recorded: more by day than by night.
function past() {
  sql(`
    SELECT setseed(0.5);
    INSERT INTO pgalert.alert_deliveries (alert_id, user_id, content_hash, delivery_methods, delivered_at, delivery_key, attempt, priority, accepted_at)
    SELECT 'past-' || n, 'u' || n % 97, md5(n::text), CASE WHEN part < 0.5 THEN '["email"]' WHEN part < 0.85 THEN '["webhook"]' ELSE '["slack"]' END::jsonb,
           at, gen_random_uuid(), 1, 'normal', at - (0.05 + random() ^ 6 * 4) * interval '1 second'
    FROM (SELECT n, random() AS part, now() - interval '7 days' * n / 60000 AS at FROM generate_series(1, 60000) n) AS t
    WHERE random() < 0.55 + 0.4 * sin(extract(epoch FROM at) / 86400 * 2 * pi() - 2);
    INSERT INTO pgalert.delivery_failures (delivery_key, alert_id, user_id, channel, attempt, outcome, error_class, error, host, failed_at)
    SELECT gen_random_uuid(), 'past-' || n, 'u' || n % 97, CASE WHEN n % 3 = 0 THEN 'email' ELSE 'webhook' END, 1, CASE WHEN n % 4 = 0 THEN 'deferred' ELSE 'failed' END,
           CASE WHEN n % 3 = 0 THEN 'smtp.451' ELSE 'http.5xx' END, CASE WHEN n % 3 = 0 THEN '451 try again later' ELSE '502 Bad Gateway' END, 'hooks.example.com',
           now() - interval '7 days' * n / 900 - interval '2 hours' * random()
    FROM generate_series(1, 900) n`);
}
