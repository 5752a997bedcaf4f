# The driver. In the root of the repository:
#   docker build --file deploy/docker/driver.Dockerfile --tag pgalert-driver .
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package pgalert-driver

FROM debian:bookworm-slim
# Certificates for the receivers, and curl for the health check: in the newest release that there is.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install --yes --no-install-recommends ca-certificates curl \
  && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/pgalert /usr/local/bin/pgalert
USER 65532:65532
# Of every interface of the container: who may reach it is the matter of the network that the container is in.
ENV PGALERT_METRICS_LISTEN=0.0.0.0:9189 PGALERT_LOG_FORMAT=json
EXPOSE 9189
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["curl", "--fail", "--silent", "--show-error", "http://127.0.0.1:9189/healthz"]
ENTRYPOINT ["/usr/local/bin/pgalert"]
CMD ["run"]
