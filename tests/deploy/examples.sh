#!/usr/bin/env bash
# The examples in SQL of the README and of the references run as they stand, by the roles that the pages name; each firing answers what
# the comment behind it says.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
start_cluster "$(pg_config_of 15)"
query 'CREATE ROLE app LOGIN'

# blocks PAGE: its blocks of SQL.
blocks() { awk '/^```/ { inside = /^```sql/; next } inside' "$repo/$1"; }
answers='queued|delivered|duplicate|capped|expired|no_channels'
psql=("$("$(pg_config_of 15)" --bindir)/psql" --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1)

# run PAGE [ROLE]
run() {
  local said wanted
  said=$({ [ "${2:-}" = '' ] || echo "SET ROLE $2;"; blocks "$1"; } | "${psql[@]}" 2>&1) || fail "$1: $said"
  said=$(sed -nE "s/^([0-9]+\|)?($answers)(\|.*)?$/\2/p" <<<"$said")
  wanted=$(blocks "$1" | sed -n 's/.*-- //p' | grep -oE "^($answers)(, ($answers))*" | grep -oE "$answers" || true)
  [ "$said" = "$wanted" ] || fail "$1: it answers ${said//$'\n'/, }, and the comments say ${wanted//$'\n'/, }"
}

run README.md
query 'CREATE ROLE person IN ROLE pgalert_operator'
run docs/alerts.md app
run docs/policies.md person
