#!/usr/bin/env bash
# Shows what pgalert does: alerts go out by e-mail and webhook, a repetition is refused, a failure is retried, and what
# cannot be delivered is kept. All of it is private: a scratch cluster, a mail server, a receiver and the driver, which
# end with this script. On a terminal it waits at the end, so that you can go on in psql.
#   PGALERT_TEST_DRIVER=FILE   take this driver and the extension that is installed, build nothing
set -euo pipefail
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

demo=$repo/tests/demo
out=$(mktemp -d "${TMPDIR:-/tmp}/pgalert-demo.XXXXXX")
pg_config=$(pg_config_of 15)
psql=$("$pg_config" --bindir)/psql
driver_pid='' server_pids=()

clean_up() {
  trap '' INT TERM HUP
  end "$driver_pid"
  end "${server_pids[@]}"
  stop_cluster
  rm -rf "$out"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Ends processes of ours and waits until they have ended; what is not gone after 5 s is killed.
end() {
  local pid tries
  for pid in "$@"; do
    [ -n "$pid" ] || continue
    kill "$pid" 2>/dev/null || continue
    for ((tries = 0; tries < 100; tries++)); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.05
    done
    kill -9 "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
}

# On the terminal ----------------------------------------------------------------------------------------------------

bold='' dim='' green='' red='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
  bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
fi

heading() { printf '%s%s%s\n\n' "$bold" "$1" "$plain"; }
say() { printf '  %s\n\n' "$1"; }
indent() { sed 's/ *$//; s/^./    &/'; }
block() { indent && printf '\n'; }
code() { sed "s/^..*/    $dim&$plain/" && printf '\n'; }

fail() {
  printf '\n%sdemo: %s%s\n' "$red" "$1" "$plain"
  local log
  for log in driver.log mail.err receiver.err; do
    if [ -s "$out/$log" ]; then printf '\n%s:\n\n' "$log" && indent <"$out/$log"; fi
  done
  exit 1
} >&2

# begin TEXT, then a command's time on the same line.
begin() { printf '  %-54s' "$1" && started=$SECONDS; }
finish() { printf '%sdone%s, %s s\n' "$green" "$plain" $((SECONDS - started)); }

quiet() {
  "$@" >"$out/quiet.log" 2>&1 </dev/null || {
    printf '%sfailed%s\n\n' "$red" "$plain"
    cat "$out/quiet.log" >&2
    exit 1
  }
}

# SQL ----------------------------------------------------------------------------------------------------------------

query() { "$psql" -X -q -A -t -v ON_ERROR_STOP=1 -c "$1"; }
table() { "$psql" -X -q -v ON_ERROR_STOP=1 -P pager=off -P border=1 -P footer=off -P null='-' "$@"; }

# run ROLE <<'SQL': shows the SQL, runs it, shows the rows that it gave.
run() {
  local text rows
  text=$(cat)
  code <<<"$text"
  rows=$(PGUSER=$1 table <<<"$text") || fail 'this SQL failed'
  if [ -n "$rows" ]; then block <<<"$rows"; fi
}

# fire STATUS <<'SQL': the same as the application's role, of which deliver_alert() must say this.
fire() {
  local text status
  text=$(cat)
  code <<<"$text"
  status=$(PGUSER=app query "$text") || fail 'this SQL failed'
  [ "$status" = "$1" ] || fail "deliver_alert() said \"$status\", not \"$1\""
  printf '    = %s%s%s\n\n' "$green" "$status" "$plain"
}

# show SQL: the rows, without the SQL that selects them.
show() {
  local rows
  rows=$(table -c "$1") || fail 'this SQL failed'
  block <<<"$rows"
}

# wait_for SECONDS WHAT COMMAND…: until the command succeeds, and not longer.
wait_for() {
  local limit=$((SECONDS + $1)) seconds=$1 what=$2
  shift 2
  until "$@" 2>/dev/null; do
    if [ -n "$driver_pid" ] && ! kill -0 "$driver_pid" 2>/dev/null; then fail "the driver has ended; waited for: $what"; fi
    if [ $SECONDS -gt $limit ]; then fail "waited $seconds s in vain for: $what"; fi
    sleep 0.05
  done
}

holds() { [ "$(query "SELECT $1")" = t ]; }

# serve NAME [ARGUMENT…]: starts NAME.py with the folder that its arrivals go to, and learns its port as $port.
serve() {
  local name=$1
  shift
  "$venv/bin/python" -B "$demo/$name.py" "$out/$name" "$@" >"$out/$name.log" 2>"$out/$name.err" </dev/null &
  server_pids+=($!)
  wait_for 10 "$name.py listens" test -s "$out/$name.log"
  port=$(head -n 1 "$out/$name.log")
}

# Set up -------------------------------------------------------------------------------------------------------------

driver=${PGALERT_TEST_DRIVER:-}
cd "$repo"
heading 'Setting up'
if [ -z "$driver" ]; then
  begin 'extension: build and install (at first some minutes)'
  quiet install_extension "$pg_config"
  finish
  begin 'driver: build (at first some minutes)'
  quiet cargo build --release --package pgalert-driver
  finish
  driver=${CARGO_TARGET_DIR:-$repo/target}/release/pgalert
fi
begin 'PostgreSQL, a mail server, an HTTP receiver: start'
start_cluster "$pg_config" >"$out/quiet.log" 2>&1 || { cat "$out/quiet.log" >&2 && exit 1; }
serve mail
mail_port=$port
serve receiver 1
receiver_port=$port
finish
printf '\n'

heading 'In the database: the extension, who may do what, where people are reached'
query 'CREATE ROLE app LOGIN'
query 'CREATE DATABASE demo OWNER app'
export PGDATABASE=demo
run postgres <<SQL
CREATE EXTENSION pgalert;
GRANT pgalert_producer TO app;                     -- all that an application needs
CREATE ROLE courier LOGIN IN ROLE pgalert_driver;  -- for the driver
INSERT INTO pgalert.policies (name, retry_schedule) VALUES ('demo', '{2 seconds,4 seconds}');

SELECT v.*, pgalert.add_recipient(user_id, channel, address)
FROM (VALUES ('anna', 'email',   'anna@example.org'),
             ('ben',  'email',   'ben@example.org'),
             ('ops',  'webhook', 'http://127.0.0.1:$receiver_port/hook')) AS v (user_id, channel, address);
SQL

heading 'Beside it: the driver, which does the network'
cat >"$out/pgalert.toml" <<TOML
[worker]
retry_interval = "1s"
[email]
host = "127.0.0.1"
port = $mail_port
security = "none"
from = "Alerts <alerts@example.com>"
[http]
allow_http = true
allow_addresses = ["127.0.0.1"]  # recipients' URLs lead to public addresses alone otherwise
TOML
code <<<'DATABASE_URL='\''user=courier dbname=demo …'\'' pgalert --config pgalert.toml run'
block <"$out/pgalert.toml"
# Nothing of the environment: a proxy or a setting there would be the driver's too.
env -i PATH="$PATH" DATABASE_URL="host=$cluster user=courier dbname=demo" PGALERT_METRICS_LISTEN= \
  "$driver" --config "$out/pgalert.toml" run >"$out/driver.log" 2>&1 </dev/null &
driver_pid=$!
wait_for 10 'the driver runs' grep -q running "$out/driver.log"

# The alerts ---------------------------------------------------------------------------------------------------------

heading '1. An alert goes out by e-mail and into the app'
fire queued <<'SQL'
SELECT pgalert.deliver_alert(
  '{"id": "vix-30", "name": "VIX above 30", "channels": ["email", "inapp"],
    "condition": {"symbol": "VIX", "op": ">", "value": 30}}',
  'anna', 'VIX is at 31.4, above your limit of 30.');
