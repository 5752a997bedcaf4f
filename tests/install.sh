#!/usr/bin/env bash
# Installs the extension into a Postgres: install.sh PG_CONFIG
set -euo pipefail
. "$(dirname "$0")/lib.sh"
install_extension "$(command -v "$1")"
echo "installed into $("$1" --version); next, in a database of it: CREATE EXTENSION pgalert;"
