"""Installs the packages that scripts/package.sh built, as a user would, and looks at what they do.

    python3 packaging/test.py target/debian/passd_*_amd64.deb [target/debian/passd_*_arm64.deb]

amd64: in a clean Debian of its own (mmdebstrap), in a mount namespace of its own: install, the
service's own command watching the configured street, upgrade, removal, purge.
arm64: unpacked; the program runs under qemu-user with the libraries of .cache/aarch64/sysroot.
Needs root, or sudo.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent.parent
CONFIG = "etc/passd/passd.toml"


def say(text):
    print(f"packages: {text}", flush=True)


def check(truth, text):
    if not truth:
        raise SystemExit(f"packages: FAILED: {text}")


def out(*command, timeout=300, **more):
    """What a command prints; ends the test with its words if it fails."""
    done = subprocess.run(
        [str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, **more
    )
    check(done.returncode == 0, f"{shlex.join(map(str, command))}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def until(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.1)
    raise SystemExit(f"packages: FAILED: waited {seconds} s for {what}")


class Root:
    """A Debian in a folder, with nothing in it but what the package depends on."""

    def __init__(self, folder, deb):
        self.folder = folder
        depends = [d.split()[0] for d in field(deb, "Depends").split(", ")]
        suite = re.search(r"^VERSION_CODENAME=(\w+)", pathlib.Path("/etc/os-release").read_text(), re.M)[1]
        say(f"a clean Debian {suite} with {len(depends)} packages that are depended on, and systemd")
        include = ",".join([*depends, "systemd"])
        out("mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", f"--include={include}", suite, folder)
        out("mount", "-t", "proc", "proc", folder / "proc")

    def run(self, *command, **more):
        return out("chroot", self.folder, *command, **more)

    def dpkg(self, *arguments):
        return self.run("dpkg", *arguments, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, stdin=subprocess.DEVNULL)

    def install(self, deb, *options):
        shutil.copy(deb, self.folder / "tmp/passd.deb")
        text = self.dpkg(*options, "-i", "/tmp/passd.deb")
        (self.folder / "tmp/passd.deb").unlink()
        return text

    def contents(self):
        """Every path, and the accounts: what a purge must bring back."""
        found = {
            str(path.relative_to(self.folder))
            for top in ("etc", "usr", "var", "opt", "srv", "root", "home")
            for path in (self.folder / top).rglob("*")
        }
        # dpkg's own notes, and copies that adduser makes of the accounts before it changes them.
        noise = re.compile(r"var/(lib/dpkg|log|cache/ldconfig|cache/debconf)(/|$)|etc/(passwd|group|shadow|gshadow|subuid|subgid)-$")
        accounts = {
            f"{name}: {line}"
            for name in ("passwd", "group", "shadow", "gshadow")
            for line in (self.folder / "etc" / name).read_text().splitlines()
        }
        return {path for path in found if not noise.match(path)} | accounts


def field(deb, name):
    return out("dpkg-deb", "-f", deb, name).strip()


def next_version(deb, folder):
    """The package once more: a later version, with another config than the first."""
    tree = folder / "tree"
    out("dpkg-deb", "-R", deb, tree)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*", "Version: 999", control.read_text()))
    with open(tree / CONFIG, "a") as config:
        config.write("\n# A later version says more here.\n")
    made = folder / "later.deb"
    out("dpkg-deb", "-b", tree, made)
    shutil.rmtree(tree)
    return made


def libraries_are_depended_on(root, deb):
    """Whoever owns a library that the program names is depended on."""
    depends = {d.split()[0] for d in field(deb, "Depends").split(", ")}
    dynamic = out("objdump", "-p", root.folder / "usr/bin/passd") + out("objdump", "-p", root.folder / "usr/lib/passd/libonnxruntime.so")
    for name in sorted(set(re.findall(r"NEEDED\s+(\S+)", dynamic))):
        owners = {line.split(":")[0] for line in root.run("dpkg", "-S", f"*/{name}").splitlines()}
        check(owners & depends, f"{name} is of {owners}, none of which is depended on")
    wanted = max(tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([\d.]+)", dynamic))
    promised = tuple(map(int, re.search(r"libc6 \(>= ([\d.]+)\)", field(deb, "Depends"))[1].split(".")))
    check(wanted <= promised, f"the program wants glibc {wanted}, the package says {promised}")


def unit(root):
    text = (root.folder / "lib/systemd/system/passd.service").read_text()
    keys = ("ExecStart", "User", "SupplementaryGroups", "StateDirectory", "CacheDirectory", "Environment")
    return {key: re.findall(rf"(?m)^{key}=(.*)$", text) for key in keys}


def service_runs(command, environment, notify, n_frames, folder):
    """Starts the service's command; waits until it says that it is ready, then until it has seen something.

    `notify`: where its socket to systemd is, for the test and for the service. Gives its counters."""
    here, there = notify
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(here))
    here.chmod(0o777)
    environment = environment | {"NOTIFY_SOCKET": str(there), "PASSD__HTTP__LISTEN": "127.0.0.1:0"}
    log = folder / "log"
    with open(log, "w") as file:
        daemon = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=folder)
    try:
        told.settimeout(1)

        def ready():
            check(daemon.poll() is None, "the service ended before it was ready")
            try:
                return b"READY=1" in told.recv(4096)
            except TimeoutError:
                return False

        until("READY=1", ready, seconds=120)
        address = until("the address in the log", lambda: re.search(r"http://127\.0\.0\.1:\d+", log.read_text()))[0]

        def get(path):
            return urllib.request.urlopen(address + path, timeout=30).read()

        def watched():
            check(daemon.poll() is None, "the service ended")
            cameras = json.loads(get("/api/cameras"))
            done = all(c["frames_processed"] >= n_frames for c in cameras) and any(c["detections"] for c in cameras)
            return cameras if done else None

        cameras = until("frames with detections", watched, seconds=300)
        check(b"passd" in get("/"), "the page is not there")
        check(get(f"/api/cameras/{cameras[0]['id']}/latest.jpg")[:2] == b"\xff\xd8", "the last picture is no JPEG")
        daemon.send_signal(signal.SIGTERM)
        check(daemon.wait(30) == 0, f"SIGTERM: exit status {daemon.returncode}")
    except BaseException:
        print(log.read_text(), file=sys.stderr)
        raise
    finally:
        daemon.kill()
        told.close()
        here.unlink()
        log.unlink()
    for c in cameras:
        share = 100 * c["patches_computed"] / max(c["patches"], 1)
        say(f"the service watched {c['id']}: {c['frames_processed']} frames, {c['detections']} detections, {share:.0f} % of the patches computed")


def amd64(deb, folder):
    root = Root(folder / "root", deb)
    before = root.contents()

    said = root.install(deb)
    check("warning" not in said.lower(), f"installing warns:\n{said}")
    say(f"installed {field(deb, 'Version')}")
    check("passd" in root.run("passd", "--version"), "passd --version")
    check(root.run("stat", "-c", "%U:%G %a", f"/{CONFIG}") == "root:passd 640\n", "owner and mode of the config")
    for state in ("lib", "cache"):
        check(root.run("stat", "-c", "%U:%G %a", f"/var/{state}/passd") == "passd:passd 750\n", f"owner of /var/{state}/passd")
    check((root.folder / "etc/systemd/system/multi-user.target.wants/passd.service").is_symlink(), "the unit is not enabled")
    root.run("systemd-analyze", "verify", "--man=no", "/lib/systemd/system/passd.service")
    listed = set(root.run("dpkg", "-L", "passd").split())
    for page in ("passd.1.gz", "passd-run.1.gz", "passd-doctor.1.gz"):
        check(f"/usr/share/man/man1/{page}" in listed, f"no man page {page}")
    for shell in ("bash-completion/completions/passd", "zsh/vendor-completions/_passd", "fish/vendor_completions.d/passd.fish"):
        check((root.folder / "usr/share" / shell).stat().st_size > 1000, f"no completions: {shell}")
    check("doctor" in root.run("bash", "-c", "source /usr/share/bash-completion/completions/passd && COMP_WORDS=(passd do) COMP_CWORD=1 && _passd passd do passd && echo ${COMPREPLY[@]}"), "bash does not complete 'passd do'")
    libraries_are_depended_on(root, deb)
    root.run("passd", "check")

    u = unit(root)
    user, groups = u["User"][0], u["SupplementaryGroups"][0].split()
    for group in groups:
        root.run("getent", "group", group)
    service_runs(
        ["chroot", f"--userspec={user}:{user}", f"--groups={','.join(groups)}", str(root.folder), *shlex.split(u["ExecStart"][0])],
        {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "STATE_DIRECTORY": f"/var/lib/{u['StateDirectory'][0]}",
            "CACHE_DIRECTORY": f"/var/cache/{u['CacheDirectory'][0]}",
        }
        | dict(e.split("=", 1) for e in u["Environment"]),
        (root.folder / "run/notify", "/run/notify"),
        20,
        folder,
    )
    root.run("sh", "-c", "ls /var/lib/passd/events/street/*.jpg")

    config = root.folder / CONFIG
    config.write_text(config.read_text() + "\n# My own line.\n")
    mine = config.read_text()
    root.install(next_version(deb, folder), "--force-confold")
    check("999" in root.run("dpkg-query", "-W", "passd"), "the later version is not installed")
    check(config.read_text() == mine, "the upgrade changed the config")
    check(root.run("stat", "-c", "%U:%G %a", f"/{CONFIG}") == "root:passd 640\n", "the upgrade changed the config's owner")
    say("an upgrade keeps the config")

    root.dpkg("-r", "passd")
    check(config.read_text() == mine and not (root.folder / "usr/bin/passd").exists(), "removal takes the program and leaves the config")
    root.dpkg("-P", "passd")
    after = root.contents()
    check(after == before, f"purged, but left {sorted(after - before)}; gone: {sorted(before - after)}")
    say("purging leaves nothing")


def arm64(deb, folder):
    sysroot = HERE / ".cache/aarch64/sysroot"
    tree = folder / "arm64"
    out("dpkg-deb", "-x", deb, tree)
    check("AArch64" in out("readelf", "-h", tree / "usr/bin/passd"), "the program is not for aarch64")
    emulated = ["qemu-aarch64", "-L", str(sysroot), str(tree / "usr/bin/passd")]
    # GStreamer's helper that looks at plugins would not be emulated.
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GST_REGISTRY": str(folder / "registry"), "GST_REGISTRY_FORK": "no"}
    config = tree / CONFIG
    # The street, and a camera by way of GStreamer, of whose pictures the street's model knows nothing.
    config.write_text(f"""{config.read_text()}
