# Shared by the scripts of tests/deploy. A script gets the driver under test as PGALERT_TEST_DRIVER, and a folder of its own.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

deploy=$repo/deploy
out=$(mktemp -d "${TMPDIR:-/tmp}/pgalert-deploy.XXXXXX")
started=()

clean_up() {
  local pid
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; done || true
  stop_cluster
  rm -rf "$out"
}
trap clean_up EXIT

fail() {
  echo "$1" >&2
  exit 1
}

# wait_for SECONDS WHAT COMMAND…: until the command succeeds, and not longer.
wait_for() {
  local limit=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" 2>/dev/null; do
    if [ $SECONDS -gt "$limit" ]; then fail "waited in vain for: $what"; fi
    sleep 0.1
  done
}

query() {
  "$("$(pg_config_of 15)" --bindir)/psql" --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --command="$1"
}

# A port of this machine that is free.
port() { "$venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# A cluster with the extension, a role for the application and one for the driver, and a webhook that answers 200 after so many
# failures; ann is reached there.
start_pgalert() {
  start_cluster "$(pg_config_of 15)"
  query 'CREATE EXTENSION pgalert; CREATE ROLE courier LOGIN IN ROLE pgalert_driver'
  "$venv/bin/python" -B "$repo/tests/demo/receiver.py" "$out/received" "$1" >"$out/receiver.log" 2>"$out/receiver.err" </dev/null &
  started+=($!)
  wait_for 10 'the receiver listens' test -s "$out/receiver.log"
  receiver=$(head -n 1 "$out/receiver.log")
  query "SELECT pgalert.add_recipient('ann', 'webhook', 'http://127.0.0.1:$receiver/hook')" >/dev/null
  # NAME='value', as deploy/pgalert.env.example has it.
  cat >"$out/pgalert.env" <<ENV
DATABASE_URL='host=$PGHOST user=courier dbname=postgres'
PGALERT_HTTP_ALLOW_HTTP='true'
PGALERT_HTTP_ALLOW_ADDRESSES='127.0.0.1'
ENV
}

# Runs a command where /usr/local/bin has the driver and /etc/pgalert the settings, as on a machine where pgalert is installed: in a
# mount namespace that ends with it.
as_installed() {
  as_root unshare --mount -- bash -euc '
    out=$1 driver=$2
    shift 2
    mount -t tmpfs none /mnt
    cp --archive /etc /mnt/etc
    mkdir -p /mnt/etc/pgalert /mnt/bin
    if [ -e "$out/pgalert.env" ]; then cp "$out/pgalert.env" /mnt/etc/pgalert/; fi
    cp "$driver" /mnt/bin/pgalert
    mount --bind /mnt/etc /etc
    mount --bind /mnt/bin /usr/local/bin
    exec "$@"' as_installed "$out" "$PGALERT_TEST_DRIVER" "$@"
}
