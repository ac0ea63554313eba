"""Prints the licences of the crates that are linked into the program, for the packages."""

import json
import pathlib
import subprocess
import sys

FEATURES = ["--no-default-features", "--features", "daemon"]


def linked():
    """The crates that end up in the program: normal dependencies, from the root on."""
    text = subprocess.check_output(
        ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform=x86_64-unknown-linux-gnu", *FEATURES]
    )
    meta = json.loads(text)
    packages = {p["id"]: p for p in meta["packages"]}
    nodes = {n["id"]: n for n in meta["resolve"]["nodes"]}
    seen, todo = set(), [meta["resolve"]["root"]]
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += [d["pkg"] for d in nodes[node]["deps"] if any(k["kind"] is None for k in d["dep_kinds"])]
    # Our own have no source.
    return sorted((packages[i] for i in seen if packages[i]["source"]), key=lambda p: (p["name"], p["version"]))


def main():
    print("The program contains these crates, under the licences that they name:\n")
    texts = {}
    for package in linked():
        licence = package["license"] or sys.exit(f"{package['name']}: no licence is named")
        print(f"  {package['name']} {package['version']}: {licence}")
        folder = pathlib.Path(package["manifest_path"]).parent
        for file in sorted(folder.iterdir()):
            if file.is_file() and file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE")):
                text = file.read_text(errors="replace").strip()
                _, names = texts.setdefault(" ".join(text.split()), (text, []))
                names.append(package["name"])
    for text, names in texts.values():
        print(f"\n{'-' * 80}\n{', '.join(dict.fromkeys(names))}:\n\n{text}")


main()