[cameras.pattern]
source = "gst:videotestsrc is-live=true pattern=ball ! video/x-raw,framerate=2/1"
detect = false
""")
    service_runs([*emulated, "run", "--config", str(config)], environment, (folder / "notify", folder / "notify"), 3, folder)


def main():
    debs = {field(deb, "Architecture"): pathlib.Path(deb).resolve() for deb in sys.argv[1:]}
    check(debs, "which packages? packaging/test.py FILE.deb …")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="passd-packages-"))
    try:
        for arch, test in (("amd64", amd64), ("arm64", arm64)):
            if arch in debs:
                test(debs[arch], folder)
    finally:
        # What is mounted in the root is not the test's to delete.
        subprocess.run(["umount", folder / "root/proc"], stderr=subprocess.DEVNULL)
        subprocess.run(["rm", "-rf", "--one-file-system", folder])


if os.environ.get("PASSD_PACKAGES_ISOLATED") != "1":
    isolated = [*([] if os.geteuid() == 0 else ["sudo"]), "unshare", "--mount", "--propagation", "private"]
    if subprocess.call([*isolated, "true"]) != 0:
        # A container without the right to mount, for instance. The program for arm64 needs none.
        say("SKIPPED: amd64; a mount namespace of its own is needed, and cannot be had here")
        sys.argv = [a for a in sys.argv if not a.endswith("_amd64.deb")]
        sys.exit(main() if len(sys.argv) > 1 else 0)
    sys.exit(subprocess.call([*isolated, "env", "PASSD_PACKAGES_ISOLATED=1", sys.executable, *sys.argv]))
main()
