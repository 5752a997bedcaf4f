#!/usr/bin/env bash
# Links of the pages lead somewhere, and the functions and settings that they name are there.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
"$venv/bin/python" -B "$repo/tests/deploy/docs.py" "$repo"
