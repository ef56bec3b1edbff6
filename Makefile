# What there is to do: make help
#
#   NGINX=stable    for NGINX's stable source, built here (the default)
#   NGINX=debian    for the distribution's packaged NGINX (the packages nginx and nginx-dev)
#   NGINX=redhat    the same on Red Hat's kin, Fedora, Amazon Linux (nginx and nginx-mod-devel)
#   NGINX=alpine    the same on Alpine (nginx and nginx-mod-dev)
#   NGINX_VERSION=1.30.4
#                   for a version of packaging/nginx-versions, built here with nginx.org's options;
#                   its source comes from NGINX_REPOSITORY, GitHub's unless given
#   NGINX_SOURCE_DIR=DIR, NGINX_BUILD_DIR=DIR
#                   for any other NGINX: its source, and the directory its ./configure wrote to
#                   (DIR/objs unless given); NGINX_BINARY=FILE where its binary is elsewhere
#   GATEWAY_PORT=8080, SECOND_GATEWAY_PORT=8081, AUTHORIZATION_SERVER_PORT=9090, API_PORT=3000
#                   for the ports of make run and make run-fleet, on 127.0.0.1

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.SUFFIXES:

NGINX ?= stable
# NGINX itself takes a variable of this name for a list of inherited sockets: none we start may see it.
unexport NGINX

# Options for every cargo command, such as --locked or --offline.
CARGO_FLAGS ?=
# What `make test` tells cargo test besides: TEST_FLAGS='--test replies' runs the tests of one file.
# STORE_SERVER=FILE runs those of fleets with another store than redis-server.
TEST_FLAGS ?=

MODULE := ngx_http_phantom_token_module.so
TARGET := $(or $(CARGO_TARGET_DIR),target)

# Not from the environment, where something else may have such names.
GATEWAY_PORT := 8080
SECOND_GATEWAY_PORT := 8081
AUTHORIZATION_SERVER_PORT := 9090
API_PORT := 3000
PORTS = GATEWAY_PORT='$(GATEWAY_PORT)' AUTHORIZATION_SERVER_PORT='$(AUTHORIZATION_SERVER_PORT)' API_PORT='$(API_PORT)'
PORT_OPTIONS = --gateway-port '$(GATEWAY_PORT)' --second-gateway-port '$(SECOND_GATEWAY_PORT)' \
	--authorization-server-port '$(AUTHORIZATION_SERVER_PORT)' --api-port '$(API_PORT)'

# cargo takes make's flags for those of a job server.
CARGO := env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL cargo
SAY := @printf 'make: %s\n'

# Which NGINX: where its source is, what prepares it, where the results go. A target directory for
# each, so that changing from one to another compiles nothing anew.
ifneq ($(or $(NGINX_SOURCE_DIR),$(NGINX_BUILD_DIR)),)
  flavour := given
  out := build
  source_dir := $(abspath $(or $(NGINX_SOURCE_DIR),$(NGINX_BUILD_DIR)/..))
  build_dir := $(abspath $(or $(NGINX_BUILD_DIR),$(NGINX_SOURCE_DIR)/objs))
  nginx_binary := $(abspath $(or $(NGINX_BINARY),$(build_dir)/nginx))
  target_dir := $(TARGET)/nginx-$(firstword $(shell printf %s '$(source_dir) $(build_dir)' | cksum))
else ifneq ($(NGINX_VERSION),)
  flavour := version
  out := build/nginx-$(NGINX_VERSION)
  source_dir := $(CURDIR)/$(out)/source
  build_dir := $(source_dir)/objs
  nginx_binary :=
  target_dir := $(TARGET)/nginx-version
else ifeq ($(NGINX),stable)
  flavour := stable
  out := build
  source_dir := $(CURDIR)/build/stable/source
  build_dir := $(source_dir)/objs
  nginx_binary := $(CURDIR)/build/stable/nginx
  target_dir := $(TARGET)
