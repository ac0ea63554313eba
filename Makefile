# Two commands are enough on a fresh machine: `make demo` and `make test`.
# `make help` lists the rest.

SHELL := /bin/bash
# A Rust that setup has just installed is not on the PATH of this make yet.
CARGO := . "$$HOME/.cargo/env" 2>/dev/null; cargo

.PHONY: help setup build demo test lint bench clean

help:
	@echo 'make demo    install what is missing, build, watch a simulated street for 20 s'
	@echo 'make test    install what is missing, run every test'
	@echo 'make build   target/release/passd'
	@echo 'make lint    formatting and clippy'
	@echo 'make bench   criterion benches'

setup:
	@scripts/setup.sh

build: setup
	$(CARGO) build --release --locked

demo: build
	target/release/passd demo --seconds 20 --out passd-demo.jpg

test: setup
	$(CARGO) test --locked

lint: setup
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

bench: setup
	$(CARGO) bench --locked

clean:
	$(CARGO) clean
