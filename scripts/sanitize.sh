#!/usr/bin/env bash
# Runs the layer engine's tests where a number read or written outside of its buffer ends them: with AddressSanitizer,
# every buffer apart; and with Miri, by the portable kernels, where it is installed. Says what ran where.
set -euo pipefail
cd "$(dirname "$0")/.."
. "$HOME/.cargo/env" 2>/dev/null || true
host=$(rustc -vV | sed -n 's/^host: //p')
folder=target/sanitize

say() { echo "sanitize: $*"; }

if ls "$(rustc --print target-libdir)"/librustc*_rt.asan.a >/dev/null 2>&1; then
    # Sanitisers are no stable feature of the compiler; build scripts are left as they are by naming the target.
    # Tests let go of maps for good: leaks are not looked for.
    RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address --cfg passd_apart" ASAN_OPTIONS=detect_leaks=0 CARGO_TARGET_DIR=$folder \
        cargo test --locked -p passd-engine --target "$host" --lib --test identities --test sound
    say "AddressSanitizer: ran on $host, instruction sets: $(grep -oE -m1 'avx512f' /proc/cpuinfo || true) $(grep -oE -m1 'avx2' /proc/cpuinfo || true) and the portable one"
else
    say "AddressSanitizer: SKIPPED, this toolchain has no runtime of it"
fi

if cargo miri --version >/dev/null 2>&1; then
    # Miri knows no vectors: the processor is said to have none.
    MIRIFLAGS="-Zmiri-disable-isolation" RUSTFLAGS="--cfg passd_apart" CARGO_TARGET_DIR=$folder/miri \
        cargo miri test --locked -p passd-engine --lib
    say "Miri: ran the engine's unit tests"
else
    say "Miri: SKIPPED, it is not installed (rustup +nightly component add miri)"
fi