else ifeq ($(NGINX),debian)
  flavour := debian
  out := build/debian
  source_dir := $(CURDIR)/build/debian/source
  build_dir := $(source_dir)/objs
  nginx_binary :=
  target_dir := $(TARGET)/debian
else ifneq ($(filter redhat alpine,$(NGINX)),)
  flavour := $(NGINX)
  out := build/$(NGINX)
  source_dir := $(CURDIR)/$(out)/source
  build_dir := $(source_dir)/objs
  nginx_binary :=
  target_dir := $(TARGET)/$(NGINX)
else
  $(error NGINX=$(NGINX) is not known: say stable, debian, redhat or alpine, or give NGINX_SOURCE_DIR=DIR)
endif

# For stable, .cargo/config.toml says it, so that plain cargo and make share what they compiled.
for_nginx := $(if $(filter-out stable,$(flavour)),NGINX_SOURCE_DIR='$(source_dir)' NGINX_BUILD_DIR='$(build_dir)')
with_gateway := NGINX_BINARY='$(CURDIR)/$(out)/nginx' NGINX_MODULE='$(CURDIR)/$(out)/$(MODULE)' \
	NGINX_INJECTED_MODULE='$(CURDIR)/$(out)/inject-faults/$(MODULE)' \
	$(if $(filter debian,$(flavour)),NJS_MODULE='$(CURDIR)/build/tools/njs/usr/lib/nginx/modules/ngx_http_js_module.so' LUA_ROOT='$(CURDIR)/build/tools/njs')
# What `make setup` provides without installing it.
export PATH := $(CURDIR)/build/tools/bin:$(PATH)

.PHONY: help
help: ## Show this
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | sed 's/$$(MODULE)/$(MODULE)/' | expand -t 20
	@echo
	@sed -n '/^#   NGINX/,/^$$/s/^#   //p' Makefile

.PHONY: build
build: setup-build nginx ## Build the module and its NGINX: build/$(MODULE), build/nginx
	$(SAY) 'building the module for $(source_dir)'
	@$(for_nginx) $(CARGO) build $(CARGO_FLAGS) --release --package ngx-phantom-token --target-dir '$(target_dir)'
	@tools/install-file '$(target_dir)/release/libngx_http_phantom_token_module.so' '$(out)/$(MODULE)'
	$(SAY) 'built $(out)/$(MODULE) for $(out)/nginx'

# The NGINX to build for, in $(source_dir), and its binary in $(out)/nginx.
.PHONY: nginx
nginx: nginx-$(flavour)

.PHONY: nginx-stable
nginx-stable: setup-build
	@tools/build-nginx stable
	@tools/install-file '$(nginx_binary)' build/nginx

.PHONY: nginx-debian
nginx-debian: setup-debian
	@tools/build-nginx debian

.PHONY: nginx-redhat nginx-alpine
nginx-redhat nginx-alpine: nginx-%: setup-build
	@tools/build-nginx $*

.PHONY: nginx-version
nginx-version: setup-build
	@tools/build-nginx version '$(NGINX_VERSION)'

.PHONY: nginx-given
nginx-given:
	@tools/use-nginx '$(source_dir)' '$(build_dir)' '$(nginx_binary)'

.PHONY: debian
debian: ## Build the module for the distribution's NGINX: build/debian/$(MODULE)
	@$(MAKE) --no-print-directory build NGINX=debian NGINX_SOURCE_DIR= NGINX_BUILD_DIR=

.PHONY: probe
probe: setup-build ## Build phantom-token-probe, for the first contact with a server: build/phantom-token-probe
	@$(CARGO) build $(CARGO_FLAGS) --release --package phantom-token-probe --target-dir '$(TARGET)'
	@tools/install-file '$(TARGET)/release/phantom-token-probe' build/phantom-token-probe
	$(SAY) 'built build/phantom-token-probe: see its --help'

.PHONY: run
run: ## Build all, then run a gateway (8080), an authorization server (9090) and an API (3000)
	@tools/check-ports $(PORTS)
	@$(MAKE) --no-print-directory demo
	@exec '$(TARGET)/debug/demo' --nginx '$(out)/nginx' --module '$(out)/$(MODULE)' $(PORT_OPTIONS) --conf nginx-conf/tutorial.conf

