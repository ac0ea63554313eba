# Two commands are enough on a fresh machine: `make demo` and `make test`.
# `make help` lists the rest.

SHELL := /bin/bash
# A Rust that setup has just installed is not on the PATH of this make yet.
CARGO := . "$$HOME/.cargo/env" 2>/dev/null; cargo

.PHONY: help setup build demo test test-aarch64 test-sanitize packages test-packages lint bench clean

help:
	@echo 'make demo          install what is missing, build, watch a simulated street for 20 s'
	@echo 'make test          install what is missing, run every test'
	@echo 'make build         target/release/passd'
	@echo 'make test-aarch64  the core on aarch64, cross-compiled, under qemu'
	@echo 'make test-sanitize the engine under AddressSanitizer, and Miri where it is installed'
	@echo 'make packages      Debian packages for amd64 and arm64, in target/debian (on Debian 12)'
	@echo 'make test-packages the same, installed in a clean Debian, and run under qemu'
	@echo 'make lint          formatting and clippy'
	@echo 'make bench         criterion benches'

setup:
	@scripts/setup.sh

build: setup
	$(CARGO) build --release --locked

demo: build
	target/release/passd demo --seconds 20 --out passd-demo.jpg

test:
	@scripts/setup.sh tests
	$(CARGO) test --locked

# The core without GStreamer, OpenCV and ONNX Runtime, cross-compiled and run under qemu.
test-aarch64: setup
	. "$$HOME/.cargo/env" 2>/dev/null; scripts/cargo-aarch64.sh test --locked --no-default-features \
		-p passd -p passd-engine -p passd-train --lib --test identities --test engine_allocations --test gradients --test int8

test-sanitize: setup
	scripts/sanitize.sh

packages:
	scripts/package.sh

test-packages: packages
	python3 packaging/test.py target/debian/passd_*.deb

lint: setup
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

bench: setup
	$(CARGO) bench --locked

clean:
	$(CARGO) clean
