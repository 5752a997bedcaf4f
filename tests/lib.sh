# Shared by the scripts of tests/: where each Postgres is, and a private cluster of one.
# shellcheck shell=bash

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034
venv=$repo/target/venv

# In the environment of a server it adds a backtrace to the DETAIL of each error from Rust.
unset RUST_BACKTRACE

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Postgres refuses to run as root.
as_server() {
  if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi
}

# 15 is Debian's; the others are unpacked by setup.sh. The pg_config of PATH is preferred for 15, so that a build by hand
# and one by a test give the compiler the same path, and nothing is compiled twice.
pg_config_of() {
  if [ "$1" != 15 ]; then
    echo "$repo/target/postgres/$1/bin/pg_config"
  elif pg_config --version 2>/dev/null | grep -q '^PostgreSQL 15\.'; then
    command -v pg_config
  else
    echo /usr/lib/postgresql/15/bin/pg_config
  fi
}

# pgrx takes the headers of 15 from its own configuration; for any other version it is told here where they are.
install_extension() (
  pg_config=$1 sudo=()
  if [ ! -w "$("$pg_config" --pkglibdir)" ] || [ ! -w "$("$pg_config" --sharedir)/extension" ]; then
    sudo=(--sudo)
  fi
  if ! "$pg_config" --version | grep -q '^PostgreSQL 15'; then
    export PGRX_PG_CONFIG_PATH=$pg_config
  fi
  cd "$repo" || exit
  cargo pgrx install --package pgalert --release --pg-config "$pg_config" "${sudo[@]}"
)

# A new cluster in a folder of its own, reached by its socket only. Further arguments are settings, as in
# start_cluster "$pg_config" shared_preload_libraries=pg_cron
start_cluster() {
  local bindir options setting
  bindir=$("$1" --bindir)
  shift
  # Before the start: the server too reads PGPORT.
  unset PGHOSTADDR PGPORT PGSERVICE PGPASSWORD PGOPTIONS PGSSLMODE PGTARGETSESSIONATTRS
  cluster=$(mktemp -d /tmp/pgalert.XXXXXX)
  cluster_bindir=$bindir
  if [ "$(id -u)" = 0 ]; then chown postgres "$cluster"; fi
  options="-F -k $cluster -c listen_addresses=''"
  for setting in "$@"; do options+=" -c $setting"; done
  if ! {
    as_server "$bindir/initdb" --pgdata "$cluster/data" --username postgres --auth trust --no-locale --encoding UTF8 --nosync &&
      as_server "$bindir/pg_ctl" --pgdata "$cluster/data" --options "$options" --log "$cluster/log" --wait start
  } >"$cluster.log" 2>&1; then
    cat "$cluster.log" "$cluster/log" >&2
    return 1
  fi
  rm -f "$cluster.log"
  export PGHOST=$cluster PGUSER=postgres PGDATABASE=postgres
}

# Known by its PGDATA, so that no other server is ever stopped.
stop_cluster() {
  [ -n "${cluster:-}" ] || return 0
  as_server "$cluster_bindir/pg_ctl" --pgdata "$cluster/data" --mode immediate stop >/dev/null 2>&1 || true
  rm -rf "$cluster" "$cluster.log"
  cluster=
  unset PGHOST PGUSER PGDATABASE
}

# The Node of this machine if it is new enough, else the one that setup.sh has put beside the Python of the tests.
node_of_tests() {
  local node
  for node in node "$venv/bin/node"; do
    if "$node" -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null; then
      command -v "$node"
      return
    fi
  done
  return 1
}
