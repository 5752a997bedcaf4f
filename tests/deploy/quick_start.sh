#!/usr/bin/env bash
# The quick start is followed as it stands, by the roles that it names: all but what needs a mail server.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
start_cluster "$(pg_config_of 15)"
query 'CREATE ROLE app LOGIN'
query 'CREATE DATABASE app'
export PGDATABASE=app
page=$repo/docs/quick-start.md

# block NUMBER: one of the page's blocks of SQL.
block() { awk -v wanted="$1" '/^```/ { inside = /^```sql/; number += inside; next } inside && number == wanted' "$page"; }
query "$(block 1)"

line=$(sed -n 's/^    pgalert \(recipients add .*\)/\1/p' "$page")
[ "$line" != '' ] || fail 'no recipient is added'
read -ra arguments <<<"$line"
DATABASE_URL="host=$PGHOST user=pgalert_person dbname=app" "$PGALERT_TEST_DRIVER" "${arguments[@]}" >/dev/null

said=$(query "SET ROLE app; $(block 2)")
[[ $said == queued$'\n'* && $said == *'Disk of db1: 8 % free.'* && $said == *accepted* ]] || fail "the alert: $said"
again=$(query "SET ROLE app; $(block 2)")
[[ $again == duplicate$'\n'* ]] || fail "the same again: $again"
while IFS= read -r statement; do
  query "SET ROLE pgalert_person; $statement" >/dev/null || fail "$statement"
done < <("$venv/bin/python" -B "$repo/tests/deploy/statements.py" "$page")
