#!/usr/bin/env python3
"""What the inner loops of the engine's kernels could reach on Arm cores, by the models of llvm-mca: an estimate, no measurement.

    apt install llvm-16
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \\
        scripts/cargo-aarch64.sh rustc --locked --release -p passd-engine --lib -- --emit asm -C debuginfo=0
    python3 benches/mca.py …/release/deps/engine-*.s [--mca llvm-mca-16]

All data are taken to be in the first cache. LLVM 16 takes Cortex-A57's model for A76 and A78 as well; Neoverse-N2's stands for
wider cores. Of each kernel the innermost loops are shown, by the multiply-accumulates of one turn.
"""
import argparse, re, subprocess

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("asm")
p.add_argument("--mca", default="llvm-mca-16")
a = p.parse_args()
CORES = ["cortex-a57", "neoverse-n2"]
KERNELS = {
    "f32 products": "4neon8run_gemm",
    "f32 sums over cells": "4neon11weight_grad",
    "int8 products, Armv8.0": "4int84neon11run_product",
    "int8 sums over cells, Armv8.0": "4int84neon7run_sum",
    "int8 products, dotprod": "4int88neon_dot11run_product",
    "int8 sums over cells, dotprod": "4int88neon_dot7run_sum",
}
MACS = {
    ("fmla", "4s"): 4, ("smull", "8h"): 8, ("smull2", "8h"): 8, ("smlal", "8h"): 8, ("smlal2", "8h"): 8, ("sdot", "4s"): 16,
}
lines = open(a.asm).read().split("\n")


def function(name):
    first = next((i for i, l in enumerate(lines) if re.match(rf"_ZN\S*{name}17h[0-9a-f]{{16}}E:$", l)), None)
    if first is None:
        return []
    last = next(i for i in range(first, len(lines)) if lines[i].startswith(".Lfunc_end"))
    return [l for l in lines[first:last] if not re.match(r"\s+(//|\.)", l)]


def macs(line):
    m = re.match(r"\s+(\w+)\s+v\d+\.(\w+)", line)
    return MACS.get((m[1], m[2]), 0) if m else 0


def innermost(body):
    labels = {l[:-1]: i for i, l in enumerate(body) if re.match(r"\.L\w+:$", l)}
    jumps = ((i, re.match(r"\s+(?:b\.\w+|cbn?z\s+\w+,|tbn?z.*,)\s*(\.L\w+)$", l)) for i, l in enumerate(body))
    loops = [(labels[m[1]], i) for i, m in jumps if m and labels.get(m[1], i) < i]
    within = lambda x, y: x != y and y[0] >= x[0] and y[1] <= x[1]
    return [body[x:y + 1] for x, y in loops if not any(within((x, y), other) for other in loops)]


print(f"{'kernel':31} {'MACs':>4} {'instructions':>12}  MACs a cycle: " + ", ".join(CORES))
for name, symbol in KERNELS.items():
    loops = sorted(((sum(map(macs, l)), l) for l in innermost(function(symbol))), key=lambda l: -l[0])
    seen = set()
    for n, loop in loops:
        # An odd number in between is a loop of several branches.
        if n == 0 or n in seen:
            continue
        seen.add(n)
        rates = []
        for core in CORES:
            command = [a.mca, "-mtriple=aarch64-linux-gnu", "-mattr=+dotprod", f"-mcpu={core}", "-iterations=200"]
            out = subprocess.run(command, input="\n".join(loop), capture_output=True, text=True, check=True).stdout
            rates.append(200 * n / int(re.search(r"Total Cycles:\s+(\d+)", out)[1]))
        print(f"{name:31} {n:4} {len(loop) - 1:12}  " + ", ".join(f"{r:.1f}" for r in rates))
