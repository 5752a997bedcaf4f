# Postgres with the extension pgalert. In the root of the repository:
#   docker build --file deploy/docker/postgres.Dockerfile --tag pgalert-postgres .
ARG PG_MAJOR=18

FROM rust:1.95-bookworm AS build
ARG PG_MAJOR
ENV PGRX_PG_CONFIG_PATH=/usr/lib/postgresql/${PG_MAJOR}/bin/pg_config
# The headers of Postgres' own packages, in the newest release that there is.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install --yes --no-install-recommends libclang-dev postgresql-common \
  && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
  && apt-get install --yes --no-install-recommends "postgresql-server-dev-${PG_MAJOR}" \
  && rm -rf /var/lib/apt/lists/*
# The version of tests/setup.sh.
RUN cargo install cargo-pgrx --version '=0.18.1' --locked \
  && cargo pgrx init "--pg${PG_MAJOR}" "${PGRX_PG_CONFIG_PATH}"
WORKDIR /src
COPY . .
RUN cargo pgrx package --package pgalert --pg-config "${PGRX_PG_CONFIG_PATH}" --out-dir /out

FROM postgres:${PG_MAJOR}-bookworm
COPY --from=build /out/ /
COPY --chmod=0755 deploy/docker/create-database.sh /docker-entrypoint-initdb.d/10-pgalert.sh
# The image's user postgres.
USER 999:999
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["pg_isready", "--quiet", "--host=127.0.0.1"]
