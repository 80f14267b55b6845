# Two commands do everything from nothing: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
VENV := build/venv
BIN := $(VENV)/bin
BINARIES := hauberk-proxy hauberk-sandbox
DIST := dist
PARSER_TESTS := tests/identity/test_spiffe_id.py tests/model/test_manifest.py tests/store/test_selectors.py \
	tests/store/test_patch.py tests/store/test_protobuf_bodies.py tests/node/test_spdy.py \
	tests/node/test_environment.py tests/node/test_container_log.py tests/chain/test_record_filter.py

.PHONY: help demo test bench fuzz soak build packages binaries lint test-rust test-python conformance kubectl-current docs wheels clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | column -t -s "$$(printf '\t')"

demo: build ## run the bank and show why each call was allowed or refused
	$(BIN)/hauberk up examples/bank

test: build lint test-rust test-python ## everything that CI runs

bench: build ## measure side by side with Envoy, nginx and haproxy into build/bench.json
	$(BIN)/python -m tests.bench

fuzz: $(VENV)/.installed ## new inputs for every parser and for the engines, a minute each
	cargo run --locked --package hauberk-fuzz --example fuzz -- 60
	$(BIN)/pytest -q --hypothesis-profile=fuzz $(PARSER_TESTS)

soak: build ## ten minutes of calls while everything is killed and changed: every answer must be a legal one
	$(BIN)/python -m tests.soak

build: packages $(VENV)/.installed binaries ## everything the other targets run

packages:
	@scripts/install-packages

$(BIN)/uv: scripts/uv.lock
	python3 -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r scripts/uv.lock
	@touch $@

$(VENV)/.installed: $(BIN)/uv requirements.lock pyproject.toml
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

binaries: $(VENV)/.installed
	cargo build --release --locked --bins
	@for b in $(BINARIES); do ln -sf ../../../target/release/$$b $(BIN)/$$b; done

lint: $(VENV)/.installed ## formatting, lints, strict types, layer contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

test-rust: ## unit and integration tests of the crates
	cargo test --locked

test-python: $(VENV)/.installed ## unit, integration and end-to-end tests
	$(BIN)/pytest -n 2 --dist loadfile --ignore tests/conformance

conformance: $(VENV)/.installed ## optional: real istiod, kube-apiserver and the Gateway API's suite, built from their Go modules
	scripts/conformance

kubectl-current: $(VENV)/.installed ## optional: build a current kubectl from its Go module and test with it
	scripts/test-current-kubectl

docs: $(VENV)/.installed ## regenerate docs/reference from the code
	$(BIN)/python -m hauberk.model.reference
	$(BIN)/python -m hauberk.cli.reference > docs/reference/commands.md

wheels: $(VENV)/.installed ## build the two wheels into DIST (dist/)
	$(BIN)/python -m build --no-isolation --wheel --outdir $(DIST) .
	cd crates/dataplane && ../../$(BIN)/maturin build --release --locked --out $(abspath $(DIST))

clean: ## remove what was built
	rm -rf build dist target
