#!/usr/bin/env bash
# What the timer and the cron line run is run, as it stands: it sends what is due.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
start_pgalert 0

fire() {
  [ "$(query "SELECT pgalert.deliver_alert('{\"id\": \"$1\", \"channels\": [\"webhook\"]}', 'ann', '$1')")" = queued ]
}
delivered() { query 'SELECT count(*) FROM pgalert.alert_deliveries'; }

# As systemd does: no shell, nothing of this environment, the variables of EnvironmentFile.
service=$deploy/systemd/$(sed 's/timer$/service/' <<<pgalert-once.timer)
variables=$(sed -n 's/^EnvironmentFile=-//p' "$service")
read -ra command <<<"$(sed -n 's/^ExecStart=//p' "$service")"
fire timer
said=$(as_installed sh -c 'eval "exec env -i $(tr "\n" " " <"$0") \"\$@\""' "$variables" "${command[@]}" 2>"$out/err") ||
  fail "$(cat "$out/err")"
[ "$said" = '1 delivered, 0 failed, 0 deferred, 0 skipped' ] || fail "the timer's command says \"$said\""
[ "$(delivered)" = 1 ]

# As cron does: the rest of the line after five fields of time and the user goes to sh; what is printed would be sent by mail.
line=$(grep '^[*0-9]' "$deploy/cron/pgalert")
[ "$(cut -d ' ' -f 1-6 <<<"$line")" = '*/5 * * * * pgalert' ] || fail "not every 5 minutes as pgalert: $line"
if [[ $line == *%* ]]; then fail 'cron takes a % for the end of the line'; fi
fire cron
said=$(as_installed env -i HOME=/tmp LOGNAME=pgalert PATH=/usr/bin:/bin SHELL=/bin/sh sh -c "$(cut -d ' ' -f 7- <<<"$line")" 2>&1) || fail "$said"
[ "$said" = '' ] || fail "the cron line says \"$said\""
[ "$(delivered)" = 2 ]
