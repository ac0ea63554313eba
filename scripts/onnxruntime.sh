#!/usr/bin/env bash
# Fetches the pinned ONNX Runtime for a machine (x86_64, aarch64) into a folder:
#   onnxruntime.sh [MACHINE [FOLDER]]
# libonnxruntime.so and its licences, out of the wheel 'onnxruntime' of PyPI, which is
# checked and opened, not installed. Does nothing where it is there already.
set -euo pipefail

VERSION=1.23.2
declare -A SHA256=(
    [x86_64]=da44b99206e77734c5819aa2142c69e64f3b46edc3bd314f6a45a932defc0b3e
    [aarch64]=bbfd2fca76c855317568c1b36a885ddea2272c13cb0e395002c402f2360429a6
)
machine=${1:-$(uname -m)}
folder=${2:-$(dirname "$0")/../.cache/onnxruntime}
library=$folder/libonnxruntime.so

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

[ -n "${SHA256[$machine]:-}" ] || die "there is no pinned ONNX Runtime for $machine. Remedy: set ORT_DYLIB_PATH to a libonnxruntime.so"
stamp="$VERSION ${SHA256[$machine]}"
if [ -f "$library" ] && [ -f "$folder/LICENSE" ] && [ "$(cat "$library.version" 2>/dev/null)" = "$stamp" ]; then exit 0; fi
say "ONNX Runtime $VERSION for $machine from the wheel 'onnxruntime' of PyPI"
python3 -m pip --version >/dev/null 2>&1 || die "pip is needed. Remedy: apt-get install python3-pip"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The wheel's Python version does not matter.
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --implementation cp --python-version 3.11 \
    --platform "manylinux_2_27_$machine" --platform "manylinux_2_28_$machine" --dest "$work" "onnxruntime==$VERSION" \
    || die "the wheel cannot be downloaded. Remedy: is PyPI within reach? Or set ORT_DYLIB_PATH to a libonnxruntime.so"
wheel=$(echo "$work"/*.whl)
echo "${SHA256[$machine]}  $wheel" | sha256sum --check --quiet || die "the wheel's checksum is wrong. Remedy: try again; if it stays, do not use it"
mkdir -p "$folder"
python3 - "$wheel" "$folder" <<'PY'
import os, sys, zipfile
wheel, folder = sys.argv[1:]
with zipfile.ZipFile(wheel) as z:
    for start, name in {
        "onnxruntime/LICENSE": "LICENSE",
        "onnxruntime/ThirdPartyNotices.txt": "ThirdPartyNotices.txt",
        "onnxruntime/capi/libonnxruntime.so": "libonnxruntime.so",
    }.items():
        inside = next(n for n in z.namelist() if n.startswith(start))
        with open(f"{folder}/{name}.part", "wb") as f:
            f.write(z.read(inside))
        os.replace(f"{folder}/{name}.part", f"{folder}/{name}")
PY
echo "$stamp" > "$library.version"