SQL
wait_for 10 'the e-mail to anna arrives' test -e "$out/mail/1"
say 'The e-mail that arrived:'
block <"$out/mail/1"
wait_for 10 'its delivery is recorded' holds "EXISTS (SELECT FROM pgalert.alert_deliveries WHERE user_id = 'anna')"
say "And anna's inbox, a row of the same transaction:"
run app <<'SQL'
SELECT alert_name, message, to_char(created_at, 'HH24:MI:SS') AS at FROM pgalert.inbox('anna');
SQL

heading '2. So does a row of a table of your own, with the legacy columns'
fire queued <<'SQL'
CREATE TABLE watches (id integer, name text, condition_json jsonb,
                      notify_inapp boolean, notify_email boolean);
INSERT INTO watches VALUES (7, 'Disk of db1', '{"free_percent": {"below": 10}}', false, true);

SELECT pgalert.deliver_alert(to_jsonb(w), 'ben', 'Disk of db1: 8 % free.') FROM watches w WHERE id = 7;
SQL
wait_for 10 'the e-mail to ben arrives' test -e "$out/mail/2"
say 'The e-mail that arrived:'
block <"$out/mail/2"

heading '3. The same content again is refused'
fire duplicate <<'SQL'
SELECT pgalert.deliver_alert(to_jsonb(w), 'ben', 'Disk of db1: 8 % free.') FROM watches w WHERE id = 7;
SQL
say 'No second e-mail. The refusal is counted (see suppressed_alerts below).'

heading '4. A webhook fails at first: the alert waits as a dead letter, and its retry delivers it'
fire queued <<'SQL'
SELECT pgalert.deliver_alert(
  '{"id": "queue-stuck", "name": "Queue is stuck", "channels": ["webhook"], "priority": "demo"}',
  'ops', 'No order was processed for 5 minutes.');
