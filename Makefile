# The only definition of green: `make fmt-check test lint docs`. `.ci/run` calls the same targets.
# Every cargo command takes the whole workspace, so that there is one set of features and nothing is built twice.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Steps wait for each other in the order written; cargo and npm use the cores themselves.
.NOTPARALLEL:

STAMPS := target/.stamp
VENV := target/venv
# For a client whose packages take the place of others'.
VENV_NIQUESTS := target/venv-niquests
# What `make dev` and the media benches pass on, such as ARGS="--http-port 9000".
ARGS ?=
# Seconds that `make fuzz` spends on each target.
FUZZ_SECONDS ?= 60

# What ends up in the meeting page. A change of any of them builds it anew.
WEB_SOURCES := $(shell find web proto/darktower -type f -not -path '*/node_modules/*' -not -path '*/dist/*' -not -path '*/generated/*' 2>/dev/null)

.PHONY: help
help: ## What can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

# ---- run ----

.PHONY: dev
dev: $(STAMPS)/setup-dev $(STAMPS)/web ## Run a whole cluster on this machine: open http://localhost:8080
	cargo build --workspace --bin dark-tower --locked
	@# In the shell's place, so that a signal reaches the cluster itself.
	exec target/debug/dark-tower dev $(ARGS)

# ---- judge ----

.PHONY: test
test: setup web e2e/browser/node_modules $(VENV)/ready $(VENV_NIQUESTS)/ready ## Everything that can be tested, end to end included
	cd web && npm test
	cargo build --workspace --all-targets --locked
	cargo test --workspace --doc --locked --quiet
	cargo nextest run --workspace --locked
	cd e2e/browser && npm test

.PHONY: churn
churn: $(STAMPS)/web ## 10,000 people come and go (CHURN=n for another number): memory and everything else afterwards
	cargo build --workspace --bin dark-tower --locked
	CHURN=$${CHURN:-10000} cargo nextest run --profile long --workspace --locked --no-capture churn

.PHONY: unit
unit: $(STAMPS)/web ## The tests that need no browser, media tools or network emulation
	cargo nextest run --workspace --locked --exclude e2e

.PHONY: hostile
hostile: $(STAMPS)/web $(VENV)/ready ## The hostile suite at full scale: floods of 10^5, 2000 half-handshakes, with figures
	cargo build --workspace --bin dark-tower --locked
	HOSTILE_SCALE=full cargo nextest run -p e2e --locked --profile hostile --no-capture hostile

.PHONY: lint
lint: $(STAMPS)/web ## clippy, the TypeScript compiler and eslint, warnings are errors
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cd web && npm run --silent lint

.PHONY: fmt
fmt: ## Format
	cargo fmt --all

.PHONY: fmt-check
fmt-check: ## Whether it is formatted
	cargo fmt --all --check

.PHONY: docs
docs: $(STAMPS)/web ## The API documentation of all crates and of the TypeScript client, warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	cd web && npm run --silent api

.PHONY: bench
bench: ## Benchmarks, built with optimisation
	cargo bench --locked -p benches --bench codec --bench placement --bench e2ee

.PHONY: bench-api
bench-api: ## Requests per CPU second of the public API, beside a bare handler (docs/front-door-performance.md)
	cargo bench --locked -p benches --bench api

.PHONY: bench-api-memory
bench-api-memory: ## What a global controller holds after a million requests
	cargo bench --locked -p benches --bench api -- memory

.PHONY: instructions
instructions: ## Count the instructions of the media handler's hot path, and hold later changes to them
	REWRITE_INSTRUCTIONS=1 cargo nextest run --workspace --locked --no-capture -E 'package(hotpath)'

# The media handler's own process is what is measured: built with the same profile, beside the bench.
BENCH_MEDIA = cargo build --release --locked --workspace --bin media-handler && cargo bench --locked --workspace --bench media --

.PHONY: bench-media
bench-media: ## CPU per delivered record of the media handler, beside a minimal forwarder (docs/performance.md); ARGS="--only W1"
	$(BENCH_MEDIA) $(ARGS)

.PHONY: bench-media-growth
bench-media-growth: ## The same with ever more subscribers and ever larger meetings; draws docs/media-growth.svg
	$(BENCH_MEDIA) growth --rounds 3 --svg $(CURDIR)/docs/media-growth.svg $(ARGS)

.PHONY: bench-media-cores
bench-media-cores: ## The same with one core and with two
	$(BENCH_MEDIA) cores --rounds 3 $(ARGS)

.PHONY: bench-media-stall
bench-media-stall: ## What nineteen subscribers notice when a twentieth stops reading for a minute
	$(BENCH_MEDIA) stall --rounds 4 $(ARGS)

.PHONY: fuzz
fuzz: ## Every decoder of hostile bytes, FUZZ_SECONDS (60) each; finds lie in fuzz/artifacts
	@command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	@# Sanitizers are unstable flags, which a stable compiler takes under this name. LTO would drop their counters.
	for target in $$(ls fuzz/corpus); do \
		RUSTC_BOOTSTRAP=1 CARGO_PROFILE_RELEASE_LTO=off \
			cargo fuzz run --fuzz-dir fuzz --features libfuzzer --target-dir target/fuzz $$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=8192; \
	done

# ---- prepare ----

.PHONY: web
web: $(STAMPS)/web ## The meeting page and the TypeScript client

.PHONY: setup
setup: $(STAMPS)/setup-test ## Install what the tests need (Debian; as root or by sudo)

$(STAMPS)/setup-%: scripts/setup
	scripts/setup $*
	@mkdir -p $(@D) && touch $@

$(STAMPS)/web: web/node_modules $(WEB_SOURCES)
	cd web && npm run --silent build
	@mkdir -p $(@D) && touch $@

# npm leaves the folder's own time as it finds it.
%/node_modules: %/package-lock.json %/package.json
	cd $* && npm ci --no-audit --no-fund
	@touch $@

$(VENV)/ready: e2e/python/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(VENV_NIQUESTS)/ready: e2e/python/niquests.txt
	python3 -m venv $(VENV_NIQUESTS)
	$(VENV_NIQUESTS)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@
