#!/usr/bin/env bash
# Each variable that deploy/ and the pages name is a setting of the driver.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

wrong=
# A name of its own needs its section in the file; the configuration file itself is no setting.
for name in $(grep -rhoE 'PGALERT_[A-Z_]*[A-Z]' "$deploy" "$repo/docs" "$repo/README.md" | sort -u | grep -vxE 'PGALERT_(CHANNELS_.*|CONFIG)'); do
  said=$(env -i "$name=x" "$PGALERT_TEST_DRIVER" config 2>&1 || true)
  if [[ $said == *'there is no setting for the variable'* ]]; then wrong+="$said"$'\n'; fi
done
[ "$wrong" = '' ] || fail "$wrong"

# The example is a whole configuration.
set -a
. "$deploy/pgalert.env.example"
set +a
"$PGALERT_TEST_DRIVER" config >/dev/null
