#!/usr/bin/env bash
# Runs the tests.
#   tests/run.sh [--pg15] [--pg16] [--pg18] [--only unit|regress|isolation|e2e|desk|demo|deploy|upgrade]… [--accept] [test…]
# Without a version: all three. A test is the name of a file of tests/regress/sql, tests/isolation/specs or tests/deploy.
# With --accept what a failing test printed becomes what is expected of it: read the difference before you commit it.
#
#   unit       Rust, without a server: rules that read no table
#   regress    SQL in, expected output: one function, one database for each file
#   isolation  two or more sessions, step by step: what a race must end in
#   e2e        the driver against real servers: what a user sees (PostgreSQL 15)
#   desk       the desk in a real browser: each page and action, at two widths, in dark and light (PostgreSQL 15)
#   demo       what `make demo` shows comes true, and nothing of it stays behind (PostgreSQL 15)
#   deploy     what deploy/ holds: rules and dashboards with a real Prometheus, units, containers, manifests (PostgreSQL 15)
#   upgrade    each release that was, updated to this one, equals a fresh install; a cluster taken from 16 to 18 by
#              pg_upgrade keeps its messages
set -euo pipefail
. "$(dirname "$0")/lib.sh"

versions=() only=() names=() accept=
while [ $# -gt 0 ]; do
  case $1 in
    --pg15 | --pg16 | --pg18) versions+=("${1#--pg}") ;;
    --only) shift && only+=("${1:?--only needs the name of a stage}") ;;
    --accept) accept=yes ;;
    -*) sed -n '2,5p' "$0" | cut -c3- >&2 && exit 64 ;;
    *) names+=("$1") ;;
  esac
  shift