.PHONY: run-fleet
run-fleet: ## Build all, then run two gateways (8080, 8081) that share a store: docs/fleet.md
	@tools/check-ports $(PORTS) SECOND_GATEWAY_PORT='$(SECOND_GATEWAY_PORT)'
	@$(MAKE) --no-print-directory setup-store demo
	@exec '$(TARGET)/debug/demo' --nginx '$(out)/nginx' --module '$(out)/$(MODULE)' $(PORT_OPTIONS) --fleet

.PHONY: demo
demo:
	@test -x '$(TARGET)/debug/demo' || printf 'make: the first build takes about three minutes on two cores\n'
	@$(MAKE) --no-print-directory build
	$(SAY) 'building the authorization server and the API'
	@$(CARGO) build $(CARGO_FLAGS) --package phantom-token-test --bin demo

.PHONY: test
test: setup-test $(if $(filter debian,$(flavour)),setup-njs) nginx ## Run all tests; with NGINX=debian on the distribution's NGINX
	@# The module's last step keeps one core busy: the other has the tests to compile meanwhile.
	@$(MAKE) --no-print-directory --jobs=2 build test-programs
	@test -x '$(out)/nginx' || { echo 'make: no NGINX binary to test with: pass NGINX_BINARY=FILE' >&2; exit 1; }
	$(SAY) "testing on $$('$(out)/nginx' -v 2>&1 | sed 's/.*: //')"
	@$(with_gateway) $(CARGO) test $(CARGO_FLAGS) $(tested) $(TEST_FLAGS)
	$(SAY) "$(if $(TEST_FLAGS),cargo test $(TEST_FLAGS): passed,all tests passed) on $$('$(out)/nginx' -v 2>&1 | sed 's/.*: //')"

# By one command: with two, each would compile what they share anew.
tested := --package phantom-token-engine --package phantom-token-test --package phantom-token-bench --package phantom-token-probe

.PHONY: test-programs
test-programs: setup-build nginx
	@# The module to inject faults with: never the one that `make build` leaves.
	@$(for_nginx) $(CARGO) build $(CARGO_FLAGS) --package ngx-phantom-token --features inject-faults --target-dir '$(target_dir)'
	@tools/install-file '$(target_dir)/debug/libngx_http_phantom_token_module.so' '$(out)/inject-faults/$(MODULE)'
	@$(CARGO) test --no-run $(CARGO_FLAGS) $(tested) $(TEST_FLAGS)

# SERVERS names some of them, as in SERVERS="glewlwyd doorkeeper"; CASE is in the names of the cases to try.
.PHONY: test-servers
test-servers: setup-servers build probe ## Test with real authorization servers, all that can be had or SERVERS="…"
	@$(CARGO) build $(CARGO_FLAGS) --package phantom-token-test --bin test-servers
	@$(with_gateway) '$(TARGET)/debug/test-servers'

# Nothing of it runs at the same time as a measurement.
.PHONY: bench
bench: setup-bench build ## Measure what the module costs: docs/benchmarks.md, docs/results.md
	$(SAY) 'building the benchmarks'
	@$(CARGO) build $(CARGO_FLAGS) --package phantom-token-bench --profile bench --bins --benches
	$(SAY) 'single steps of the engine'
	@mkdir -p build/bench
	@$(CARGO) bench $(CARGO_FLAGS) --quiet --package phantom-token-bench --bench engine -- --sample-count 50 >build/bench/steps.txt
	$(SAY) 'whole gateways (BENCH_SECONDS, BENCH_PAIRS, BENCH_ONLY, BENCH_BEFORE, BENCH_WRITE; PEER_URL, PEER_PID)'
	@$(with_gateway) '$(TARGET)/release/phantom-token-bench'

