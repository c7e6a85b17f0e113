"""Rows 2, 13 to 17 and 20 in a swarm that follows a registry: etcd goes and comes back, coordinators are cut off, nodes leave in order."""
import re
import signal
import time

import etcd
import lan
from case import Case
from fleet import Fleet, can
from load import Load
from rows_peers import peer
from swarm import MODEL, wait_until

NODE_KEYS = "essaim/live/nodes/"


class FleetCase(Case):
    """count nodes, members of etcd (0: a folder is the registry), coordinators."""

    def __init__(self, row, name, fault, count=4, members=0, heads=1, options=("--copies", "2"), **more):
        super().__init__(row, name, fault, **more)
        self.count, self.members, self.heads, self.options = count, members, heads, options

    def swarm(self, path):
        return Fleet(path, self.count, self.members, self.heads, self.options)


def tell(case, what):
    case.extra.setdefault("told", {}).update(what)


def join(fleet, put_in=True):
    """Starts a node more, on a new host."""
    n = len(fleet.nodes)
    fleet.hosts.append(lan.Host(10 + n))
    fleet.parts.append("none")
    fleet.keys.append(fleet.make_key(f"n{n + 1}"))
    fleet.nodes.append(fleet.start_node(n))
    if put_in:
        fleet.put_in(n)
    return n


def leases(fleet):
    return fleet.etcd.keys(NODE_KEYS)


def etcd_gone(seconds):
    """Decoding goes on, membership is frozen: a node that comes meanwhile is taken in afterwards."""
    def fault(fleet, case):
        fleet.etcd.kill()
        case.check(wait_until(lambda: fleet.cluster().get("frozen"), 15), "the coordinator does not say that membership is frozen")
        n = join(fleet, put_in=False)
        time.sleep(seconds)
        case.check(fleet.metric("essaim_node_up", f"n{n + 1}") is None, "a node was taken in without a registry")
        case.check(fleet.all_up(count=n), "a node was lost with etcd")
        fleet.etcd.restart()
        fleet.etcd.wait()
        fleet.put_in(n)
        back = time.monotonic()
        case.check(wait_until(lambda: fleet.all_up(count=n + 1), 30), "the node that came meanwhile is not taken in")
        tell(case, {"after etcd's return": f"the new node works after {time.monotonic() - back:.1f} s"})
    return fault


def quorum_lost(seconds):
    def fault(fleet, case):
        for member in (0, 1):
            fleet.etcd.kill(member)
        time.sleep(seconds)
        case.check(not fleet.etcd.answers(2), "there is a quorum still")
        case.check(fleet.all_up(), "a node was lost with the quorum")
        for member in (0, 1):
            fleet.etcd.restart(member)
        fleet.etcd.wait()
        case.check(wait_until(lambda: not fleet.cluster().get("frozen", True), 20), "membership stays frozen")
    return fault


def etcd_restarts(fleet, case):
    before = leases(fleet)
    fleet.etcd.kill()
    fleet.etcd.restart()
    fleet.etcd.wait()
    time.sleep(3)
    case.check(leases(fleet) == before, "leases were granted anew though none was lost")
    follows(fleet, case)


def leader_changes(fleet, case):
    before, leader = leases(fleet), fleet.etcd.leader()
    fleet.etcd.kill(leader)
    fleet.etcd.wait()
    case.check(fleet.etcd.leader() != leader, "the leader that was killed leads")
    time.sleep(3)
    fleet.etcd.restart(leader)
    fleet.etcd.wait()
    case.check(leases(fleet) == before, "leases were granted anew though none was lost")
    follows(fleet, case)


def follows(fleet, case):
    """The watch is alive: a node that comes is taken in."""
    began, n = time.monotonic(), join(fleet)
    case.check(wait_until(lambda: fleet.all_up(count=n + 1), 30), "a node that comes afterwards is not taken in")
    tell(case, {"a node that comes afterwards": f"works after {time.monotonic() - began:.1f} s"})


def compacted(fleet, case):
    """History goes while the coordinator cannot see it, and a node comes: the coordinator reads everything anew."""
    fleet.cut_off(0)
    time.sleep(1)
    n = join(fleet)
    time.sleep(4)
    fleet.etcd.compact()
    fleet.connect_again(0)
    began = time.monotonic()
    case.check(wait_until(lambda: fleet.all_up(count=n + 1), 40), "what happened in the gap is not seen")
    tell(case, {"what happened in the gap": f"is in force {time.monotonic() - began:.1f} s after the link's return"})


def lease_lost(fleet, case):
    name = f"{NODE_KEYS}n1"
    before = leases(fleet)[name]
    fleet.etcd.call("lease/revoke", {"ID": before})
    began = time.monotonic()
    case.check(wait_until(lambda: leases(fleet).get(name, before) != before, 30), "the node does not register again")
    tell(case, {"the node": f"is registered again after {time.monotonic() - began:.1f} s"})
    case.check(wait_until(fleet.all_up, 20), "the node is not back")


