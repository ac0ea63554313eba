#!/usr/bin/env bash
# Builds the Debian packages, target/debian/passd_VERSION_ARCH.deb:
#   package.sh [amd64] [arm64]      both, if none is named
# What is in them stands in Cargo.toml ([package.metadata.deb]). arm64 is cross-built. They
# run on this system's release and later ones. Built on Debian 12, amd64.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(dpkg --print-architecture)" = amd64 ] || { echo "package: this builds on amd64 only" >&2; exit 1; }
scripts/setup.sh

CARGO_DEB=3.8.0
. "$HOME/.cargo/env" 2>/dev/null || true
export PATH=$PWD/.cache/tools/bin:$PATH
if [ "$(.cache/tools/bin/cargo-deb --version 2>/dev/null)" != $CARGO_DEB ]; then
    cargo install --quiet --locked --root .cache/tools cargo-deb@$CARGO_DEB
fi

staged=.cache/package # the paths of Cargo.toml

# stage MACHINE PASSD: what cargo does not build; the program itself writes pages and completions.
stage() {
    rm -rf $staged
    mkdir -p $staged/man
    local runtime=.cache/onnxruntime # set-up has fetched this machine's
    [ "$1" = "$(uname -m)" ] || runtime+=-$1
    scripts/onnxruntime.sh "$1" $runtime
    cp $runtime/{libonnxruntime.so,LICENSE,ThirdPartyNotices.txt} $staged
    "${@:2}" man $staged/man
    gzip -9n $staged/man/*.1
    for shell in bash zsh fish; do "${@:2}" completions $shell >$staged/passd.$shell; done
    python3 scripts/licences.py | gzip -9n >$staged/CRATES.gz
    gzip -9n $staged/ThirdPartyNotices.txt
}

export CARGO_PROFILE_RELEASE_STRIP=debuginfo # names in backtraces stay
features=(--no-default-features --features daemon) # without OpenCV: its soname differs from release to release
[ $# -gt 0 ] || set -- amd64 arm64
for arch; do
    rm -f target/debian/passd_*_"$arch".deb
    case $arch in
    amd64)
        cargo build --release --locked "${features[@]}" --target-dir target/package
        stage x86_64 target/package/release/passd
        CARGO_TARGET_DIR=target/package cargo deb --no-build --output target/debian/
        ;;
    arm64)
        export CARGO_TARGET_DIR=target/package
        scripts/cargo-aarch64.sh build --release --locked "${features[@]}"
        stage aarch64 qemu-aarch64 -L .cache/aarch64/sysroot target/package/aarch64/aarch64-unknown-linux-gnu/release/passd
        scripts/cargo-aarch64.sh deb --no-build --output "$PWD"/target/debian/
        ;;
    *) echo "package: no such architecture: $arch. There are amd64 and arm64" >&2; exit 2 ;;
    esac
done
ls -1 target/debian/*.deb