.PHONY: charts
charts: ## Draw the charts of docs/results.md anew, from its tables
	@BENCH_DRAW=1 $(CARGO) run $(CARGO_FLAGS) --quiet --package phantom-token-bench

.PHONY: soak
soak: setup-test build ## Run a gateway through reloads, kills and restarts for SOAK_SECONDS, an hour
	$(SAY) 'building the clients'
	@$(CARGO) build $(CARGO_FLAGS) --package phantom-token-test --bin soak
	@$(with_gateway) '$(TARGET)/debug/soak'

.PHONY: pictures
pictures: setup-test build ## Make the documentation's pictures of the status page
	$(SAY) 'watching a gateway for three minutes'
	@$(with_gateway) $(CARGO) run $(CARGO_FLAGS) --package phantom-token-test --example pictures

# Sanitizers need a nightly compiler, for the flag alone: the code is the same. gcc and rustc
# share one runtime, NGINX's.
ADDRESS_TARGET := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
for_address = NGINX_SOURCE_DIR='$(CURDIR)/build/address/source' CFLAGS_$(subst -,_,$(ADDRESS_TARGET))='-fsanitize=address -fno-omit-frame-pointer' \
	RUSTFLAGS='-Zsanitizer=address -Zexternal-clangrt -Cforce-frame-pointers=yes' \
	$(CARGO) +nightly build $(CARGO_FLAGS) --package ngx-phantom-token --target '$(ADDRESS_TARGET)' --target-dir '$(TARGET)/address'
address_module := $(TARGET)/address/$(ADDRESS_TARGET)/debug/libngx_http_phantom_token_module.so
.PHONY: sanitize
sanitize: setup-test nginx ## Run the tests under AddressSanitizer, ThreadSanitizer, valgrind
	@tools/sanitize threads
	@tools/build-nginx address
	$(SAY) 'building the module with AddressSanitizer'
	@$(for_address) --features inject-faults
	@tools/install-file '$(address_module)' 'build/address/inject-faults/$(MODULE)'
	@$(for_address)
	@tools/install-file '$(address_module)' 'build/address/$(MODULE)'
	@tools/sanitize address build/address/nginx 'build/address/$(MODULE)'
	@$(MAKE) --no-print-directory build
	@tools/sanitize valgrind '$(out)/nginx' '$(out)/$(MODULE)'

FUZZ_SECONDS ?= 60
FUZZ_ONLY ?=
.PHONY: fuzz
fuzz: setup-fuzz ## Feed the engine random input, FUZZ_SECONDS a target (FUZZ_ONLY): docs/fuzzing.md
	@FUZZ_SECONDS='$(FUZZ_SECONDS)' tools/fuzz run $(FUZZ_ONLY)

.PHONY: fuzz-minimise
fuzz-minimise: setup-fuzz ## Drop of what fuzzing found all that reaches nothing besides
	@tools/fuzz minimise $(FUZZ_ONLY)

.PHONY: nginx-tests
nginx-tests: build ## Run NGINX's own tests, in NGINX_TESTS_DIR, with the module loaded and without
	@tools/nginx-tests '$(or $(NGINX_TESTS_DIR),$(error NGINX_TESTS_DIR=DIR names a clone of nginx/nginx-tests))' '$(out)/nginx' '$(out)/$(MODULE)'

.PHONY: lint
lint: setup-lint nginx ## Check formatting, clippy, documentation, links, scripts, licences
	$(SAY) 'checking the formatting'
	@$(CARGO) fmt --all --check
	$(SAY) 'running clippy'
	@$(for_nginx) $(CARGO) clippy $(CARGO_FLAGS) --workspace --all-targets --target-dir '$(target_dir)' -- -D warnings
	$(SAY) 'building the documentation'
	@$(for_nginx) RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' $(CARGO) doc $(CARGO_FLAGS) --workspace --no-deps --document-private-items --quiet --target-dir '$(target_dir)'
	@tools/check-links
	@tools/check-scripts
	@tools/count-unsafe >/dev/null
	@tools/check-dependencies
	$(SAY) 'lint: all that was checked is clean'

