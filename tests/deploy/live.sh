#!/usr/bin/env bash
# A real Prometheus with the files of deploy/ scrapes a real driver with real traffic; each expression of each panel, and each
# recording rule, gives data. The page of monitoring lists what a driver shows.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
start_pgalert 3 # the first three messages are retried

metrics=127.0.0.1:$(port) prometheus=127.0.0.1:$(port)

query "INSERT INTO pgalert.policies (name, retry_schedule, dedup_window, daily_limit) VALUES ('live', '{1 second}', '0', NULL);
       SELECT pgalert.add_recipient('ben', 'webhook', 'http://127.0.0.1:$(port)/nobody-listens')" >/dev/null

# Breakers open soon, and retries come soon.
env -i PATH="$PATH" DATABASE_URL="host=$PGHOST user=courier dbname=postgres" PGALERT_HTTP_ALLOW_HTTP=true \
  PGALERT_HTTP_ALLOW_ADDRESSES=127.0.0.1 PGALERT_WORKER_QUICK_RETRIES='' PGALERT_WORKER_RETRY_INTERVAL=1s \
  PGALERT_BREAKER_FAILURES=3 PGALERT_BREAKER_PAUSE=2s PGALERT_METRICS_LISTEN="$metrics" \
  "$PGALERT_TEST_DRIVER" run >"$out/driver.log" 2>&1 </dev/null &
started+=($!)
wait_for 20 'the driver shows metrics' curl --silent --fail --output /dev/null "http://$metrics/metrics"
# What the probes of Kubernetes ask.
for path in $(sed -n 's/.*httpGet: {path: \([^,]*\),.*/\1/p' "$deploy/kubernetes/deployment.yaml" | sort -u); do
  wait_for 20 "$path says yes" curl --silent --fail --output /dev/null "http://$metrics$path"
done

"$venv/bin/python" -B "$repo/tests/deploy/series.py" "http://$metrics/metrics" "$repo/docs/monitoring.md"

# As deployed, only faster, and of this driver.
cp -R "$deploy/prometheus" "$out/prometheus"
sed -i 's/\(_interval:\) 15s/\1 1s/' "$out/prometheus/prometheus.yml"
rm "$out/prometheus/targets/alertmanager.yml"
printf -- '- targets: ["%s"]\n' "$metrics" >"$out/prometheus/targets/pgalert.yml"
prometheus --config.file="$out/prometheus/prometheus.yml" --storage.tsdb.path="$out/tsdb" --web.listen-address="$prometheus" \
  >"$out/prometheus.log" 2>&1 </dev/null &
started+=($!)
wait_for 20 'Prometheus is ready' curl --silent --fail --output /dev/null "http://$prometheus/-/ready"

traffic() {
  while sleep 0.2; do
    "$("$(pg_config_of 15)" --bindir)/psql" --no-psqlrc --quiet --file="$repo/tests/deploy/traffic.sql" >/dev/null || return 0
  done
}
traffic 2>/dev/null &
started+=($!)
# The driver loses its database once.
wait_for 20 'something is delivered' eval '[ "$(query "SELECT count(*) > 0 FROM pgalert.alert_deliveries")" = t ]'
query "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'courier'" >/dev/null

"$venv/bin/python" -B "$repo/tests/deploy/expressions.py" "http://$prometheus" "$deploy" || {
  tail -n 5 "$out/driver.log" "$out/prometheus.log"
  exit 1
}
