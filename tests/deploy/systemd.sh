#!/usr/bin/env bash
# The units are valid, and as closed as they say: `systemd-analyze` from the files alone, no systemd runs here.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

most_exposed=1.2 # of 10

# What it only warns of, such as a misspelt key, is ignored by systemd and so would not hold.
said=$(as_installed systemd-analyze verify "$deploy"/systemd/pgalert* 2>&1) || fail "$said"
if grep pgalert <<<"$said"; then fail 'systemd would ignore some of it'; fi

hardening() { sed -n '/^# A user that exists/,/^SystemCallErrorNumber/p' "$1"; }
diff <(hardening "$deploy/systemd/pgalert.service") <(hardening "$deploy/systemd/pgalert-once.service") ||
  fail 'the services are not closed alike'

for service in pgalert pgalert-once; do
  score=$(systemd-analyze security --offline=yes --no-pager "$deploy/systemd/$service.service" | sed -n 's/.*exposure level for .*: \([0-9.]*\) .*/\1/p')
  echo "note: exposure of $service.service: $score of 10"
  awk -v score="$score" -v most="$most_exposed" 'BEGIN { exit !(score != "" && score <= most) }' ||
    fail "$service.service is exposed by \"$score\", more than $most_exposed"
done

# Every five minutes, as systemd reads it.
next=$(systemd-analyze calendar --iterations=2 "$(sed -n 's/^OnCalendar=//p' "$deploy/systemd/pgalert-once.timer")" |
  sed -n 's/.*\(Next elapse\|Iter. #2\): //p' | xargs -I{} date --date={} +%s)
[ $(($(tail -n 1 <<<"$next") - $(head -n 1 <<<"$next"))) = 300 ] || fail 'the timer does not elapse every 5 minutes'
grep -qx 'Persistent=true' "$deploy/systemd/pgalert-once.timer"

# What the daemon asks of the kernel while it works is what its unit leaves it: calls, kinds of sockets, and no code that can be written.
start_pgalert 0
query "SELECT pgalert.add_recipient('ann', 'email', 'ann@localhost')" >/dev/null
metrics=127.0.0.1:$(port)
env -i PATH="$PATH" DATABASE_URL="host=$PGHOST user=courier dbname=postgres" PGALERT_HTTP_ALLOW_HTTP=true PGALERT_HTTP_ALLOW_ADDRESSES=127.0.0.1 \
  PGALERT_EMAIL_HOST=localhost PGALERT_EMAIL_PORT="$(port)" PGALERT_EMAIL_FROM=pgalert@localhost PGALERT_WORKER_QUICK_RETRIES='' \
  PGALERT_TRACES_ENDPOINT="http://localhost:$(port)" PGALERT_METRICS_LISTEN="$metrics" \
  strace -D -f -qq -o "$out/calls" "$PGALERT_TEST_DRIVER" run >"$out/driver.log" 2>&1 </dev/null &
driver=$!
started+=("$driver")
wait_for 60 'the driver is ready' curl --silent --fail --output /dev/null "http://$metrics/readyz"
query "SELECT pgalert.deliver_alert('{\"id\": \"a\", \"channels\": [\"webhook\", \"email\"]}', 'ann', 'a')" >/dev/null
wait_for 60 'what can be sent is sent' eval '[ "$(query "SELECT count(*) FROM pgalert.alert_deliveries NATURAL JOIN (SELECT alert_id FROM pgalert.alert_dlq) AS d")" = 1 ]'
kill "$driver"
wait "$driver" || fail "$(tail -n 5 "$out/driver.log")"

# calls_of SET…: the calls of systemd's sets, and of the sets within them.
calls_of() {
  local set line
  for set in "$@"; do
    while read -r line _; do
      case $line in
        "$set" | '#' | '') ;;
        @*) calls_of "$line" ;;
        *) echo "$line" ;;
      esac
    done < <(systemd-analyze syscall-filter --no-pager "$set")
  done
}
unit=$deploy/systemd/pgalert.service
read -ra allowed <<<"$(sed -n 's/^SystemCallFilter=@/@/p' "$unit")"
read -ra refused <<<"$(sed -n 's/^SystemCallFilter=~//p' "$unit")"
used=$(sed -nE 's/^[0-9]+ +(<\.\.\. )?([a-z0-9_]+)(\(| resumed).*/\2/p' "$out/calls" | sort -u)
[ "$(wc -l <<<"$used")" -gt 30 ] || fail "too little was seen of the driver: $used"
beside=$(comm -23 - <(comm -23 <(calls_of @default "${allowed[@]}" | sort -u) <(calls_of "${refused[@]}" | sort -u)) <<<"$used")
[ "$beside" = '' ] || fail "the unit refuses what the driver calls: $beside"
families=$(grep -oE 'socket(pair)?\(AF_[A-Z0-9]+' "$out/calls" | grep -o 'AF_.*' | sort -u)
beside=$(comm -23 - <(sed -n 's/^RestrictAddressFamilies=//p' "$unit" | tr ' ' '\n' | sort) <<<"$families")
[ "$beside" = '' ] || fail "the unit refuses sockets of $beside"
if grep -q 'PROT_WRITE|PROT_EXEC' "$out/calls"; then fail 'the unit refuses memory that is written and run'; fi
