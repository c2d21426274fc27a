# Two commands do all the set-up: `make run` and `make test`.
#
# Every cargo call takes the whole workspace: a smaller selection would unify the features of
# shared dependencies differently and build DataFusion a second time (ARCHITECTURE.md, "Builds").

CARGO  ?= cargo
PYTHON ?= python3
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
DATA   ?= ./hopline-data
ARGS   ?=

VENV := $(CURDIR)/.venv
NODE := tests/clients/node

.DEFAULT_GOAL := help
.PHONY: help run build test test-rust test-clients check bench bench-micro bench-ingest bench-stitch bench-read clients-setup clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## the release binary
	$(CARGO) build --release --workspace --locked

run: build ## build everything and start the server with its data in ./hopline-data
	$(TARGET)/release/hopline serve --data $(DATA) $(ARGS)

test: test-rust test-clients ## all tests: Rust, the running binary, real OpenTelemetry SDKs

test-rust: ## unit, property and black-box tests
	$(CARGO) test --workspace --locked

$(VENV)/.ready: tests/clients/python/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

$(NODE)/node_modules/.ready: $(NODE)/package-lock.json
	cd $(NODE) && npm ci --no-audit --no-fund --loglevel=error
	touch $@

clients-setup: $(VENV)/.ready $(NODE)/node_modules/.ready

test-clients: clients-setup ## Python and Node SDKs, hooks and stitched orders against the binary; DuckDB and Polars on its files
	$(CARGO) build --workspace --tests --locked
	HOPLINE_BIN=$(TARGET)/debug/hopline $(VENV)/bin/python -m pytest -q tests/clients/python tests/clients/hooks tests/clients/stitch

check: ## format, lints, boundaries, licences, docs
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	tests/check/boundaries.sh
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny --offline check licenses bans; fi
	$(PYTHON) tests/check/licences.py
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --workspace --no-deps --locked --document-private-items

bench: bench-micro bench-ingest bench-stitch bench-read ## all benchmarks (docs/performance.md tells how to read them)

bench-micro:
	$(CARGO) bench --workspace --locked --bench decode --bench storage

bench-ingest: build
	benches/ingest.sh $(TARGET)/release/hopline

bench-stitch: build
	benches/stitch.sh $(TARGET)/release/hopline

bench-read: build
	benches/read.sh $(TARGET)/release/hopline

clean: ## what make created here, save the data
	$(CARGO) clean
	rm -rf $(VENV) $(NODE)/node_modules
