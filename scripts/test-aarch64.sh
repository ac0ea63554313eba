#!/usr/bin/env bash
# Runs cargo for aarch64 Linux on an x86-64 Debian 12, and the result under qemu:
#   test-aarch64.sh test --lib            -> cargo test --target aarch64-unknown-linux-gnu --lib
# Installs what is missing. The aarch64 standard library is the one of the rustc at
# hand if that has one (rustup target add aarch64-unknown-linux-gnu); else a whole
# rustc (Debian's rustc-web, amd64) with the matching libstd-rust-web-dev of arm64
# is unpacked, not installed, into $A64_DIR. Delete that folder to start afresh.
set -euo pipefail
target=aarch64-unknown-linux-gnu
dir=${A64_DIR:-$PWD/.cache/aarch64}
say() { printf 'aarch64: %s\n' "$*" >&2; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

missing=()
for package in qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross; do
    dpkg-query -W -f '${Status}' $package 2>/dev/null | grep -q 'ok installed' || missing+=($package)
done
if [ ${#missing[@]} -gt 0 ]; then
    say "apt packages: ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

has_std() { ls "$("$1" --print target-libdir --target $target 2>/dev/null)"/libstd-*.rlib >/dev/null 2>&1; }

unpack_debian_rust() {
    local apt=$dir/apt
    rm -rf "$dir"
    mkdir -p "$apt"/lists/partial "$apt"/cache/archives/partial "$apt"/debs "$dir"/bin
    # An apt of its own, on the machine's sources: its list of architectures stays as it is.
    cat >"$apt"/conf <<CONF
APT::Architecture "amd64";
APT::Architectures { "amd64"; "arm64"; };
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Dir::State::lists "$apt/lists";
Dir::Cache "$apt/cache";
APT::Sandbox::User "";
CONF
    export APT_CONFIG=$apt/conf
    apt-get update -qq
    # The candidates are named by dependency, so that a newer rustc-web brings its own LLVM and std.
    local version std llvm shown
    version=$(apt-cache policy rustc-web:amd64 | sed -n 's/^  Candidate: //p')
    shown=$(apt-cache show "libstd-rust-web-dev:amd64=$version")
    [[ $shown =~ Depends:\ (libstd-rust-web-[0-9.]+) ]] && std=${BASH_REMATCH[1]}
    shown=$(apt-cache show "$std:amd64=$version")
    [[ $shown =~ libllvm[0-9]+ ]] && llvm=${BASH_REMATCH[0]}
    say "unpacking Debian's rustc-web $version ($std, $llvm) into $dir"
    (cd "$apt"/debs && apt-get download -qq "rustc-web:amd64=$version" "libstd-rust-web-dev:amd64=$version" \
        "$std:amd64=$version" "$llvm:amd64" "libstd-rust-web-dev:arm64=$version")
    for deb in "$apt"/debs/*.deb; do dpkg-deb -x "$deb" "$dir"; done
    unset APT_CONFIG
    rm -rf "$apt"
    for tool in rustc rustdoc; do
        printf '#!/bin/sh\nLD_LIBRARY_PATH="%s${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "%s" "$@"\n' \
            "$dir/usr/lib/x86_64-linux-gnu" "$dir/usr/bin/$tool" >"$dir/bin/$tool"
        chmod +x "$dir/bin/$tool"
    done
    touch "$dir"/complete
}

if ! has_std rustc; then
    [ -e "$dir"/complete ] || unpack_debian_rust
    export RUSTC=$dir/bin/rustc RUSTDOC=$dir/bin/rustdoc
    has_std "$RUSTC" || { say "$RUSTC has no standard library for $target"; exit 1; }
fi
say "$("${RUSTC:-rustc}" --version)"

# Build scripts of crates that only other tests link may look at the host's libraries.
export PKG_CONFIG_ALLOW_CROSS=1
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 ${A64_CPU:+-cpu $A64_CPU} -L /usr/aarch64-linux-gnu"
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc # for crates that build C
# Two rustc versions in one target folder would rebuild each other's work.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/aarch64
command=$1
shift
exec cargo "$command" --target $target "$@"
