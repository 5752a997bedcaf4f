#!/usr/bin/env bash
# Prometheus' and Alertmanager's own tools accept the files; each alert fires when it should; each has its section in the runbook.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

promtool check config "$deploy/prometheus/prometheus.yml"
# Debian's promtool knows no Kubernetes: all but how pods are listed.
sed 's/kubernetes_sd_configs:/static_configs:/; s/- role: pod$/- targets: []/' "$deploy/prometheus/kubernetes.yml" >"$out/kubernetes.yml"
promtool check config "$out/kubernetes.yml"
promtool test rules "$repo/tests/deploy/rules.test.yml"
amtool check-config "$deploy/prometheus/alertmanager.yml"
"$venv/bin/python" -B "$repo/tests/deploy/runbook.py" "$repo"
