#!/usr/bin/env bash
# The desk in a real browser: a cluster, the driver and a receiver, clicked through at two widths in dark and light, with
# axe-core on each page. Screenshots are kept under target/desk/shots.
#   tests/desk/run.sh [--test-name-pattern=REGEX]
#   PGALERT_TEST_DRIVER=FILE   the driver; the extension is installed
set -euo pipefail
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/../lib.sh"

trap stop_cluster EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

pg_config=$(pg_config_of 15)
PATH=$("$pg_config" --bindir):$PATH
start_cluster "$pg_config"
export PGALERT_TEST_DRIVER=${PGALERT_TEST_DRIVER:-${CARGO_TARGET_DIR:-$repo/target}/debug/pgalert}
export PGALERT_TEST_TARGET=$repo/target/desk
PGALERT_TEST_CHROMIUM=$(command -v chromium) || { echo "chromium is not installed: tests/setup.sh" >&2 && exit 1; }
export PGALERT_TEST_CHROMIUM
cd "$repo/tests/desk"
"$(node_of_tests)" --test --test-concurrency=1 --test-timeout=1200000 "$@" ./*.test.mjs
