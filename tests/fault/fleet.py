"""A swarm that follows a registry, a folder of the coordinator's or etcd: nodes are told what to hold."""
import json
import os
import subprocess
import urllib.request

from etcd import Etcd
from swarm import MODEL, Process, Swarm, program, wait_until

START_S = 40


class Fleet(Swarm):
    """count nodes. members: of etcd, where nodes announce themselves; 0: the registry is a folder, and nodes are put in by hand."""

    def __init__(self, folder, count, members=0, heads=1, options=("--copies", "2")):
        os.mkdir(os.path.join(folder, "registry"))
        self.etcd = Etcd(os.path.join(folder, "registry"), members) if members else None
        self.registry = self.etcd.options() if self.etcd else ["--registry", os.path.join(folder, "registry")]
        super().__init__(folder, ["none"] * count, options=["--placement", "auto", *options], heads=heads)
        for n in range(count):
            self.put_in(n)
        for head in range(heads):
            if not wait_until(lambda at=head: self.all_up(at), START_S):
                raise RuntimeError(f"the fleet does not come together: {self.cluster(head)}")

    def put_in(self, n):
        if self.etcd:
            return
        done = self.tool("node", "add", f"n{n + 1}", f"{self.hosts[n].address}:5700,{self.keys[n + 1]}", *self.registry)
        if done.returncode:
            raise RuntimeError(f"node add: {done.stderr}")

    def start_node(self, n, keys=None, model=MODEL, more=()):
        return super().start_node(n, keys, model, [*(self.registry if self.etcd else []), *more])

    def start_coordinator(self, head=0):
        host = self.heads[head]
        return Process(host, [program("essaim-coordinator"), "--model", MODEL, *self.registry, "--keys", self.key_file("coordinator"), "--threads", "1",
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
