# NGINX's official image with the module in it.
#
#   docker build --tag ngx-phantom-token .
#
#   NGINX_IMAGE   what to extend: an official image, Debian or Alpine, or its unprivileged sister
#   RUST_IMAGE    the compiler, for the same C library: slim-bookworm runs on Debian 12 and later
#
#   docker build --build-arg NGINX_IMAGE=nginx:1.28.3-alpine --build-arg RUST_IMAGE=rust:1.95-alpine .
#   docker build --build-arg NGINX_IMAGE=nginxinc/nginx-unprivileged:1.28.3 .
#
# The module is compiled inside the image it goes into, for the NGINX that is there. Target `demo`
# holds the development servers that docker-compose.yml runs beside it.

ARG NGINX_IMAGE=nginx:1.28.3
ARG RUST_IMAGE=rust:1.95-slim-bookworm

# hadolint ignore=DL3006
FROM ${RUST_IMAGE} AS rust

# hadolint ignore=DL3006
FROM ${NGINX_IMAGE} AS build
# hadolint ignore=DL3002
USER 0
ENV CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup \
    PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
COPY docker/install-build-tools docker/configure-nginx /usr/local/bin/
RUN install-build-tools
# Where the image's NGINX has its source, and what its archive must be, if that is to be checked.
ARG NGINX_SOURCE=https://nginx.org/download
ARG NGINX_SOURCE_SHA256=
RUN configure-nginx /nginx
COPY --from=rust /usr/local/rustup /usr/local/rustup
COPY --from=rust /usr/local/cargo /usr/local/cargo
WORKDIR /src
COPY . .
ARG CARGO_FLAGS=--locked

FROM build AS module
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    NGINX_SOURCE_DIR=/nginx NGINX_BUILD_DIR=/nginx/objs \
    cargo build --release --package ngx-phantom-token ${CARGO_FLAGS} \
    && docker/stage /src/target/release /out

FROM build AS development-servers
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --package phantom-token-test --bin dev-api \
        --bin dev-authorization-server ${CARGO_FLAGS} \
    && install -D --target-directory=/out \
        target/release/dev-api target/release/dev-authorization-server

# The same base as the gateway's: no further image to fetch, and the C library they were linked with.
# hadolint ignore=DL3006
FROM ${NGINX_IMAGE} AS demo
COPY --from=development-servers /out/ /usr/local/bin/
USER 65534:65534
STOPSIGNAL SIGTERM
ENTRYPOINT []
CMD ["dev-authorization-server", "0.0.0.0:9090"]

# hadolint ignore=DL3006
FROM ${NGINX_IMAGE} AS gateway
COPY --from=module /out/ngx_http_phantom_token_module.so /usr/lib/nginx/modules/
COPY --from=module /out/nginx.conf /etc/nginx/nginx.conf
COPY docker/templates /usr/share/ngx-phantom-token/templates
COPY docker/18-phantom-token.envsh /docker-entrypoint.d/
COPY docker/healthcheck /usr/local/bin/phantom-token-healthcheck
ENV HEALTHCHECK_URL=http://127.0.0.1:8080/
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["phantom-token-healthcheck"]
ARG VERSION=1.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="ngx-phantom-token" \
    org.opencontainers.image.description="NGINX with a module for the Phantom Token pattern" \
    org.opencontainers.image.source="https://github.com/ngx-phantom-token/ngx-phantom-token" \
    org.opencontainers.image.documentation="https://github.com/ngx-phantom-token/ngx-phantom-token/blob/main/docs/docker.md" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
