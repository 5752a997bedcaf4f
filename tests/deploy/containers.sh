#!/usr/bin/env bash
# Dockerfiles are linted; the compose file and the manifests are held against the schemas that their tools publish. Nothing is built.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

"$venv/bin/hadolint" "$deploy"/docker/*.Dockerfile
"$venv/bin/python" -m check_jsonschema --builtin-schema vendor.compose-spec "$deploy/compose.yaml"
"$venv/bin/python" -m kubernetes_validate --strict "$deploy"/kubernetes/*.yaml

# What a compose file or a Dockerfile names in this repository is there, and versions are those of the build.
"$venv/bin/python" -B "$repo/tests/deploy/containers.py" "$repo"
