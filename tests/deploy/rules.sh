#!/usr/bin/env bash
# Prometheus' and Alertmanager's own tools accept the files; each alert fires when it should; each has its section in the runbook.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

promtool check config "$deploy/prometheus/prometheus.yml"
promtool test rules "$repo/tests/deploy/rules.test.yml"
amtool check-config "$deploy/prometheus/alertmanager.yml"
"$venv/bin/python" -B "$repo/tests/deploy/runbook.py" "$repo"
