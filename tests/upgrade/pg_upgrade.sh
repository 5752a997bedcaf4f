#!/usr/bin/env bash
# A cluster of PostgreSQL 16 with messages waiting, in work and dead is taken to 18 by pg_upgrade: nothing is held there, and
# each message is delivered once. The extension is installed in 18 already. Not from 15: Debian's notes an option
# (pg_attver) for each column, which pg_upgrade of the older wheels takes along and their servers refuse.
set -euo pipefail
. "$(dirname "$0")/../lib.sh"

old=$(pg_config_of 16) new=$(pg_config_of 18)
new_bindir=$("$new" --bindir)
psql=("$("$(pg_config_of 15)" --bindir)/psql" --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --tuples-only --no-align)
install_extension "$old"
trap stop_cluster EXIT
start_cluster "$old"
"${psql[@]}" --command='CREATE EXTENSION pgalert' --file="$repo/tests/upgrade/before_pg_upgrade.sql"
as_server "$("$old" --bindir)/pg_ctl" --pgdata "$cluster/data" --mode fast --wait stop
mv "$cluster/data" "$cluster/old"

# Without checksums, as is the rule in the old one.
as_server "$new_bindir/initdb" --pgdata "$cluster/data" --username postgres --auth trust --no-locale --encoding UTF8 --nosync --no-data-checksums
# It writes into the folder in which it is started.
# shellcheck disable=SC2016
as_server bash -c 'cd "$0" && exec "$@"' "$cluster" "$new_bindir/pg_upgrade" --username postgres --socketdir "$cluster" \
  --old-bindir "$("$old" --bindir)" --new-bindir "$new_bindir" --old-datadir "$cluster/old" --new-datadir "$cluster/data"
cluster_bindir=$new_bindir
as_server "$new_bindir/pg_ctl" --pgdata "$cluster/data" --options "-F -k $cluster -c listen_addresses=''" --log "$cluster/log" --wait start
"${psql[@]}" --file="$repo/tests/upgrade/after_pg_upgrade.sql"
