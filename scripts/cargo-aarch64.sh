#!/usr/bin/env bash
# Runs cargo for aarch64 Linux on an x86-64 Debian 12, and the result under qemu:
#   cargo-aarch64.sh test --lib            -> cargo test --target aarch64-unknown-linux-gnu --lib
# Installs what is missing; unpacks, not installs, into $A64_DIR (.cache/aarch64):
#   sysroot   Debian's libc and GStreamer of arm64, for the linker and for qemu
#   rust      a rustc (Debian's rustc-web, amd64) with the matching libstd-rust-web-dev of
#             arm64, where the rustc at hand has no standard library for aarch64 (else:
#             rustup target add aarch64-unknown-linux-gnu)
# Delete a folder to start afresh.
set -euo pipefail
target=aarch64-unknown-linux-gnu
dir=${A64_DIR:-$PWD/.cache/aarch64}
say() { printf 'aarch64: %s\n' "$*" >&2; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

missing=()
for package in qemu-user gcc-aarch64-linux-gnu mmdebstrap; do
    dpkg-query -W -f '${Status}' $package 2>/dev/null | grep -q 'ok installed' || missing+=($package)
done
if [ ${#missing[@]} -gt 0 ]; then
    say "apt packages: ${missing[*]}"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# Appears under its name when it is whole.
sysroot() {
    [ ! -d "$dir"/sysroot ] || return 0
    say "unpacking libc and GStreamer of arm64 into $dir/sysroot"
    as_root rm -rf --one-file-system "$dir"/sysroot.part
    as_root mmdebstrap --quiet --variant=extract --mode=root --arch=arm64 \
        --include=libc6-dev,libgstreamer1.0-dev,libgstreamer-plugins-base1.0-dev,libgstrtspserver-1.0-dev,gstreamer1.0-plugins-base,gstreamer1.0-plugins-good,ca-certificates \
        "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$dir"/sysroot.part
    mv "$dir"/sysroot.part "$dir"/sysroot
}

has_std() { ls "$("$1" --print target-libdir --target $target 2>/dev/null)"/libstd-*.rlib >/dev/null 2>&1; }

unpack_debian_rust() {
    local rust=$dir/rust apt=$dir/rust/apt
    rm -rf "$rust"
    mkdir -p "$apt"/lists/partial "$apt"/cache/archives/partial "$apt"/debs "$rust"/bin
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
    say "unpacking Debian's rustc-web $version ($std, $llvm) into $rust"
    (cd "$apt"/debs && apt-get download -qq "rustc-web:amd64=$version" "libstd-rust-web-dev:amd64=$version" \
        "$std:amd64=$version" "$llvm:amd64" "libstd-rust-web-dev:arm64=$version")
    for deb in "$apt"/debs/*.deb; do dpkg-deb -x "$deb" "$rust"; done
    unset APT_CONFIG
    rm -rf "$apt"
    for tool in rustc rustdoc; do
        printf '#!/bin/sh\nLD_LIBRARY_PATH="%s${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "%s" "$@"\n' \
            "$rust/usr/lib/x86_64-linux-gnu" "$rust/usr/bin/$tool" >"$rust/bin/$tool"
        chmod +x "$rust/bin/$tool"
    done
    touch "$rust"/complete
}

mkdir -p "$dir"
if ! has_std rustc; then
    [ -e "$dir"/rust/complete ] || unpack_debian_rust
    export RUSTC=$dir/rust/bin/rustc RUSTDOC=$dir/rust/bin/rustdoc
    has_std "$RUSTC" || { say "$RUSTC has no standard library for $target"; exit 1; }
fi
say "$("${RUSTC:-rustc}" --version)"

sysroot
export PKG_CONFIG_ALLOW_CROSS=1
export PKG_CONFIG_SYSROOT_DIR_aarch64_unknown_linux_gnu=$dir/sysroot
export PKG_CONFIG_LIBDIR_aarch64_unknown_linux_gnu=$dir/sysroot/usr/lib/aarch64-linux-gnu/pkgconfig:$dir/sysroot/usr/share/pkgconfig
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C link-arg=--sysroot=$dir/sysroot"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 ${A64_CPU:+-cpu $A64_CPU} -L $dir/sysroot"
# For crates that build C.
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc CFLAGS_aarch64_unknown_linux_gnu=--sysroot=$dir/sysroot
# Two rustc versions in one target folder would rebuild each other's work.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/aarch64
command=$1
shift
exec cargo "$command" --target $target "$@"