def partitioned(fleet, case):
    """The second coordinator is cut off from etcd while the placement changes."""
    old = fleet.in_force(1)
    fleet.cut_off(1)
    case.second = Load(fleet.heads[1].address, case.load.expected, clients=2)
    n = join(fleet)
    case.check(wait_until(lambda: fleet.all_up(0, n + 1), 40), "the first coordinator does not take the node in")
    time.sleep(2)
    said = peer(fleet.heads[1], fleet, 0, 5700, fleet.key_file("coordinator"), "stale", 1)
    case.check(re.search(r"epoch 0\.1: this node follows epoch \d+\.\d+", said) is not None, f"an old epoch on the control path: {said}")
    case.check(fleet.cluster(1).get("wanted_epoch") == old, "who is cut off knows of the new placement")
    fleet.connect_again(1)
    began = time.monotonic()
    case.check(wait_until(lambda: fleet.all_up(1, n + 1), 40), "who was cut off does not follow again")
    tell(case, {"epochs": f"{old} and {fleet.in_force(0)}", "an old epoch": said.split("; ")[0],
                      "who was cut off": f"follows again after {time.monotonic() - began:.1f} s"})
    case.second.stop()
    case.check(not case.second.wrong and not case.second.failed and case.second.done,
               f"through the coordinator that was cut off: {len(case.second.done)} answers, {case.second.failed[:1]}, {case.second.wrong[:1]}")
    tell(case, {"its answers": f"{len(case.second.done)} right, {len(case.second.failed)} lost"})


def survivors_load(fleet, case):
    """One copy of each, a node dies for good: the others are told to hold its experts."""
    fleet.nodes[1].kill()
    began = time.monotonic()
    epoch = fleet.cluster()["epoch"]
    case.check(wait_until(lambda: fleet.cluster()["epoch"] != epoch, 30), f"the others do not take over: {fleet.cluster()}")
    tell(case, {"survivors hold all": f"after {time.monotonic() - began:.1f} s"})


def drain_all(fleet, case):
    """Each node in turn: drained, ended, started again."""
    for n in range(len(fleet.nodes)):
        done = fleet.tool("drain", f"n{n + 1}", "--url", f"http://{fleet.host.address}:8080")
        case.check(done.returncode == 0, f"drain n{n + 1}: {done.stdout[-200:]} {done.stderr[-200:]}")
        fleet.nodes[n].signal(signal.SIGTERM)
        fleet.nodes[n].popen.wait(20)
        fleet.nodes[n] = fleet.start_node(n)
        case.check(wait_until(fleet.all_up, 40), f"n{n + 1} is not back: {fleet.cluster()}")


def replaced(*modes):
    """The placement becomes another, mode by mode, while it is used."""
    def fault(fleet, case):
        for mode in modes:
            follow_mode(fleet, case, mode)
    return fault


def follow_mode(fleet, case, mode):
    document = f"{fleet.folder}/{mode}.json"
    done = fleet.tool("placement", "plan", *fleet.registry, "--model", MODEL, "--mode", mode, "--copies", "2", "--afresh", "--out", document)
    case.check(done.returncode == 0, f"plan: {done.stderr}")
    done = fleet.tool("placement", "apply", document, *fleet.registry, "--keys", fleet.key_file("coordinator"))
    case.check(done.returncode == 0, f"apply: {done.stderr}")
    case.check(wait_until(lambda: fleet.cluster().get("mode") == mode and fleet.all_up(), 30), f"{mode} does not come into force: {fleet.cluster()}")


class Paced(FleetCase):
    """At 80 % of what the fleet can do; throughput stays at (N-1)/N."""

    def start_load(self, swarm, expected):
        full = Load(swarm.host.address, expected)
        time.sleep(4)
        rate = len(full.done) / 4
        full.stop()
        self.extra["capacity_requests_per_s"] = round(rate, 1)
        return Load(swarm.host.address, expected, every=len(full.threads) / (0.8 * rate))

    def judge(self, result, load):
        super().judge(result, load)
        least = (self.count - 1) / self.count
        share = result["tokens_per_s_during"] / result["tokens_per_s_before"]
        result.setdefault("told", {})["throughput while nodes are restarted"] = f"{share:.2f} of before, at 80 % load; at least {least:.2f}"
        self.check(share >= least, f"throughput {share:.2f} of before, less than {least:.2f}")


def cases():
    if not can("essaim-coordinator", "--registry"):
        print("rows 13 to 17, drains and live placements are skipped: this coordinator follows no registry")
        return
    yield "full", FleetCase(2, "SIGKILL for good, one copy, survivors load", survivors_load, options=("--copies", "1", "--replace-after", "1"))
    yield "full", Paced(20, "rolling restart by drain at 80 % load", drain_all)
    yield "full", FleetCase(20, "three placements, one after another, under load", replaced("stripe", "replicate", "group"))
    if etcd.missing():
        print(f"rows 13 to 17 are skipped: {etcd.missing()}")
        return
    yield "full", FleetCase(14, "etcd gone for 3 s, two coordinators", etcd_gone(3), members=1, heads=2)
    yield "full", FleetCase(13, "two coordinators, one cut off from etcd", partitioned, members=1, heads=2)
    yield "full", FleetCase(14, "etcd gone for 60 s", etcd_gone(60), members=1)
    yield "full", FleetCase(14, "quorum lost for 20 s, three members", quorum_lost(20), members=3)
    yield "full", FleetCase(15, "etcd restarts", etcd_restarts, members=1)
    yield "full", FleetCase(15, "etcd's leader changes", leader_changes, members=3)
    yield "full", FleetCase(16, "etcd compacts in a gap of the watch", compacted, members=1)
    if not can("essaim-expert-node", "--etcd"):
        print("row 17 is skipped: these nodes are announced by others")
        return
    yield "full", FleetCase(17, "lease lost, node healthy", lease_lost, members=1)
