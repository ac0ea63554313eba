#!/usr/bin/env python3
"""Trains street-nano, the detector of the simulated street, and writes models/street-nano.onnx.

    python3 models/training/street_nano.py data  --passd target/release/passd --dir /tmp/street
    python3 models/training/street_nano.py train --dir /tmp/street --out models/street-nano.onnx [--steps 5000]
    python3 models/training/street_nano.py calibrate --dir /tmp/street --out models/street-nano.onnx
    python3 models/training/street_nano.py score --dir /tmp/street --out models/street-nano.onnx

`data` draws frames with `passd sim` (training seeds 1.., test seeds 1001..), `train` fits the network on the
CPU in about half an hour on two cores, `calibrate` makes its scores probabilities, `score` prints AP50 a scene
on the test seeds.

Network: plain convolutions with batch-norm and ReLU, strides 8, 16 and 32 with a top-down path, one head shared
by the strides. Each stride's map has 6 channels a cell: logits of person and car, then the logarithms of the
distances from the cell's middle to the left, top, right and bottom side, in strides.

needs: pip install torch onnx onnxruntime opencv-python-headless numpy
"""
import argparse, json, math, pathlib, random, subprocess, time
import cv2, numpy as np

SCENES = ["day", "cloud", "night", "rain", "crowd"]
STRIDES = (8, 16, 32)
LARGEST = (64, 176, 1e9)  # longest side in pixels that a stride is asked to find
W, H = 640, 384


def data(a):
    rng = random.Random(0)
    for part, first, seeds, frames in (("train", 1, a.seeds, 6), ("test", 1001, 8, 25)):
        for scene in a.scenes if part == "train" else SCENES:
            for seed in range(first, first + seeds):
                out = pathlib.Path(a.dir) / part / f"{scene}-{seed}"
                if (out / "truth.jsonl").exists():
                    continue
                extra = ""
                if part == "train":  # every condition that a setting can bring, too
                    extra = f"&noise={rng.uniform(0, 6):.1f}&clouds={rng.choice([0, 0, 0.4, 0.7])}&gop={rng.choice([0, 10])}&traffic={rng.uniform(0.7, 4):.1f}"
                address = f"sim://street?scene={scene}&seed={seed}&frames={frames}{extra}"
                # 83 frames apart: most of what a clip shows, and not its first seconds alone.
                subprocess.run([a.passd, "sim", address, "--out", str(out), "--every", "83"], check=True, stdout=subprocess.DEVNULL)


def load(folder):
    images, truths = [], []
    for d in sorted(pathlib.Path(folder).iterdir()):
        for line in (d / "truth.jsonl").read_text().splitlines():
            t = json.loads(line)
            images.append(cv2.imread(str(d / f"{t['frame']:06}.png")))
            truths.append((d.name.split("-")[0], np.array([o["box"] + [o["class"], o["counts"]] for o in t["objects"]], np.float32).reshape(-1, 6)))
    return images, truths


