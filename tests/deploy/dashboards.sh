#!/usr/bin/env bash
# Grafana's dashboards hang together, and their provisioning finds them.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
"$venv/bin/python" -B "$repo/tests/deploy/dashboards.py" "$deploy/grafana"
