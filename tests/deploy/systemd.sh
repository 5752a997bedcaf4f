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
