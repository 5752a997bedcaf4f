#!/usr/bin/env bash
# Measures pgalert in a private cluster (fsync on), each figure as a ratio to another of the same run.
#   tests/bench/run.sh [firing] [claiming] [snapshot] [latency] [wal] [sending] [tracing] [desk]      default: all
#   BENCH_MINUTES=5    how long the snapshot is held
#   BENCH_LETTERS=1000000 BENCH_DELIVERIES=10000000    what the desk looks at
set -euo pipefail
. "$(dirname "$0")/../lib.sh"
here=$repo/tests/bench
parts=("$@")
minutes=${BENCH_MINUTES:-5}
pg_config=$(pg_config_of 15)
pgbench=$("$pg_config" --bindir)/pgbench
children=()
trap 'kill "${children[@]}" 2>/dev/null || true; wait; stop_cluster' EXIT

wanted() { [ ${#parts[@]} -eq 0 ] || [[ " ${parts[*]} " == *" $1 "* ]]; }
sql() { psql -XqAt -v ON_ERROR_STOP=1 -d bench "$@"; }
tps() { "$pgbench" -n -M prepared -c "$2" -j 2 -T "$3" -f "$here/$1.sql" bench 2>/dev/null | awk '/^tps/ { print $3 }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
line() { printf '%-66s %12s %12s %8s\n' "$@"; }

install_extension "$pg_config" >/dev/null 2>&1
start_cluster "$pg_config" fsync=on shared_buffers=4GB max_wal_size=8GB checkpoint_timeout=30min autovacuum_naptime=10s
createdb bench
sql -c 'CREATE EXTENSION pgalert' -f "$here/prepare.sql"
"$pgbench" -n -T 12 -c 1 -f "$here/single.sql" bench >/dev/null 2>&1  # nobody listens: after ten seconds nobody is notified
echo "PostgreSQL $(sql -c 'SHOW server_version'), $(nproc) cores, $(awk '/MemTotal/ { printf "%d GiB", $2 / 1048576 }' /proc/meminfo)"
# What a commit waits for, and so most of what a raw INSERT costs.
as_server "$("$pg_config" --bindir)/pg_test_fsync" --secs-per-test=1 --filename="$cluster/data/fsync" 2>/dev/null |
  awk '$1 == "fdatasync" { print "a commit waits " $4 " µs for the disk"; exit }'
line 'figure' 'pgalert' 'beside' 'ratio'

raw_rates=()
if wanted firing || wanted claiming; then
  singles=() bulks=() single_ratios=() bulk_ratios=()
  for _ in 1 2 3 4 5; do
    raw=$(tps raw 4 6) single=$(tps single 4 6)
    raw_rates+=("$raw") singles+=("$single") single_ratios+=("$(ratio "$single" "$raw")")
    if wanted firing; then
      bulk=$(tps bulk 4 6 | awk '{ print $1 * 1000 }')
      bulks+=("$bulk") bulk_ratios+=("$(ratio "$bulk" "$single")")
    fi
  done
fi
mid() { printf '%s\n' "$@" | median; }
if wanted firing; then
  line 'deliver_alert / raw INSERT, 4 clients, median of 5 pairs, /s' "$(mid "${singles[@]}")" "$(mid "${raw_rates[@]}")" "$(mid "${single_ratios[@]}")"
  line 'deliver_alerts (1000) / deliver_alert, 4 clients, alerts/s' "$(mid "${bulks[@]}")" "$(mid "${singles[@]}")" "$(mid "${bulk_ratios[@]}")"
fi

empty() { sql -c 'CALL drain(2147483647, 10000, 10000)' >/dev/null; sql -c 'SELECT pgalert.rotate_outbox(), pgalert.rotate_outbox()' >/dev/null; }

if wanted claiming; then
  cargo build --quiet --release --package e2e --bin claiming
  empty
  rates=()
  for _ in 1 2 3; do
    sql -c 'CALL fill(100)'
    rates+=("$(PGDATABASE=bench "${CARGO_TARGET_DIR:-$repo/target}/release/claiming" 500 100)")
  done
  line 'claim 500, report in parts of 100 / raw INSERT, messages/s' "$(mid "${rates[@]}")" "$(mid "${raw_rates[@]}")" "$(ratio "$(mid "${rates[@]}")" "$(mid "${raw_rates[@]}")")"
fi

if wanted snapshot; then
  empty
  mkfifo "$cluster/snapshot"
  sql <"$cluster/snapshot" >/dev/null &
  children+=($!)
  exec 9>"$cluster/snapshot"
  echo 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class;' >&9
  "$pgbench" -n -M prepared -c 2 -R 200 -T $((minutes * 60 + 120)) -f "$here/single.sql" bench >/dev/null 2>&1 &
  children+=($!)
  first=() last=() begin=$SECONDS
  while [ $((SECONDS - begin)) -lt $((minutes * 60)) ]; do
    sql -c 'CALL fill(20)'
    at=$((SECONDS - begin))
    rate=$(sql -c 'CALL drain(20000, 500, 100)')
    sql -c 'SELECT pgalert.maintain()' >/dev/null
    if [ $at -lt 60 ]; then first+=("$rate"); fi
    if [ $at -ge $(((minutes - 1) * 60)) ]; then last+=("$rate"); fi
  done
  exec 9>&-
  kill "${children[@]}" 2>/dev/null || true
  line "the same, snapshot held: minute $minutes / minute 1, messages/s" "$(mid "${last[@]}")" "$(mid "${first[@]}")" "$(ratio "$(mid "${last[@]}")" "$(mid "${first[@]}")")"
fi

if wanted latency; then
  empty
  sql -c 'CALL fill(40)' -c CHECKPOINT
  few=$(sql -c 'CALL claim_latency(45)')
  empty
  sql -c 'CALL fill(1000)' -c CHECKPOINT
  many=$(sql -c 'CALL claim_latency(45)')
  line 'claim of 500 with 1,000,000 / 40,000 messages waiting, ms' "$many" "$few" "$(ratio "$many" "$few")"
fi

if wanted wal; then
  empty
  sql -c 'CHECKPOINT' -c 'CALL fill(5)' -c 'CALL drain(2147483647, 500, 100)' >/dev/null
  before=$(sql -c 'SELECT pg_current_wal_insert_lsn()')
  "$pgbench" -n -M prepared -c 4 -t 5000 -f "$here/single.sql" bench >/dev/null 2>&1
  fired=$(sql -c 'SELECT pg_current_wal_insert_lsn()')
  sql -c 'CALL drain(2147483647, 500, 100)' >/dev/null
  line 'WAL bytes a message, fired one by one: whole life, firing alone' \
    "$(sql -c "SELECT round((pg_current_wal_insert_lsn() - '$before') / 20000)")" "$(sql -c "SELECT round(('$fired'::pg_lsn - '$before') / 20000)")" ''
fi

if wanted sending || wanted tracing; then
  cargo build --quiet --release --package pgalert-driver
  cargo build --quiet --release --package e2e --bin sending
  target=${CARGO_TARGET_DIR:-$repo/target}/release
  export BENCH_DRIVER=$target/pgalert DATABASE_URL="host=$PGHOST user=postgres dbname=bench"
fi

if wanted sending; then
  empty
  read -r driven bare cpu < <("$target/sending" rate 20000)
  line 'pgalert run to a local HTTP sink / the same client in a bare loop, /s' "$driven" "$bare" "$(ratio "$driven" "$bare")"
  line 'processor time of the driver for each message, µs' "$cpu" '' ''
  read -r half most < <("$target/sending" latency 300)
  line 'commit to receipt, driver asleep: p50, p99 in ms' "$half" "$most" ''
  read -r first least most < <("$target/sending" memory 200000)
  line 'memory of the daemon over 200,000 sends: after a tenth, least, most in MiB' "$first" "$least-$most" "$(ratio "$most" "$first")"
fi

if wanted tracing; then
  empty
  read -r traced untraced part < <("$target/sending" tracing 20000)
  line 'pgalert run with a tenth of the sends traced / without traces, 9 pairs, /s' "$traced" "$untraced" "$part"
fi

if wanted desk; then
  sql -f "$here/desk.sql" -c "CALL fill_desk(${BENCH_LETTERS:-1000000}, ${BENCH_DELIVERIES:-10000000})" >/dev/null
  sql -c 'VACUUM ANALYZE' >/dev/null
  letter=$(sql -c 'SELECT id FROM pgalert.alert_dlq LIMIT 1 OFFSET 1000')
  while read -r call; do
    line "among ${BENCH_LETTERS:-1000000} dead letters and ${BENCH_DELIVERIES:-10000000} deliveries, ms:" "$(sql -c "CALL time_of(\$call\$$call\$call\$)")" '' ''
    printf '    %s\n' "$call"
  done <<CALLS
list_dead_letters()
list_dead_letters('{"state": ["exhausted", "permanent"], "channel": "email"}', 'oldest')
list_dead_letters('{"state": "waiting"}', 'next_retry')
list_dead_letters('{"error_class": "dns", "host": "host-7.example.com"}')
list_dead_letters('{"user_id": "user-77"}')
list_dead_letters('{"alert_id": "alert-77", "state": "expired"}')
count_matching('{"state": "exhausted"}')
count_matching('{"channel": "email"}')
error_groups()
dead_letter('$letter')
delivery_attempts((SELECT delivery_key FROM pgalert.alert_dlq WHERE id = '$letter'))
find_deliveries()
find_deliveries('{"user_id": "user-77"}')
find_deliveries('{"alert_id": "alert-77"}')
find_deliveries('{"channel": "sms"}')
recipient_health()
dlq_states
overview('1 hour')
overview('1 day')
overview('7 days')
metrics()
CALLS

  cargo build --quiet --release --package pgalert-driver
  port=$("$venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  PGALERT_DESK_DATABASE_URL="host=$PGHOST user=postgres dbname=bench" PGALERT_DESK_LISTEN=127.0.0.1:$port \
    "${CARGO_TARGET_DIR:-$repo/target}/release/pgalert" desk >"$cluster/desk.log" 2>&1 &
  children+=($!)
  until curl --silent --fail --output /dev/null "http://127.0.0.1:$port/"; do sleep 0.1; done
  for page in / '/?period=day' '/?period=week' /letters "/letters/$letter" '/letters?user_id=user-77' '/letters?alert_id=alert-77' \
    '/letters?state=exhausted&channel=email&sort=oldest' '/letters?channel=email' '/letters?error_class=dns&host=host-7.example.com' /errors \
    /deliveries '/deliveries?user_id=user-77' '/deliveries?alert_id=alert-77' '/deliveries?channel=sms' /recipients /gradual /actions; do
    worst=$(for _ in 0 1 2 3 4 5; do
      curl --silent --fail --output /dev/null --write-out '%{time_total}\n' "http://127.0.0.1:$port$page" || echo failed
    done | tail -n +2 | sort -g | tail -n 1)
    line "page $page, ms" "$(awk -v s="$worst" 'BEGIN { printf "%.1f", s * 1000 }')" '' ''
  done
fi
