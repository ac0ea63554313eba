#!/usr/bin/env python3
"""One step of training street-nano: PyTorch beside passd's trainers, in turn, median of five rounds.

    pip install torch numpy opencv-python-headless
    cargo bench -p passd-train --bench step --no-run
    python3 benches/train.py target/release/deps/step-* [--pictures 4] [--threads 2] [--int8 avx2]

All arms: the same layers (normalisation folded, as in the exported model), 640x384, forwards, backwards and Adam; the
gradients of the outputs are given, so that no loss is in it. PyTorch: channels last, in f32 and with bf16 products. "Head":
what lies behind the backbone, from maps that were kept; PyTorch trains all.

With --memory: by how much each arm's process grows at most, once its picture is there.
"""
import argparse, os, pathlib, statistics, subprocess, sys, time
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "models/training"))
from street_nano import H, W, network  # noqa: E402

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("bench")
p.add_argument("--pictures", type=int, default=4)
p.add_argument("--threads", type=int, default=2)
p.add_argument("--int8", default=None, help="instruction set of the products in eight bits")
p.add_argument("--f32", default=None, help="instruction set of all others")
p.add_argument("--memory", action="store_true")
a = p.parse_args()
torch.set_num_threads(a.threads)


def fold(module):
    """Convolution, normalisation and ReLU become convolution with bias and ReLU."""
    for name, child in module.named_children():
        if isinstance(child, torch.nn.Sequential) and len(child) == 3 and isinstance(child[1], torch.nn.BatchNorm2d):
            c = child[0]
            conv = torch.nn.Conv2d(c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding)
            setattr(module, name, torch.nn.Sequential(conv, torch.nn.ReLU(inplace=True)))
        else:
            fold(child)


def arm(bf16):
    net = network()
    fold(net)
    net = net.to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(net.parameters(), 1e-5, foreach=True)
    x = torch.rand(a.pictures, 3, H, W).to(memory_format=torch.channels_last)
    grads = [torch.randn_like(v) / 1000 for v in net(x)]

    def step():
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            outputs = net(x)
        adam.zero_grad()
        torch.autograd.backward(outputs, [g.to(o.dtype) for g, o in zip(grads, outputs)])
        adam.step()
        return (time.perf_counter() - start) * 1e3 / a.pictures

    return lambda: statistics.median([step() for _ in range(6)][1:])


def passd(*more):
    extra = [v for name in ("int8", "f32") if getattr(a, name) for v in (f"--{name}", getattr(a, name))]
    command = [a.bench, "--pictures", str(a.pictures), "--threads", str(a.threads), "--rounds", "5", *extra, *more]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def took(lines):
    return [float(line.split("all ")[1]) for line in lines if "all " in line]


def memory(field):
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split(field)[1].split()[0]) / 1024


def grown(bf16):
    """Of a process of its own, MiB: the most, less what a network and its picture take."""
    net = network()
    fold(net)
    net(torch.rand(1, 3, 32, 32))
    before = memory("VmRSS:")
    arm(bf16)()
    return memory("VmHWM:") - before


if a.memory:
    for bf16 in (False, True):
        reader, writer = os.pipe()
        if os.fork() == 0:
            torch.set_num_threads(a.threads)
            os.write(writer, str(grown(bf16)).encode())
            os._exit(0)
        os.wait()
        print(f"PyTorch {'bf16' if bf16 else 'f32'}: memory grew by {float(os.read(reader, 99)):.1f} MiB at most")
    for layers in ("all", "head"):
        for only in ("f32", "int8"):
            print(f"passd {only}, {layers}:", passd("--layers", layers, "--only", only)[-1])
    sys.exit()

arms = {"PyTorch f32": arm(False), "PyTorch bf16": arm(True)}
names = ["passd f32", "passd eight bits", "passd f32, head", "passd eight bits, head"]
times = {name: [] for name in [*arms, *names]}
for _ in range(5):
    for name, run in arms.items():
        times[name].append(run())
    for name, t in zip(names, took(passd()) + took(passd("--layers", "head"))):
        times[name].append(t)
print("median ms a picture, and median of the ratios to PyTorch f32, round by round")
base = times["PyTorch f32"]
for name, t in times.items():
    ratio = statistics.median(y / x for x, y in zip(t, base))
    print(f"{name:23} {statistics.median(t):6.2f}  {ratio:5.2f}")
