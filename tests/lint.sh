#!/usr/bin/env bash
# rustfmt, clippy with warnings as errors, and plpgsql_check over every PL/pgSQL function of the extension.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$repo"

cargo fmt --all --check
# Not by RUSTFLAGS, which would replace the flags that pgrx needs; not --all-features, which would ask for every Postgres at once.
cargo clippy --workspace --all-targets -- --deny warnings

pg_config=$(pg_config_of 15)
install_extension "$pg_config"
trap stop_cluster EXIT
start_cluster "$pg_config" shared_preload_libraries=pg_cron
psql=("$("$pg_config" --bindir)/psql" --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --tuples-only --no-align)
"${psql[@]}" --command='CREATE EXTENSION pgalert' --command='CREATE EXTENSION plpgsql_check' --command='CREATE EXTENSION pg_cron'
findings=$("${psql[@]}" --file=tests/lint.sql | grep -vxFf <(grep -v '^#' tests/lint.allowed) || true)
if [ -n "$findings" ]; then
  echo "$findings"
  echo "lint: plpgsql_check found the above; what is right all the same goes into tests/lint.allowed, with its reason" >&2
  exit 1
fi
echo "lint: clean"
