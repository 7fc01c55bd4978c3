# Thin on purpose: each target calls one script or cargo.
.PHONY: help demo test lint bench deny

help: ## Show this
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

demo: ## Agent and node, 200 WebSocket sessions, a renewal every few seconds (ARGS=--keep leaves it running)
	cargo build --workspace --bins
	target/debug/sealwire-demo $(ARGS)

test: ## Install the real components, then check and test everything
	tests/tools/install
	tests/tools/check

lint: ## Format check and clippy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

bench: ## From push to proof, in a release build
	cargo build --release --workspace --bins
	target/release/sealwire-bench

deny: ## Licences, banned crates and sources (installs cargo-deny on first use)
	tests/tools/deny
