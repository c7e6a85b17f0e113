"""Row 19: the disk of a machine that joins is full while it fetches its experts."""
import os
import subprocess
import time

import lan
from fleet import Fleet
from rows_fleet import FleetCase, tell
from swarm import MODEL, program, wait_until

GUEST, JOIN_S = 93, 60
SMALL, LARGE = "17m", "64m"  # a fetcher leaves 16 MiB of a disk to others


class ShardFleet(Fleet):
    """Its coordinator has shards, gives them slowly, and takes joins."""

    def __init__(self, folder, *words):
        self.model = os.path.join(folder, "shards")
        subprocess.run([program("essaim"), "shard", "--model", MODEL, "--out", self.model, "--nodes", "1", "--quiet"], check=True, capture_output=True)
        super().__init__(folder, *words)


class Machine:
    """`essaim join` on a host and a disk of its own: a tmpfs that nobody else sees."""

    def __init__(self, fleet, disk):
        self.host, self.home, self.file = lan.Host(GUEST), os.path.join(fleet.folder, "disk"), os.path.join(fleet.folder, "guest.log")
        os.mkdir(self.home)
        at = f"{fleet.host.address}:5710"
        token = fleet.tool("token", *fleet.registry, "--keys", fleet.key_file("coordinator"), "--at", at).stdout.split()[0]
        with open(self.file, "wb") as log:
            self.popen = subprocess.Popen(self.host.command(
                "unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o "size=$1" disk "$2"; shift; home=$1; shift; exec "$@" --dir "$home/node"', "sh", disk,
                self.home, program("essaim"), "join", token, "--name", "guest", "--listen", f"{self.host.address}:5700", "--memory", "1G", "--threads", "1"),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def within(self, *words):
        """A command that sees its disk."""
        return subprocess.run(["nsenter", "--target", str(self.popen.pid), "--mount", *words], capture_output=True, text=True, check=False)

    def resize(self, size):
        self.within("mount", "-o", f"remount,size={size}", self.home)

    def fill(self):
        self.within("dd", "if=/dev/zero", f"of={self.home}/ballast", "bs=64k")

    def empty(self):
        self.within("rm", f"{self.home}/ballast")

    def fetched(self):
        """Experts on its disk."""
        return [name for name in self.within("ls", f"{self.home}/node/shards").stdout.split() if name.startswith("layers.") and name.endswith(".shard")]

    def log(self):
        with open(self.file, encoding="utf-8") as file:
            return file.read()

    def close(self):
        self.popen.kill()
        self.popen.wait()
        self.host.close()


def why(fleet):
    return next((node["why"] for node in fleet.cluster().get("nodes", []) if node["name"] == "guest"), "")


def settled(fleet):
    said = fleet.cluster()
    return fleet.in_force() is not None and any(node["name"] == "guest" and node["experts"] > 0 for node in said["nodes"])


def disk_full(fleet, case):
    """Too small from the beginning; then large enough, and filled by somebody while it fetches; then emptied."""
    machine = Machine(fleet, SMALL)
    try:
        small = wait_until(lambda: "disk: " in why(fleet) and "are lacking" in why(fleet), JOIN_S)
        case.check(small, f"a disk that is too small is not told by the coordinator: {why(fleet)} {machine.log()[-500:]}")
        tell(case, {"too small": why(fleet)})
        case.check("fetching waits" in machine.log() and machine.home in machine.log(), f"nor by the node itself: {machine.log()[-500:]}")
        case.check(fleet.metric("essaim_node_experts", "guest") in (None, 0.0), "it holds something")
        machine.resize(LARGE)
        case.check(wait_until(lambda: machine.fetched() and not why(fleet), 20), f"it does not go on when there is room: {why(fleet)} {machine.log()[-500:]}")
        machine.fill()
        had = len(machine.fetched())
        full = wait_until(lambda: "No space left on device" in why(fleet) or "are lacking" in why(fleet), 20)
        case.check(full, f"a disk that became full is not told: {why(fleet)} {machine.log()[-500:]}")
        tell(case, {"filled while it fetches": why(fleet)})
        time.sleep(2)
        case.check(len(machine.fetched()) <= had + 1, "experts come to a full disk")
        machine.empty()
        began = time.monotonic()
        case.check(wait_until(lambda: settled(fleet), JOIN_S), f"it does not go on: {why(fleet)} {machine.log()[-500:]}")
        tell(case, {"emptied": f"it holds its {len(machine.fetched())} experts after {time.monotonic() - began:.1f} s, {had} were there before"})
        case.check("fetching goes on" in machine.log(), "it does not say that it goes on")
    finally:
        machine.close()


class DiskCase(FleetCase):
    def swarm(self, path):
        return ShardFleet(path, self.count, self.members, self.heads, self.options)


def cases():
    yield "full", DiskCase(19, "a joining machine's disk is full, then filled while it fetches", disk_full, count=3,
                           options=("--copies", "2", "--replace-after", "600", "--join-listen", f"{lan.NETWORK}.1:5710", "--give-rate", "1"))
