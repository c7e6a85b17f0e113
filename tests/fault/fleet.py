"""A swarm that follows a registry, a folder of the coordinator's or etcd: nodes are told what to hold."""
import functools
import json
import os
import subprocess
import urllib.request

from etcd import Etcd
from swarm import MODEL, Process, Swarm, folder, program, wait_until

START_S = 40


def can(name, option):
    """Whether a program of this build has an option."""
    return option in subprocess.run([program(name), "--help"], capture_output=True, text=True, check=True).stdout


@functools.cache
def fingerprint():
    """The model's, in hexadecimal, as a placement states it."""
    with folder() as path:
        machines = os.path.join(path, "machines.json")
        with open(machines, "w", encoding="utf-8") as file:
            json.dump({"machines": [{"name": "n1", "memory_gb": 4, "cores": 1, "read_gb_per_s": 10}]}, file)
        done = subprocess.run([program("essaim"), "placement", "plan", "--model", MODEL, "--machines", machines, "--json"], capture_output=True, text=True,
                              check=True)
    return json.loads(done.stdout[done.stdout.index("{"):])["fingerprint"]


class Fleet(Swarm):
    """count nodes. members: of etcd; 0: the registry is a folder. Nodes are put in by hand, unless they announce themselves."""

    def __init__(self, folder, count, members=0, heads=1, options=("--copies", "2")):
        os.mkdir(os.path.join(folder, "registry"))
        self.etcd = Etcd(os.path.join(folder, "registry"), members) if members else None
        self.by_themselves = members > 0 and can("essaim-expert-node", "--etcd")
        self.announced = set()
        self.registry = self.etcd.options() if self.etcd else ["--registry", os.path.join(folder, "registry")]
        super().__init__(folder, ["none"] * count, options=["--placement", "auto", *options], heads=heads)
        for head in range(heads):
            if not wait_until(lambda at=head: self.all_up(at), START_S):
                raise RuntimeError(f"the fleet does not come together: {self.cluster(head)}")

    def put_in(self, n):
        if self.by_themselves or n in self.announced:
            return
        if self.etcd:
            self.announced.add(n)
            self.etcd.announce(f"n{n + 1}", {"name": f"n{n + 1}", "control": f"tcp://{self.hosts[n].address}:5700", "key": self.keys[n + 1], "labels": {},
                                             "memory": 1 << 30, "bandwidth": 0, "fingerprint": fingerprint(), "state": "joining", "holder": f"{n + 1:016x}"})
        if self.etcd:
            return
        done = self.tool("node", "add", f"n{n + 1}", f"{self.hosts[n].address}:5700,{self.keys[n + 1]}", *self.registry, "--create")
        if done.returncode:
            raise RuntimeError(f"node add: {done.stderr}")

    def start_node(self, n, keys=None, model=None, more=()):
        return super().start_node(n, keys, model, [*(self.registry if self.by_themselves else []), *more])

    def start_coordinator(self, head=0):
        host = self.heads[head]
        for n in range(len(self.nodes)):
            self.put_in(n)
        return Process(host, [program("essaim-coordinator"), "--model", self.model, "--model-name", "tiny-r1", *self.registry, "--keys", self.key_file("coordinator"), "--threads", "1",
                              "--listen", f"{host.address}:8080", "--allow-anonymous", "--quiet", *self.options], self.log_file(head))

    def cluster(self, head=0):
        """What a coordinator says of its members and their placement."""
        try:
            with urllib.request.urlopen(f"http://{self.heads[head].address}:8080/cluster", timeout=10) as page:
                return json.load(page).get("membership", {})
        except (OSError, ValueError):
            return {}

    def in_force(self, head=0):
        """The valid placement's epoch, once all members hold what it gives them, and no more; None until then."""
        said = self.cluster(head)
        settled = said and said["epoch"] == said["wanted_epoch"] and all(node["missing"] == node["surplus"] == 0 for node in said["nodes"])
        return said["epoch"] if settled else None

    def all_up(self, head=0, count=None):
        """So many nodes work, and the placement is in force."""
        count = len(self.nodes) if count is None else count
        return self.in_force(head) is not None and sum(self.metric("essaim_node_up", f"n{n + 1}", head) == 1 for n in range(count)) == count

    def cut_off(self, head):
        """From etcd; nodes and clients are still reached."""
        self._routes(head, "add")

    def connect_again(self, head):
        self._routes(head, "del")

    def _routes(self, head, word):
        for host in self.etcd.hosts:
            subprocess.run(self.heads[head].command("ip", "route", word, "blackhole", f"{host.address}/32"), check=True)

    def tool(self, *words, timeout=60):
        """The command line, on the first coordinator's host."""
        return subprocess.run(self.host.command(program("essaim"), *words), capture_output=True, text=True, timeout=timeout, check=False)

    def close(self):
        super().close()
        if self.etcd:
            self.etcd.close()