def network():
    import torch.nn as nn, torch.nn.functional as F, torch

    def conv(i, o, k=3, s=1):
        return nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))

    class Block(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.a, self.b = conv(c, c // 2, 1), conv(c // 2, c)

        def forward(self, x):
            return x + self.b(self.a(x))

    class StreetNano(nn.Module):
        def __init__(self):
            super().__init__()
            self.s4 = nn.Sequential(conv(3, 12, 3, 2), conv(12, 24, 3, 2), Block(24))
            self.s8 = nn.Sequential(conv(24, 48, 3, 2), Block(48), Block(48))
            self.s16 = nn.Sequential(conv(48, 96, 3, 2), Block(96), Block(96))
            self.s32 = nn.Sequential(conv(96, 96, 3, 2), Block(96))
            self.l8, self.l16, self.l32 = conv(48, 48, 1), conv(96, 48, 1), conv(96, 48, 1)
            self.head = nn.Sequential(conv(48, 48), conv(48, 48))
            self.out = nn.Conv2d(48, 6, 1)
            nn.init.constant_(self.out.bias[:2], -4.0)
            with torch.no_grad():
                self.out.bias[2:] = 0.5

        def forward(self, x):
            c8 = self.s8(self.s4(x)); c16 = self.s16(c8); c32 = self.s32(c16)
            p32 = self.l32(c32)
            p16 = self.l16(c16) + F.interpolate(p32, scale_factor=2)
            p8 = self.l8(c8) + F.interpolate(p16, scale_factor=2)
            return [self.out(self.head(p)) for p in (p8, p16, p32)]

    return StreetNano()


def augment(rng, img, boxes, cw, ch):
    """A random crop at a random scale, mirrored and re-lit: what a region of a frame looks like, too."""
    s = math.exp(rng.uniform(math.log(0.7), math.log(1.5))) if rng.random() < 0.6 else 1.0
    sw, sh = cw / s, ch / s
    x0, y0 = rng.uniform(-0.1 * sw, max(0.1 * sw, W - 0.9 * sw)), rng.uniform(-0.1 * sh, max(0.1 * sh, H - 0.9 * sh))
    if s == 1.0:
        x0, y0 = round(x0), round(y0)
    m = np.array([[s, 0, -x0 * s], [0, s, -y0 * s]], np.float32)
    out = cv2.warpAffine(img, m, (cw, ch), flags=cv2.INTER_LINEAR, borderValue=(114, 114, 114))
    b = boxes.copy()
    b[:, [0, 2]] = (b[:, [0, 2]] - x0) * s
    b[:, [1, 3]] = (b[:, [1, 3]] - y0) * s
    area = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    b[:, [0, 2]] = b[:, [0, 2]].clip(0, cw)
    b[:, [1, 3]] = b[:, [1, 3]].clip(0, ch)
    left = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) / np.maximum(area, 1e-6)
    b[:, 5] *= left >= 0.35
    b = b[left > 0.02]
    if rng.random() < 0.5:
        out = out[:, ::-1]
        b[:, [0, 2]] = cw - b[:, [2, 0]]
    if rng.random() < 0.5:
        out = np.clip(out.astype(np.float32) * rng.uniform(0.65, 1.3), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(out), b


def grids(w, h):
    for i, st in enumerate(STRIDES):
        gy, gx = np.mgrid[0:h // st, 0:w // st]
        yield i, st, (gx.ravel() + 0.5) * st, (gy.ravel() + 0.5) * st


def assign(boxes, w, h):
    """A cell learns the smallest object that has the cell near its middle and a size for the cell's stride."""
    cls, box, care = [], [], []
    for i, st, cx, cy in grids(w, h):
        n = len(cx)
        k, t, c, best = np.zeros(n, np.int64), np.zeros((n, 4), np.float32), np.ones(n, np.float32), np.full(n, 1e9)
        for x1, y1, x2, y2, kind, counts in boxes:
            inside = (cx > x1) & (cx < x2) & (cy > y1) & (cy < y2)
            if not counts:
                c[inside & (k == 0)] = 0
                continue
            side, lo = max(x2 - x1, y2 - y1), (0, *LARGEST)[i]
            if not lo <= side < LARGEST[i]:
                if lo * 0.7 <= side < LARGEST[i] * 1.4:
                    c[inside & (k == 0)] = 0
                continue
            near = (abs(cx - (x1 + x2) / 2) < 1.5 * st) & (abs(cy - (y1 + y2) / 2) < 1.5 * st)
            hit = inside & near & ((x2 - x1) * (y2 - y1) < best)
            k[hit] = int(kind) + 1; best[hit] = (x2 - x1) * (y2 - y1); c[hit] = 1
            t[hit] = np.stack([cx - x1, cy - y1, x2 - cx, y2 - cy], 1)[hit] / st
        cls.append(k); box.append(t); care.append(c)
    return np.concatenate(cls), np.concatenate(box), np.concatenate(care)


def train(a):
    import torch, torch.nn.functional as F
    torch.manual_seed(0)
    torch.set_num_threads(a.threads)
    rng = random.Random(1)
    images, truths = load(pathlib.Path(a.dir) / "train")
    print(len(images), "frames", flush=True)
    net = network()
    print(sum(p.numel() for p in net.parameters()), "parameters", flush=True)
    ema = {k: v.clone() for k, v in net.state_dict().items()}
    opt = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-2)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 3e-3, total_steps=a.steps, pct_start=0.08)
    begin, sums = time.time(), np.zeros(2)
    for step in range(a.steps):
        cw, ch = rng.choice([(320, 192), (320, 256), (256, 256), (384, 256)])
        xs, ks, ts, cs = [], [], [], []
        for _ in range(a.batch):
            j = rng.randrange(len(images))
            x, b = augment(rng, images[j], truths[j][1], cw, ch)
            k, t, c = assign(b, cw, ch)
            xs.append(x); ks.append(k); ts.append(t); cs.append(c)
        x = torch.from_numpy(np.stack(xs)).permute(0, 3, 1, 2).float() / 255
        k, t, c = (torch.from_numpy(np.stack(v)) for v in (ks, ts, cs))
        y = torch.cat([o.flatten(2) for o in net(x)], 2).transpose(1, 2)
        pos = k > 0
        d, q = y[pos][:, 2:].clamp(-4, 4).exp(), t[pos]
        inter = (torch.min(d[:, 0], q[:, 0]) + torch.min(d[:, 2], q[:, 2])) * (torch.min(d[:, 1], q[:, 1]) + torch.min(d[:, 3], q[:, 3]))
        hull = (torch.max(d[:, 0], q[:, 0]) + torch.max(d[:, 2], q[:, 2])) * (torch.max(d[:, 1], q[:, 1]) + torch.max(d[:, 3], q[:, 3]))
        union = (d[:, 0] + d[:, 2]) * (d[:, 1] + d[:, 3]) + (q[:, 0] + q[:, 2]) * (q[:, 1] + q[:, 3]) - inter
        iou = inter / union
        box_loss = (1 - iou + (hull - union) / hull).sum() / max(1, len(q))
        target = torch.zeros_like(y[..., :2])  # quality focal loss: the score learns the box's IoU
        target[pos] = F.one_hot(k[pos] - 1, 2).float() * iou.detach().clamp(0)[:, None]
        p = y[..., :2].sigmoid()
        cls = F.binary_cross_entropy_with_logits(y[..., :2], target, reduction="none") * (p.detach() - target).abs() ** 2
        cls_loss = (cls * c[..., None]).sum() / max(1, len(q))
        loss = cls_loss + 2 * box_loss
        opt.zero_grad(); loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        opt.step(); sched.step()
        decay = min(0.998, (1 + step) / (10 + step))
        for key, v in net.state_dict().items():
            ema[key] = v.clone() if not v.dtype.is_floating_point else ema[key] * decay + v * (1 - decay)
        sums += [cls_loss.item(), box_loss.item()]
        if step % 100 == 99:
            print(f"step {step + 1} cls {sums[0] / 100:.3f} box {sums[1] / 100:.3f}  {time.time() - begin:.0f} s", flush=True)
            sums[:] = 0
        if step % 1000 == 999 or step + 1 == a.steps:
            done = network(); done.load_state_dict(ema); done.eval()
            torch.onnx.export(done, torch.zeros(1, 3, H, W), a.out, input_names=["image"], output_names=["p8", "p16", "p32"], opset_version=13)
            score(a)


def iou(a, b):
    i = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return i / max(1e-9, (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - i)


def detect(session, img):
    outs = session.run(None, {"image": img.transpose(2, 0, 1)[None].astype(np.float32) / 255})
    found = []
    for (i, st, cx, cy), o in zip(grids(W, H), outs):
        o = o[0].reshape(6, -1)
        p = 1 / (1 + np.exp(-o[:2]))
        d = np.exp(o[2:].clip(-4, 4)) * st
        for j in np.nonzero(p.max(0) > 0.05)[0]:
            for c in (0, 1):
                if p[c, j] > 0.05:
                    found.append(([cx[j] - d[0, j], cy[j] - d[1, j], cx[j] + d[2, j], cy[j] + d[3, j]], float(p[c, j]), c))
    keep = []
    for f in sorted(found, key=lambda f: -f[1])[:300]:
        if all(f[2] != k[2] or iou(f[0], k[0]) < 0.5 for k in keep):
            keep.append(f)
    return keep


def platt(x, t):
    """Slope and offset by which the logits `x` say how likely `t` is: Newton's method on the cross-entropy."""
    w = np.array([1.0, 0.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-(w[0] * x + w[1])))
        g = np.array([((p - t) * x).mean(), (p - t).mean()])
        h = p * (1 - p)
        step = np.linalg.solve([[(h * x * x).mean(), (h * x).mean()], [(h * x).mean(), h.mean()]], g)
        w -= step
        if abs(step).max() < 1e-6:
            break
    return w


def calibrate(a):
    """Makes the scores of each stride and class say how good a box is (Platt scaling), folded into the last layer.

    The quality focal loss leaves the background at 0.15 to 0.2: it orders boxes well, but nothing tells a doubt from
    nothing at all. And the largest cars, of which crops show few as a whole, score lower than they deserve."""
    import onnx, onnxruntime as ort
    from onnx import numpy_helper
    session = ort.InferenceSession(a.out, providers=["CPUExecutionProvider"])
    images, truths = load(pathlib.Path(a.dir) / "train")
    stride_of = np.concatenate([np.full(len(cx), i) for i, _, cx, _ in grids(W, H)])
    samples = {(i, c): ([], []) for i in range(len(STRIDES)) for c in (0, 1)}
    for j in range(0, len(images), 9):
        k, t, care = assign(truths[j][1], W, H)
        outs = session.run(None, {"image": images[j].transpose(2, 0, 1)[None].astype(np.float32) / 255})
        y = np.concatenate([o[0].reshape(6, -1) for o in outs], 1).T
        d, pos = np.exp(y[:, 2:].clip(-4, 4)), k > 0
        inter = (np.minimum(d[:, 0], t[:, 0]) + np.minimum(d[:, 2], t[:, 2])) * (np.minimum(d[:, 1], t[:, 1]) + np.minimum(d[:, 3], t[:, 3]))
        union = (d[:, 0] + d[:, 2]) * (d[:, 1] + d[:, 3]) + (t[:, 0] + t[:, 2]) * (t[:, 1] + t[:, 3]) - inter
        target = np.zeros((len(k), 2))
        target[pos, k[pos] - 1] = (inter / union)[pos]
        for (i, c), (xs, ts) in samples.items():
            here = (care > 0) & (stride_of == i)
            xs.append(y[here, c].astype(np.float64)); ts.append(target[here, c])
    samples = {key: (np.concatenate(xs), np.concatenate(ts)) for key, (xs, ts) in samples.items()}
    usual = platt(*(np.concatenate([v[n] for v in samples.values()]) for n in (0, 1)))
    model = onnx.load(a.out)
    tensors = {t.name: t for t in model.graph.initializer}
    for i, name in enumerate(("p8", "p16", "p32")):
        node = next(n for n in model.graph.node if name in n.output)
        assert node.op_type == "Conv"
        weight, bias = (numpy_helper.to_array(tensors[n]).copy() for n in node.input[1:3])
        for c in (0, 1):
            x, t = samples[i, c]
            # Of what a stride never finds, the usual must do.
            slope, offset = platt(x, t) if (t > 0).sum() > 100 else usual
            print(f"{name} class {c}: slope {slope:.3f} offset {offset:.3f}, {(t > 0).sum()} of {len(x)} scores")
            weight[c] *= slope
            bias[c] = bias[c] * slope + offset
        for n, (value, kind) in enumerate(((weight, "weight"), (bias, "bias"))):
            node.input[1 + n] = f"{name}.{kind}"
            model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), f"{name}.{kind}"))
    used = {n for node in model.graph.node for n in node.input}
    for t in [t for t in model.graph.initializer if t.name not in used]:
        model.graph.initializer.remove(t)
    onnx.checker.check_model(model)
    onnx.save(model, a.out)