done
[ ${#versions[@]} -gt 0 ] || versions=(15 16 18)

out=$(mktemp -d "${TMPDIR:-/tmp}/pgalert-out.XXXXXX")
trap 'stop_cluster; rm -rf "$out"' EXIT
passed=0 failed=()

wanted() {
  [ ${#only[@]} -eq 0 ] || [[ " ${only[*]} " == *" $1 "* ]]
}

# step NAME COMMAND…: quiet when it passes, and everything that it said when it does not.
step() {
  local name=$1 started=$SECONDS
  shift
  if "$@" >"$out/log" 2>&1; then
    passed=$((passed + 1))
    printf 'ok      %s (%s s)\n' "$name" $((SECONDS - started))
  else
    failed+=("$name")
    printf 'FAILED  %s\n' "$name"
    sed 's/^/        /' "$out/log"
    return 1
  fi
}

# pg_regress of 15 speaks to servers of every version; the wheel of 16 and 18 has none.
pgxs=$(dirname "$("$(pg_config_of 15)" --pgxs)")/../test
psql_bindir=$("$(pg_config_of 15)" --bindir)

# Each file in a database of its own, so that none depends on what another left behind.
regress() {
  local program=$1 folder=$2 name=$3 expected
  expected=$repo/tests/$folder/expected/$name.out
  [ -e "$expected" ] || : >"$expected"
  rm -rf "${out:?}/run"
  mkdir -p "$out/run"
  "$program" --bindir="$psql_bindir" --inputdir="$repo/tests/$folder" --outputdir="$out/run" \
    --host="$PGHOST" --user=postgres --dbname="${folder}_$name" --load-extension=pgalert "$name" || {
    cat "$out/run/regression.diffs" 2>/dev/null
    [ -n "$accept" ] && cp "$out/run/results/$name.out" "$expected"
  }
}

run_files() {
  local version=$1 program=$2 folder=$3 files=$4 file name
  for file in "$repo/tests/$folder"/$files; do
    [ -e "$file" ] || continue
    name=$(basename "${file%.*}")
    if [ ${#names[@]} -gt 0 ] && [[ " ${names[*]} " != *" $name "* ]]; then continue; fi
    step "$version $folder $name" regress "$program" "$folder" "$name" || true
  done
}

run_units() {
  step 'unit extension' cargo test --package pgalert || true
  step 'unit driver' cargo test --package pgalert-driver || true
}

run_version() {
  local version=$1 pg_config
  pg_config=$(pg_config_of "$version")
  step "$version install" install_extension "$pg_config" || return 0
  if wanted regress || wanted isolation || wanted upgrade; then
    step "$version cluster" start_cluster "$pg_config" max_prepared_transactions=5 || return 0
    if wanted regress; then run_files "$version" "$pgxs/regress/pg_regress" regress 'sql/*.sql'; fi
    if wanted isolation; then run_files "$version" "$pgxs/isolation/pg_isolation_regress" isolation 'specs/*.spec'; fi
    if wanted upgrade; then run_upgrades "$version" "$pg_config"; fi
    stop_cluster
    if wanted upgrade && [ "$version" = 18 ]; then step '18 pg_upgrade from 16' "$repo/tests/upgrade/pg_upgrade.sh" || true; fi
  fi
  if wanted e2e && [ "$version" = 15 ]; then run_e2e "$pg_config"; fi
  if wanted desk && [ "$version" = 15 ]; then run_desk; fi
  if wanted demo && [ "$version" = 15 ]; then run_demo; fi
  if wanted deploy && [ "$version" = 15 ]; then run_deploy; fi
}

run_e2e() {
  local pg_config=$1 target=${CARGO_TARGET_DIR:-$repo/target}
  step 'e2e driver' cargo build --package pgalert-driver || return 0
  export PGALERT_TEST_PG_CONFIG=$pg_config PGALERT_TEST_DRIVER=$target/debug/pgalert PGALERT_TEST_PYTHON=$venv/bin/python
  # What they counted is worth seeing when all is well, too.
  step 'e2e tests' cargo test --package e2e && sed -n 's/^e2e: /        /p' "$out/log" || true
}

run_desk() {
  local target=${CARGO_TARGET_DIR:-$repo/target}
  step 'desk driver' cargo build --package pgalert-driver || return 0
  export PGALERT_TEST_DRIVER=$target/debug/pgalert
  step 'desk in a browser' "$repo/tests/desk/run.sh" || true
}

# Without a terminal it ends by itself and prints no colours; on one it waits for Enter with its cluster up.
demo() {
  local cluster
  "$repo/tests/demo/run.sh" </dev/null >"$out/demo" || { cat "$out/demo" && return 1; }
  if grep -q $'\e' "$out/demo"; then echo 'colours without a terminal' && return 1; fi
  echo | script --quiet --return --command "$repo/tests/demo/run.sh" /dev/null >"$out/demo" || { cat "$out/demo" && return 1; }
  cluster=$(grep -o 'psql -h [^ ]*' "$out/demo" | cut -d ' ' -f 3)
  if [ -z "$cluster" ] || [ -e "$cluster" ]; then echo "the cluster \"$cluster\" is still there" && return 1; fi
}

run_demo() {
  local target=${CARGO_TARGET_DIR:-$repo/target}
  step 'demo driver' cargo build --package pgalert-driver || return 0
  export PGALERT_TEST_DRIVER=$target/debug/pgalert
  step 'demo' demo || true
}

run_deploy() {
  local target=${CARGO_TARGET_DIR:-$repo/target} script name
  step 'deploy driver' cargo build --package pgalert-driver || return 0
  export PGALERT_TEST_DRIVER=$target/debug/pgalert
  for script in "$repo"/tests/deploy/*.sh; do
    name=$(basename "$script" .sh)
    if [ "$name" = lib ] || { [ ${#names[@]} -gt 0 ] && [[ " ${names[*]} " != *" $name "* ]]; }; then continue; fi
    step "deploy $name" "$script" && sed -n 's/^note: /        /p' "$out/log" || true
  done
}

# What the members of the extension are, in a form that two databases can be compared by.
catalog_of() {
  "$psql_bindir/psql" --no-psqlrc --quiet --tuples-only --no-align --dbname="$1" --file="$repo/tests/upgrade/catalog.sql"
}

upgrade() {
  local version=$1 pg_config=$2 database=upgrade_${1//./_} installed result=0
  installed=$("$pg_config" --sharedir)/extension/pgalert--$version.sql
  as_root cp "$repo/tests/upgrade/pgalert--$version.sql" "$installed"
  "$psql_bindir/createdb" "$database" &&
    "$psql_bindir/psql" --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --dbname="$database" \
      --command="CREATE EXTENSION pgalert VERSION '$version'" --command='ALTER EXTENSION pgalert UPDATE' &&
    diff <(catalog_of fresh) <(catalog_of "$database") || result=1
  as_root rm "$installed"
  return $result
}

# tests/upgrade/pgalert--X.sql is the install script of release X, kept when it was released.
run_upgrades() {
  local version=$1 pg_config=$2 script
  for script in "$repo"/tests/upgrade/pgalert--*.sql; do
    [ -e "$script" ] || continue
    if ! "$psql_bindir/psql" --no-psqlrc -d fresh -c '' 2>/dev/null; then
      "$psql_bindir/createdb" fresh
      "$psql_bindir/psql" --no-psqlrc --quiet --dbname=fresh --command='CREATE EXTENSION pgalert'
    fi
    script=$(basename "$script" .sql)
    step "$version upgrade from ${script#pgalert--}" upgrade "${script#pgalert--}" "$pg_config" || true
  done
}

cd "$repo"
if wanted unit && [ ${#names[@]} -eq 0 ]; then run_units; fi
for version in "${versions[@]}"; do run_version "$version"; done

if [ ${#failed[@]} -gt 0 ]; then
  printf '%s passed, %s failed:\n' "$passed" ${#failed[@]}
  printf '  %s\n' "${failed[@]}"
  exit 1
fi
echo "$passed passed, 0 failed"
