#!/usr/bin/env bash
# Installs the extension into a Postgres, and completions and man pages under PREFIX (/usr/local): install.sh PG_CONFIG
set -euo pipefail
. "$(dirname "$0")/lib.sh"
install_extension "$(command -v "$1")"
echo "installed into $("$1" --version); next, in a database of it: CREATE EXTENSION pgalert;"

# Completions and man pages of the command, where every shell and man look.
share=${PREFIX:-/usr/local}/share
pages=$(mktemp -d)
trap 'rm -rf "$pages"' EXIT
cargo build --quiet --package pgalert-driver
pgalert=${CARGO_TARGET_DIR:-$repo/target}/debug/pgalert
"$pgalert" man "$pages/man"
for shell in bash zsh fish; do "$pgalert" completions "$shell" >"$pages/$shell"; done
as_root install -D -m 644 -t "$share/man/man1" "$pages"/man/*.1
as_root install -D -m 644 "$pages/bash" "$share/bash-completion/completions/pgalert"
as_root install -D -m 644 "$pages/zsh" "$share/zsh/site-functions/_pgalert"
as_root install -D -m 644 "$pages/fish" "$share/fish/vendor_completions.d/pgalert.fish"
echo "completions and man pages are in $share"