def score(a):
    import onnxruntime as ort
    so = ort.SessionOptions(); so.intra_op_num_threads = 1; so.log_severity_level = 3
    session = ort.InferenceSession(a.out, so, providers=["CPUExecutionProvider"])
    images, truths = load(pathlib.Path(a.dir) / "test")
    found = [detect(session, im) for im in images]
    for scene in SCENES:
        aps = []
        for c in (0, 1):
            rows, n = [], 0
            for f, (name, t) in zip(found, truths):
                if name != scene:
                    continue
                t = t[t[:, 4] == c]
                n += int(t[:, 5].sum()); used = set()
                for b, s, _ in sorted((x for x in f if x[2] == c), key=lambda x: -x[1]):
                    j = max((j for j in range(len(t)) if j not in used and iou(b, t[j]) >= 0.5), key=lambda j: (t[j, 5], iou(b, t[j])), default=None)
                    if j is None:
                        rows.append((s, 0))
                    else:
                        used.add(j)
                        if t[j, 5]:
                            rows.append((s, 1))
            rows.sort(reverse=True)
            tp = np.cumsum([r[1] for r in rows]) if rows else np.zeros(1)
            pr = tp / np.arange(1, len(tp) + 1)
            pr = np.maximum.accumulate(pr[::-1])[::-1]
            aps.append(float(np.sum(np.diff(np.concatenate([[0], tp / max(1, n)])) * pr)))
        print(f"{scene:6} AP50 person {aps[0]:.3f} car {aps[1]:.3f} mean {np.mean(aps):.3f}", flush=True)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=["data", "train", "calibrate", "score"])
    p.add_argument("--passd", default="target/release/passd")
    p.add_argument("--dir", default="/tmp/street")
    p.add_argument("--out", default="models/street-nano.onnx")
    p.add_argument("--scenes", nargs="+", default=SCENES)  # that are trained on: tests/fixtures/street-day.onnx knows "day" alone
    p.add_argument("--seeds", type=int, default=140)  # many streets: what stands about in one must not be learnt as its objects
    p.add_argument("--steps", type=int, default=5500)
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    {"data": data, "train": train, "calibrate": calibrate, "score": score}[a.what](a)
