#!/usr/bin/env bash
# Run by the image of Postgres in a new cluster, as a superuser: the extension, and the role of the driver with the password of
# its secret.
set -euo pipefail
psql --no-psqlrc --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<'SQL'
\set password `cat "$DRIVER_PASSWORD_FILE"`
CREATE EXTENSION pgalert;
CREATE ROLE pgalert_daemon LOGIN PASSWORD :'password' IN ROLE pgalert_driver;
SQL
