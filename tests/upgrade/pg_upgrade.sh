#!/usr/bin/env bash
# A cluster of PostgreSQL 15 with messages waiting, in work and dead is taken to another version by pg_upgrade: nothing is
# held there, and each message is delivered once. pg_upgrade.sh VERSION, where the extension is installed already.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

old=$(pg_config_of 15) new=$(pg_config_of "$1")
new_bindir=$("$new" --bindir)
psql=("$("$old" --bindir)/psql" --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --tuples-only --no-align)
install_extension "$old"
trap stop_cluster EXIT
start_cluster "$old"
"${psql[@]}" --command='CREATE EXTENSION pgalert' --file="$repo/tests/upgrade/before_pg_upgrade.sql"
as_server "$("$old" --bindir)/pg_ctl" --pgdata "$cluster/data" --mode fast --wait stop
mv "$cluster/data" "$cluster/old"

checksums=()
if [ "$1" -ge 18 ]; then checksums=(--no-data-checksums); fi  # as in the old one
as_server "$new_bindir/initdb" --pgdata "$cluster/data" --username postgres --auth trust --no-locale --encoding UTF8 --nosync "${checksums[@]}"
# It writes into the folder in which it is started.
# shellcheck disable=SC2016
as_server bash -c 'cd "$0" && exec "$@"' "$cluster" "$new_bindir/pg_upgrade" --username postgres --socketdir "$cluster" \
  --old-bindir "$("$old" --bindir)" --new-bindir "$new_bindir" --old-datadir "$cluster/old" --new-datadir "$cluster/data"
cluster_bindir=$new_bindir
as_server "$new_bindir/pg_ctl" --pgdata "$cluster/data" --options "-F -k $cluster -c listen_addresses=''" --log "$cluster/log" --wait start
"${psql[@]}" --file="$repo/tests/upgrade/after_pg_upgrade.sql"
