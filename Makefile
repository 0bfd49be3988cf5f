# Every target works on a clean checkout. Nothing is built inside it: see CARGO_TARGET_DIR.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-api test-crash fuzz coverage bench check crds openapi images tools cluster-up cluster-down fmt toolchain deny

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/artstore-operator
KEY := $(shell cat rust-toolchain.toml .cargo/config.toml Cargo.lock | sha256sum | cut -c1-16)
export CARGO_TARGET_DIR ?= $(CACHE)/target/$(KEY)
# They would overrule .cargo/config.toml.
unexport RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
HOST = $(shell rustc -vV | awk '/^host: / {print $$2}')
# Where cargo puts what tests run.
BUILT = $(CARGO_TARGET_DIR)/$(HOST)/debug
# Tests wait for servers, leases and pods more than they work.
export RUST_TEST_THREADS ?= 4
DENY_VERSION := 0.20.2
LLVM_COV_VERSION := 0.9.1
LLVM_COV_ROOT := $(CACHE)/cargo-llvm-cov-$(LLVM_COV_VERSION)
FUZZ_VERSION := 0.13.2
FUZZ := $(CACHE)/cargo-fuzz-$(FUZZ_VERSION)/bin/cargo-fuzz
FUZZ_TARGETS := $(basename $(notdir $(wildcard element/fuzz/src/bin/*.rs)))
DENY := $(CACHE)/cargo-deny-$(DENY_VERSION)/bin/cargo-deny

WRITE_CRDS = cargo run --quiet --bin crds --
CRD_FOLDERS := crds/yaml charts/artstore-operator/files/crds
CLUSTER = cargo run --quiet --bin cluster --
# Files for the demo; none given means documents and pictures found on this machine.
FILES ?=
# Cases that make test-api tries of each call.
EXAMPLES ?= 200
# Some experiments only, and a quick look instead of a measurement.
ONLY ?=
QUICK ?=
# How long each fuzz target runs.
SECONDS ?= 20
# Arguments of the crash harness, such as --parts kill,power --points 100 --seed 7; --help lists them.
CRASH ?=

help: ## Lists the targets, the variables they take, and how to test one crate
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  FILES=DIR                  for demo: the files to upload; else documents and pictures of this machine'
	@echo '  EXAMPLES=N                 for test-api: cases of each call; else $(EXAMPLES)'
	@echo '  CRASH="--seed 7 ..."       for test-crash: parts, points, states, seconds, seed; --help lists them'
	@echo '  SECONDS=N                  for fuzz: how long each target runs; else $(SECONDS)'
	@echo '  ARTSTORE_KUBECONFIG=FILE   a cluster to use instead of the local one'
	@echo '  CARGO_TARGET_DIR=DIR       where cargo builds; else $(CARGO_TARGET_DIR)'
	@echo
	@echo '  One crate, with PostgreSQL, Redis and the cluster of make cluster-up:'
	@echo '  $(CLUSTER) services -- cargo test -p artstore-element'

demo: toolchain ## Cluster, operator and two elements; uploads FILES=DIR and reads them back
	@$(CLUSTER) up
	@$(CLUSTER) images
	@cargo run --quiet --package e2e --example demo -- $(if $(FILES),--files "$(FILES)")

# The tests are compiled while the cluster comes up.
test: toolchain ## All tests, on a local cluster that is stopped afterwards if this started it
	@$(CLUSTER) packages
	@$(CLUSTER) status >/dev/null 2>&1 && keep=yes || keep=no; \
	cargo test --workspace --no-run & compiling=$$!; \
	trap 'kill $$compiling 2>/dev/null || true' EXIT; \
	$(BUILT)/cluster up; \
	wait $$compiling; \
	trap - EXIT; \
	$(CLUSTER) images --dev; \
	result=0; \
	$(CLUSTER) services -- cargo test --workspace --no-fail-fast || result=$$?; \
	if [ $$keep = no ]; then said=$$($(CLUSTER) down 2>&1) || { echo "$$said"; result=1; }; fi; \
	exit $$result

# Counters live in mapped files, so that servers killed by tests count too.
coverage: COUNTED = CARGO_BUILD_TARGET=$(HOST) RUSTFLAGS="-C llvm-args=-runtime-counter-relocation"
coverage: export LLVM_PROFILE_FILE_NAME := artstore-%p-%4m%c.profraw
coverage: export PATH := $(LLVM_COV_ROOT)/bin:$(PATH)
coverage: toolchain $(LLVM_COV_ROOT)/bin/cargo-llvm-cov ## How much of the element its tests run, part by part
	@rustup component add llvm-tools
	@$(CLUSTER) services -- env $(COUNTED) cargo llvm-cov --package artstore-element --locked --no-report
	@$(COUNTED) cargo llvm-cov report --package artstore-element --json --summary-only --output-path "$(CARGO_TARGET_DIR)/coverage.json"
	@cargo run --quiet --package e2e --example coverage -- "$(CARGO_TARGET_DIR)/coverage.json"

$(LLVM_COV_ROOT)/bin/cargo-llvm-cov:
	cargo install cargo-llvm-cov --version $(LLVM_COV_VERSION) --locked --debug --root "$(LLVM_COV_ROOT)" \
		--target-dir "$(CARGO_TARGET_DIR)/cargo-llvm-cov"

test-api: toolchain ## The element's API by its description (schemathesis), longer than in make test: EXAMPLES=200
	@ARTSTORE_TEST_API_EXAMPLES=$(EXAMPLES) $(CLUSTER) services -- cargo test --package artstore-element --test it openapi::

bench: toolchain ## Measures the element beside nginx, disk and PostgreSQL (ONLY=E1,E3 QUICK=yes); results in target/bench
	@$(CLUSTER) bench -- $(if $(ONLY),--only "$(ONLY)") $(if $(QUICK),--quick)

test-crash: toolchain ## Kills, faults and power cuts against the element: nothing acknowledged may be lost
	@$(CLUSTER) packages
	@cargo build --quiet --bins --example crash
	@$(CLUSTER) services -- $(BUILT)/examples/crash $(CRASH)

# Without a sanitizer it needs no nightly toolchain, and there is no unsafe code of ours. With the versions the element is built with.
fuzz: toolchain $(FUZZ) ## Made-up bytes for every parser of the element, SECONDS=20 each; the corpus stays in the cache
	@cp Cargo.lock element/fuzz/Cargo.lock
	@$(FUZZ) build --fuzz-dir element/fuzz --sanitizer none --codegen-units 16 --target-dir "$(CARGO_TARGET_DIR)/fuzz"
	@result=0; \
	for target in $(FUZZ_TARGETS); do \
		corpus="$(CACHE)/fuzz/corpus/$$target"; found="$(CACHE)/fuzz/artifacts/$$target"; mkdir -p "$$corpus" "$$found"; \
		printf '%s: ' $$target; \
		if "$(CARGO_TARGET_DIR)/fuzz/$(HOST)/release/$$target" -max_total_time=$(SECONDS) -timeout=10 -print_final_stats=1 \
			-artifact_prefix="$$found/" -seed_inputs=element/fuzz/seeds/$$target "$$corpus" > "$$found/log" 2>&1; \
		then awk '/number_of_executed_units/ {print $$2, "inputs"}' "$$found/log"; \
		else echo "failed; see $$found"; tail -n 40 "$$found/log"; result=1; fi; \
	done; \
	exit $$result

$(FUZZ):
	cargo install cargo-fuzz --version $(FUZZ_VERSION) --locked --debug --root "$(CACHE)/cargo-fuzz-$(FUZZ_VERSION)" \
		--target-dir "$(CARGO_TARGET_DIR)/cargo-fuzz"

check: toolchain deny ## Format, lints, licences, documentation, generated files
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(DENY) --workspace check bans licenses sources
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --document-private-items --locked
	@test -z "$$(gofmt -l tests/cluster/tools)" || { echo "gofmt tests/cluster/tools/*"; exit 1; }
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; $(WRITE_CRDS) "$$fresh" > /dev/null; \
	for folder in $(CRD_FOLDERS); do diff -r "$$fresh" $$folder || { echo "$$folder is stale: run make crds"; exit 1; }; done

crds: toolchain ## Writes the CRDs' YAML, and the chart's copy of it
	@for folder in $(CRD_FOLDERS); do $(WRITE_CRDS) $$folder; done

openapi: toolchain ## Writes docs/openapi.json, the description of the element's API
	@cargo run --quiet --bin artstore-element -- openapi > docs/openapi.json.new
	@mv docs/openapi.json.new docs/openapi.json

images: toolchain ## Static release binaries in images from scratch, loaded when the cluster runs
	$(CLUSTER) images

tools: toolchain ## Builds the programs of the local cluster ahead (Go, once per machine)
	@$(CLUSTER) tools

cluster-up: toolchain ## Starts the local Kubernetes, or uses ARTSTORE_KUBECONFIG
	$(CLUSTER) up

cluster-down: toolchain ## Stops it and leaves nothing of it on the machine
	$(CLUSTER) down

fmt: toolchain ## Formats the sources
	cargo fmt --all
	gofmt -w tests/cluster/tools

# Components of the pinned toolchain, and no target folder older than two weeks beside the current one.
# Cargo takes what another checkout built here for its own, however its sources differ: our crates are built anew when the checkout changes.
toolchain:
	@cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || rustup component add rustfmt clippy
	@mkdir -p "$(CARGO_TARGET_DIR)" && touch "$(CARGO_TARGET_DIR)"
	@find "$(CACHE)/target" -mindepth 1 -maxdepth 1 -type d -mtime +14 -exec rm -rf {} + 2>/dev/null || true
	@[ "$$(cat "$(CARGO_TARGET_DIR)/checkout" 2>/dev/null)" = "$(CURDIR)" ] || { \
		find "$(CARGO_TARGET_DIR)" -path '*/.fingerprint/*' -prune \( -name 'artstore-*' -o -name 'element-api-*' -o -name 'e2e-*' \) -exec rm -rf {} +; \
		echo "$(CURDIR)" > "$(CARGO_TARGET_DIR)/checkout"; \
	}

deny: $(DENY)
# Unoptimised: it runs for a second, and is built once per machine.
$(DENY):
	cargo install cargo-deny --version $(DENY_VERSION) --locked --debug --root "$(CACHE)/cargo-deny-$(DENY_VERSION)" \
		--target-dir "$(CARGO_TARGET_DIR)/cargo-deny"
