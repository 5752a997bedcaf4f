#!/usr/bin/env bash
# Each statement of the runbook is run as it stands, by the role that the page names.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
start_pgalert 0
query 'CREATE ROLE on_call IN ROLE pgalert_operator'

statements=0
while IFS= read -r statement; do
  statements=$((statements + 1))
  query "SET ROLE on_call; $statement" >/dev/null || fail "docs/runbook.md: $statement"
done < <("$venv/bin/python" -B "$repo/tests/deploy/statements.py" "$repo/docs/runbook.md")
[ "$statements" -ge 10 ] || fail "docs/runbook.md: only $statements statements were found"