SQL
wait_for 10 'the first attempt reaches the receiver' test -e "$out/receiver/1"
wait_for 10 'the dead letter is there' holds "EXISTS (SELECT FROM pgalert.alert_dlq WHERE user_id = 'ops')"
say 'The receiver answered 500. In alert_dlq:'
show "SELECT state, retry_count, error_message,
             date_trunc('second', next_retry_at - created_at + interval '0.5 s') AS retry_after
      FROM pgalert.alert_dlq WHERE user_id = 'ops'"
wait_for 15 'the retry reaches the receiver' test -e "$out/receiver/2"
wait_for 10 'its delivery is recorded' holds "EXISTS (SELECT FROM pgalert.alert_deliveries WHERE user_id = 'ops')
  AND NOT EXISTS (SELECT FROM pgalert.alert_dlq WHERE user_id = 'ops')"
say 'The webhook that arrived with the retry:'
block <"$out/receiver/2"
delivery_key=$(query "SELECT delivery_key FROM pgalert.alert_deliveries WHERE user_id = 'ops'")
for request in 1 2; do
  grep -qx "webhook-id: $delivery_key" "$out/receiver/$request" || fail "the webhook-id of request $request is not the delivery key"
done
say 'Both requests had this webhook-id, the delivery key: by it a receiver drops what came twice.'
run app <<'SQL'
SELECT to_char(at, 'HH24:MI:SS.MS') AS at, event, attempt, channels, detail
FROM pgalert.alert_history('queue-stuck', 'ops');
SQL

heading '5. An alert without an address is kept, with its reason'
fire queued <<'SQL'
SELECT pgalert.deliver_alert('{"id": "welcome", "name": "Welcome", "channels": ["email"]}',
                             'carl', 'Your trial ends tomorrow.');
SQL
wait_for 10 'the dead letter is there' holds "EXISTS (SELECT FROM pgalert.alert_dlq WHERE user_id = 'carl')"
say 'Nobody knows where carl is reached: a dead letter, retried as the policy "normal" has it.'

# What is in the tables ----------------------------------------------------------------------------------------------

wait_for 10 'the deliveries are recorded' holds '(SELECT count(*) = 3 FROM pgalert.alert_deliveries)'
if [ -e "$out/mail/3" ] || [ -e "$out/receiver/3" ]; then fail 'something arrived twice'; fi

heading 'What the tables say'
say 'alert_deliveries: what reached somebody'
show "SELECT to_char(delivered_at, 'HH24:MI:SS') AS at, alert_id, user_id, delivery_methods, attempt, delivery_key
      FROM pgalert.alert_deliveries ORDER BY delivered_at"
say 'alert_dlq: what did not'
show "SELECT alert_id, user_id, state, retry_count, error_message,
             date_trunc('second', next_retry_at - created_at + interval '0.5 s') AS retry_after
      FROM pgalert.alert_dlq ORDER BY created_at"
say 'suppressed_alerts: what was refused'
show "SELECT to_char(suppressed_at, 'HH24:MI:SS') AS at, alert_id, user_id, reason, content_hash
      FROM pgalert.suppressed_alerts ORDER BY suppressed_at"

# What to try next ---------------------------------------------------------------------------------------------------

heading 'To try next'
try() {
  code <<'SQL'
-- carl gets an address, and his dead letter another try
SELECT pgalert.add_recipient('carl', 'email', 'carl@example.org');
SELECT pgalert.retry_now(id) FROM pgalert.alert_dlq WHERE user_id = 'carl';

-- another text for the same user and alert on one day: capped
SELECT pgalert.deliver_alert('{"id": "vix-30", "channels": ["email"]}', 'anna', 'VIX is at 33.0');

-- fire in a transaction, and roll it back: nothing is sent
BEGIN;
SELECT pgalert.deliver_alert('{"id": "order-9", "channels": ["email"]}', 'anna', 'Order 9 has failed.');
ROLLBACK;

-- what became of an alert
SELECT at, event, attempt, channels, detail FROM pgalert.alert_history('welcome', 'carl');
SQL
}

if [ -t 0 ] && [ -t 1 ]; then
  say 'All of it still runs. In a second terminal:'
  printf '    %spsql -h %s -U postgres -d demo%s\n\n' "$bold" "$cluster" "$plain"
  try
  say 'What arrives is shown here. Enter or Ctrl-C ends all of it.'
  tail -q -n 0 -f "$out/mail.log" "$out/receiver.log" 2>/dev/null &
  server_pids+=($!)
  trap 'printf "\n"; exit 0' INT
  read -r _ || true
else
  say 'Run this on a terminal, and it waits here with its cluster up. Then:'
  try
fi