.PHONY: dependencies
dependencies: setup-lint ## Check licences, sources and known vulnerabilities of dependencies
	@tools/check-dependencies

with_probe := PROBE='$(CURDIR)/build/phantom-token-probe'

# What is needed is looked for first: the rest takes minutes.
.PHONY: package
package: setup-package deb tarball ## Make what a release has and this machine can make, with checksums: build/package
	@tools/package sums

.PHONY: deb
deb: setup-package ## Make a .deb for the distribution's NGINX, by itself: build/package
	@$(MAKE) --no-print-directory debian probe
	@$(with_probe) tools/package deb build/debian/source 'build/debian/$(MODULE)'

.PHONY: tarball
tarball: build probe ## Make a tarball for the NGINX chosen: stable, or NGINX_VERSION=1.30.4: build/package
	@$(with_probe) tools/package tarball '$(source_dir)' '$(out)/$(MODULE)'

.PHONY: tarballs
tarballs: setup-build ## Make a tarball for each version of NGINX in packaging/nginx-versions
	@for version in $$(tools/nginx-versions); do \
		$(MAKE) --no-print-directory tarball NGINX_SOURCE_DIR= NGINX_BUILD_DIR= NGINX_VERSION="$$version"; \
	done
	@tools/package sums

.PHONY: rpm
rpm: setup-rpm build probe ## Make an .rpm for the packages of nginx.org; with NGINX=redhat for the distribution's
	@$(with_probe) tools/package-rpm $(if $(filter redhat,$(flavour)),distribution,nginx.org) '$(source_dir)' '$(out)/$(MODULE)'

.PHONY: apk
apk: ## Make an .apk for Alpine's NGINX, on Alpine
	@tools/setup apk
	@$(MAKE) --no-print-directory build probe NGINX=alpine NGINX_SOURCE_DIR= NGINX_BUILD_DIR= NGINX_VERSION=
	@$(with_probe) tools/package-apk build/alpine/source 'build/alpine/$(MODULE)'

.PHONY: sbom
sbom: setup-sbom ## Say what is compiled in, as CycloneDX: build/package
	@tools/release sbom

# Of another version's files none must be among them.
.PHONY: release-files
release-files: setup-package setup-rpm setup-sbom ## Make all of a release that this machine can, and publish nothing: RELEASING.md
	@rm -rf build/package
	@$(MAKE) --no-print-directory deb tarball rpm sbom
	@tools/package sums
	@tools/release notes >build/package/NOTES.md
	@ls -l build/package
	@tools/release check

.PHONY: rpm-check
rpm-check: nginx rpm ## Install the .rpm into a root of its own, use it, remove it (root)
	@$(CARGO) build $(CARGO_FLAGS) --package phantom-token-test --bins
	@tools/check-rpm '$(source_dir)' '$(out)/$(MODULE)'

.PHONY: package-check
package-check: setup-package-check package ## Install the packages into a system of their own, use, upgrade, remove them (root)
	@$(CARGO) build $(CARGO_FLAGS) --package phantom-token-test --bins
	@tools/check-package
	@tools/check-tarball

.PHONY: image-check
image-check: setup-image nginx ## Build and run the Docker images without a Docker engine (root)
	@CARGO_FLAGS='$(or $(CARGO_FLAGS),--locked)' tools/check-image

.PHONY: setup setup-bench setup-build setup-debian setup-fuzz setup-image setup-lint setup-njs setup-package setup-package-check setup-rpm setup-sbom setup-servers setup-store setup-test
setup: setup-build setup-debian setup-lint setup-njs setup-test ## Install what building and testing need
setup-bench setup-build setup-debian setup-fuzz setup-image setup-lint setup-njs setup-package setup-package-check setup-rpm setup-sbom setup-servers setup-store setup-test: setup-%:
	@tools/setup $*

.PHONY: clean
clean: ## Remove everything built
	@rm -rf build '$(TARGET)' test/{grpc,jose,mcp,node,servers/*}/node_modules test/jose/venv
