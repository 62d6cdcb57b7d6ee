## make demo    build, start with an upstream of its own, and print a curl to try (ARGS="--listen 127.0.0.1:8081")
## make cluster three gateways, Redis Cluster and PostgreSQL on this machine, and a curl for each (ARGS="--base-port 9100")
## make test    every test, the one in front of a real ScrapyRT too
## make lint    formatting, clippy, documentation, licences: what must be clean
## make bench   how fast it is: each part by itself, then the whole beside HAProxy and nginx (ARGS="--rounds 9")
## Each installs what it needs and this machine lacks: Debian packages, a Python environment, cargo-deny.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Debian keeps the servers of `make bench` in /usr/sbin, off the path of most users.
export PATH := $(HOME)/.cargo/bin:$(PATH):/usr/sbin
.PHONY: help demo cluster test lint bench

help:
	@sed -n 's/^## //p' Makefile

demo:
	@.ci/deps build
	cargo run --release -- demo $(ARGS)

cluster:
	@.ci/deps servers
	@deploy/run $(ARGS)

test:
	@.ci/deps test
	@if cargo nextest --version >/dev/null 2>&1; then \
		echo "cargo nextest run"; cargo nextest run; \
		echo "cargo test --doc"; cargo test --doc; \
	else \
		echo "cargo test"; cargo test; \
	fi

lint:
	@.ci/deps lint
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps
	cargo deny check bans licenses sources

bench:
	@.ci/deps bench
	cargo build --release
	cargo bench -- --warm-up-time 1 --measurement-time 2
	benches/peers/run.py $(ARGS)
