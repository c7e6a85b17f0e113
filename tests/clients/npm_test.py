#!/usr/bin/env python3
"""npm_test.py FOLDER: installs the packages that FOLDER/package-lock.json pins, once, into build/npm, and runs FOLDER/main.mjs.

Node finds packages beside the sources that ask for them: FOLDER/node_modules is a link to build/npm.
"""
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

NODE_OLDEST = 18


def node_version(node):
    return subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def tools():
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        sys.exit("node and npm are needed: ./dev test installs them")
    version = node_version(node)
    if int(version.lstrip("v").split(".")[0]) < NODE_OLDEST:
        sys.exit(f"node {version} is older than {NODE_OLDEST}")
    return node, npm, version


def link(folder, modules):
    path = folder / "node_modules"
    if path.is_symlink() and path.readlink() == modules:
        return
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        sys.exit(f"{path}: is in the way: it is to be a link to {modules}")
    path.symlink_to(modules)


def install(folder, home, npm, version):
    """Afterwards home/node_modules is what the lock file says; the stamp is written last."""
    files = [".npmrc", "package.json", "package-lock.json"]
    wanted = hashlib.sha256(b"".join((folder / name).read_bytes() for name in files) + version.encode()).hexdigest()
    stamp = home / "installed"
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
        stamp.unlink(missing_ok=True)
        for name in files:
            shutil.copy(folder / name, home / name)
        subprocess.run([npm, "ci", "--no-progress", "--ignore-scripts"], cwd=home, check=True)
        stamp.write_text(wanted, encoding="utf-8")
    link(folder, home / "node_modules")


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    home = pathlib.Path(os.environ["ESSAIM_BUILD"]).resolve().parent / "npm" / folder.name
    node, npm, version = tools()
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "lock", "w", encoding="utf-8") as lock:  # another build's test may be at the same
        fcntl.flock(lock, fcntl.LOCK_EX)
        install(folder, home, npm, version)
    os.environ["ESSAIM_NPM"] = str(home)
    os.chdir(folder)
    os.execv(node, [node, "main.mjs", *sys.argv[2:]])


if __name__ == "__main__":
    main()
