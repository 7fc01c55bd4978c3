# Thin on purpose: each target calls one script or cargo.
.DEFAULT_GOAL := help
.PHONY: help demo test test-kubernetes simulate fuzz lint bench bench-rest bench-issue bench-swap bench-push bench-idle bench-handshake bench-disk bench-wire bench-fanout deny clean-tools

help: ## Show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

demo: ## Agent and node, 200 WebSocket sessions, a renewal every few seconds (ARGS=--keep leaves it running)
	cargo build --workspace --bins
	target/debug/sealwire-demo $(ARGS)

test: ## Install the real components, then check and test everything
	tests/tools/install
	tests/tools/check

test-kubernetes: ## A real kube-apiserver and etcd: the chart is installed, three agents race (the first time builds for ten minutes)
	tests/tools/install kubernetes
	tests/kubernetes/run

simulate: ## A thousand simulated years of the lifecycle (SEEDS=n for more or fewer)
	SEALWIRE_SEEDS=$(or $(SEEDS),1000) cargo test -p sealwire-agent --test simulation -- --nocapture

fuzz: ## OCSP, CRLs, chains, the delivery socket and frames of clients under fuzzed input, 10 minutes each (SECONDS=n for another time)
	fuzz/run $(or $(SECONDS),600)

lint: ## Format check and clippy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

bench: ## From push to proof, in a release build
	cargo build --release --workspace --bins
	target/release/sealwire-bench

bench-rest: ## Ten thousand certificates at rest, and their plan for a year
	cargo build --release --workspace --bins
	TMPDIR=/dev/shm target/release/sealwire-bench-rest

bench-issue: ## Five hundred certificates from Pebble: Sealwire, lego and Caddy (apt-get install lego caddy)
	cargo build --release --workspace --bins
	SEALWIRE_TOOLS=target/tools target/release/sealwire-bench-issue

bench-swap: ## Twenty swaps under 5,000 sessions and full handshakes at full rate
	cargo build --release --workspace --bins
	target/release/sealwire-bench-swap

bench-push: ## From push to first handshake: Sealwire, HAProxy, Envoy, nginx (bench/README.md says how to install them)
	cargo build --release --workspace --bins
	target/release/sealwire-bench-push

bench-idle: ## Memory of ten thousand idle sessions, stage by stage (SEALWIRE_SESSIONS=n for another number)
	cargo build --release --workspace --bins
	target/release/sealwire-bench-idle

bench-handshake: ## TLS handshakes in a second on one core: ours, a bare loop, Envoy, nginx, HAProxy, Node.js (ARGS=burst: 10,000 connections at once)
	cargo build --release --workspace --bins
	target/release/sealwire-bench-handshake $(ARGS)

bench-disk: ## Publications in a second that are acknowledged after a flush (SEALWIRE_DISK names the disk)
	cargo build --release -p sealwire-bench --bin sealwire-bench-disk
	$(or $(CARGO_TARGET_DIR),target)/release/sealwire-bench-disk

bench-wire: ## Cost of one message in each framing of the client protocol
	cargo build --release -p sealwire-bench --bin sealwire-bench-wire
	target/release/sealwire-bench-wire

bench-fanout: ## Publications to thousands: Sealwire, ws, Bun, Centrifugo, NATS (bench/README.md says how to install them)
	cargo build --release -p sealwire-agent -p wss-node -p sealwire-bench --bins
	SEALWIRE_TOOLS=target/tools target/release/sealwire-bench-fanout

deny: ## Licences, banned crates and sources of dependencies
	tests/tools/deny

clean-tools: ## Remove what tests/tools/install installed
	rm -rf target/tools
