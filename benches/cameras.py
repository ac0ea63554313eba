#!/usr/bin/env python3
"""Runs passd with many simulated cameras at 10 frames a second, and says what they cost.

    python3 benches/cameras.py target/release/passd 8 'scene=day' layers

Processor time is told by kind of thread, as the drawing of the street (sim) is no part of a real camera. Cores a
camera: of the detectors (detect) and the skip stages (stage).
"""
import json, os, re, subprocess, sys, tempfile, time, urllib.request

WARM_UP, MEASURE, PORT = 12, 20, 8098


def get(path):
    return urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}").read()


def cpu(pid):
    """Seconds of processor time, by the first part of the threads' names."""
    seconds = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        stat = open(f"/proc/{pid}/task/{thread}/stat").read()
        kind = stat[stat.index("(") + 1:stat.rindex(")")].split("-")[0]
        user, system = stat[stat.rindex(")") + 2:].split()[11:13]
        seconds[kind] = seconds.get(kind, 0) + (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return seconds


def main(passd, n, scene, mode):
    cameras = "".join(f'[cameras.c{i}]\nsource = "sim://street?fps=10&seed={1001 + i}&{scene}"\n' for i in range(int(n)))
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(f'{cameras}[skip]\nmode = "{mode}"\n[http]\nlisten = "127.0.0.1:{PORT}"\n')
        config.flush()
        daemon = subprocess.Popen([passd, "run", "--config", config.name], stderr=subprocess.DEVNULL)
        try:
            time.sleep(WARM_UP)
            before, cpu_before, start = json.loads(get("/api/stats")), cpu(daemon.pid), time.time()
            time.sleep(MEASURE)
            after, cpu_after, seconds = json.loads(get("/api/stats")), cpu(daemon.pid), time.time() - start
            metrics = get("/metrics").decode()
        finally:
            daemon.terminate()
            daemon.wait()
    done, lost = (after[k] - before[k] for k in ("frames_processed", "frames_dropped"))
    cores = {kind: (s - cpu_before.get(kind, 0)) / seconds for kind, s in cpu_after.items()}
    within = {}
    for limit, count in re.findall(r'passd_latency_seconds_bucket\{le="([^"]+)",camera="[^"]+"\} (\d+)', metrics):
        within[limit] = within.get(limit, 0) + int(count)
    print(f"{n} x {scene}, {mode}: {done / seconds:.1f} frames/s, {100 * lost / (done + lost):.1f} % lost, {after['degraded']} degraded,")
    print("  cores:", ", ".join(f"{kind} {c:.2f}" for kind, c in sorted(cores.items()) if c > 0.01))
    print(f"  cores a camera: {(cores.get('detect', 0) + cores.get('stage', 0)) / int(n):.4f}, {after['resident_mib']:.0f} MiB")
    print("  results within:", ", ".join(f"{limit} s {100 * within[limit] / within['+Inf']:.1f} %" for limit in ("0.05", "0.1", "0.2", "0.5")))


main(*sys.argv[1:])
