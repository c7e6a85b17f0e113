"""Rows 11, 18, 19 and 22: whoever else comes to a node's sockets, and nodes that do not fit."""
import json
import os
import re
import shutil
import socket
import subprocess
import time

import lan
from case import Case, one_after_another
from swarm import MODEL, Process, program, wait_until

GARBAGE_NODE, STRANGER = 0, 200


def peer(host, swarm, node, port, keys, command, number=None):
    """What tests/fault/peer.c says when it comes to a node from host; keys: a file, or None."""
    words = [program("tests/peer"), f"{swarm.hosts[node].address}:{port}", swarm.keys[node + 1], keys or "-", command]
    if number is not None:
        words.append(str(number))
    done = subprocess.run(host.command(*words), capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() if done.returncode == 0 else f"failed: {done.stderr.strip()}"


def statistics(swarm, node):
    return json.loads(peer(swarm.host, swarm, node, 5700, swarm.key_file("coordinator"), "stats"))


def garbage(swarm, case):
    """What no peer sends, before any handshake, at both ports of every node. The coordinator listens to no node."""
    noise = os.urandom(1 << 16)
    for turn in range(40):
        for host in swarm.hosts:
            for port in (5700, 5701):
                with socket.create_connection((host.address, port), 2) as link:
                    link.settimeout(0.2)
                    start = bytes.fromhex("ff00000000000000017f0301") + b"CURVE" if turn % 2 else b""
                    try:
                        link.sendall(start + noise[turn * 100:turn * 100 + 4096])
                    except OSError:
                        pass
    case.check(all(node.popen.poll() is None for node in swarm.nodes), "a node ended")


def allowed_garbage(swarm, case):
    """The same from a peer whose key is allowed: malformed, huge, endless, and with an old epoch."""
    key, node = swarm.key_file("coordinator"), GARBAGE_NODE
    before, memory = statistics(swarm, node), swarm.nodes[node].memory_kib()
    said = {}
    for port in (5700, 5701):
        said[f"malformed, port {port}"] = peer(swarm.host, swarm, node, port, key, "throw", 300)
        said[f"one frame of 64 MiB, port {port}"] = peer(swarm.host, swarm, node, port, key, "huge", 64)
    said["LOAD in epoch 7; LOAD in epoch 6; DROP in epoch 6"] = peer(swarm.host, swarm, node, 5700, key, "stale", 7)
    after = statistics(swarm, node)
    said["malformed, counted"] = after["malformed"] - before["malformed"]
    said["answered with an error, counted"] = after["errors"] - before["errors"]
    case.extra.setdefault("told", {}).update(said)
    case.extra["node_memory_kib_before_after"] = [memory, swarm.nodes[node].memory_kib()]
    for name, text in said.items():
        case.check("frame of" not in name or text == "cut", f"{name}: {text}")
    case.check(said["malformed, counted"] >= 400, f"malformed messages: {said['malformed, counted']} counted of 600 thrown")
    case.check(re.fullmatch(r"ok; epoch 0\.6: .*follows epoch 0\.7; epoch 0\.6: .*follows epoch 0\.7",
                            said["LOAD in epoch 7; LOAD in epoch 6; DROP in epoch 6"]) is not None, "an old epoch is not refused as it should be")
    case.check(all(one.popen.poll() is None for one in swarm.nodes), "a node ended")


def endless(swarm, case):
    """A message of 1 GiB that never ends, at a node that is plain, on a host of its own."""
    host = lan.Host(STRANGER + 1)
    node = Process(host, [program("essaim-expert-node"), "--model", MODEL, "--listen", "127.0.0.1:5700", "--data-port", "5701", "--threads", "1"],
                   os.path.join(swarm.folder, "plain.log"))
    try:
        before, most = node.memory_kib(), 0
        for port in (5700, 5701):
            done = subprocess.run(host.command(program("tests/peer"), f"127.0.0.1:{port}", "-", "-", "endless", "1024"), capture_output=True, text=True,
                                  timeout=60, check=False)
            case.extra.setdefault("told", {})[f"a message of 1 GiB that never ends, port {port}"] = done.stdout.strip()
            case.check(done.stdout.startswith("cut after"), f"an endless message: {done.stdout} {done.stderr}")
            most = max(most, *(int(word) for word in done.stdout.split() if word.isdigit()))
        # Between two looks at its connections a node takes in what the network carries, and loopback carries gigabytes.
        highest = node.memory_kib("VmHWM")
        case.extra["plain_node_memory_kib_before_highest"] = [before, highest]
        case.check(highest < before + (most + 100) * 1024, "what an endless message took is not used again")
    finally:
        node.kill()
        host.close()


def strangers(swarm, case):
    """From a namespace of its own: without a key, with another, and with one that is revoked."""
    host, node = lan.Host(STRANGER), 1
    said = {}
    try:
        before = statistics(swarm, node)
        guest = swarm.make_key("guest")
        swarm.allow(swarm.keys[0], guest)
        case.check(wait_until(lambda: peer(host, swarm, node, 5700, swarm.key_file("guest"), "knock") == "up", 5), "a key that was allowed does not get in")
        said["an allowed key"] = "up"
        swarm.allow(swarm.keys[0])
        swarm.make_key("other")
        for name, keys in (("no key", None), ("another key", "other"), ("a revoked key", "guest")):
            answers = [peer(host, swarm, node, port, keys and swarm.key_file(keys), "knock") for port in (5700, 5701)]
            said[name] = " and ".join(answers)
            case.check(answers == ["refused", "refused"], f"{name}: {answers}")
        said["counted"] = statistics(swarm, node)["refused"] - before["refused"]
        case.check(said["counted"] >= 6, f"{said['counted']} refused were counted, not 6")
    finally:
        host.close()
    case.extra.setdefault("told", {}).update(said)


def stand_in(swarm, case):
    """Somebody without the node's key at the node's address gets no work."""
    node = 3
    swarm.nodes[node].kill()
    swarm.make_key("impostor")
    false = swarm.start_node(node, keys="impostor")
    time.sleep(1.5)
    case.check(swarm.metric("essaim_node_up", f"n{node + 1}") == 0, "who has another key is taken for the node")
    false.kill()
    swarm.nodes[node] = swarm.start_node(node)
    case.check(wait_until(lambda: swarm.node_is_back(node), 10), "the true node is not back")
    case.extra.setdefault("told", {})["another key at a node's address"] = "no work"


def retrained(path):
    """The model with other weights: a copy, one byte of each file changed."""
    other = os.path.join(path, "retrained")
    if os.path.exists(other):
        return other
    shutil.copytree(MODEL, other)
    for name in os.listdir(other):
        if not name.endswith(".safetensors"):
            continue
        with open(os.path.join(other, name), "r+b") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            file.seek(start)
            byte = file.read(1)[0]
            file.seek(start)
            file.write(bytes([byte ^ 1]))
    return other


def quantised(path):
    other = os.path.join(path, "quantised")
    if os.path.exists(other):
        return other
    subprocess.run([program("essaim"), "shard", "--model", MODEL, "--out", other, "--nodes", "1", "--format", "q4_k", "--quiet"], check=True,
                   capture_output=True)
    return other


def misfits(swarm, case):
    """A node that comes back with another model is refused with both fingerprints, and gets no work."""
    node = 2
    said = {}
    for name, make in (("other weights", retrained), ("another quantisation", quantised)):
        model = make(swarm.folder)
        seen = len(swarm.log())
        swarm.nodes[node].kill()
        swarm.nodes[node] = swarm.start_node(node, model=model)
        told = re.compile(r"holds another model: its fingerprint is ([0-9a-f]{64}), the coordinator's is ([0-9a-f]{64})")
        case.check(wait_until(lambda: told.search(swarm.log()[seen:]), 10), f"{name}: not refused")
        match = told.search(swarm.log()[seen:])
        if match:
            said[name] = f"refused: {match.group(1)[:8]}…, not {match.group(2)[:8]}…"
            case.check(match.group(1) != match.group(2), f"{name}: the same fingerprint twice")
        case.check(swarm.metric("essaim_node_up", f"n{node + 1}") == 0, f"{name}: it gets work")
    swarm.restart_node(node)
    case.check(wait_until(lambda: swarm.node_is_back(node), 10), "the node with the right model is not back")
    case.extra.setdefault("told", {}).update(said)


def memory_short(swarm, case):
    """A node that may not take what it is to hold says how much it lacks, and never is ready."""
    node = 2
    swarm.nodes[node].kill()
    for _ in range(2):
        try:
            swarm.start_node(node, more=["--memory", "1M"]).kill()
            case.check(False, "a node is ready that has no room for its experts")
        except RuntimeError as problem:
            text = str(problem)
    case.check(re.search(r"\d.*(MB|bytes|memory)", text) is not None, f"it does not say what it lacks: {text}")
    case.extra.setdefault("told", {})["memory for 1 MB"] = text.split(": failed ")[-1].strip()
    swarm.nodes[node] = swarm.start_node(node)
    case.check(wait_until(lambda: swarm.node_is_back(node), 10), "the node is not back with memory enough")


def cases():
    everything = one_after_another(garbage, allowed_garbage, endless, strangers, misfits, memory_short)
    yield "quick", Case("11, 18, 19, 22", "garbage, misfits, strangers, one after another", everything)
    yield "full", Case(11, "garbage at every port", garbage)
    yield "full", Case(11, "garbage from an allowed peer; a message without end", one_after_another(allowed_garbage, endless))
    yield "full", Case(18, "other weights, another quantisation", misfits)
    yield "full", Case(19, "memory short", memory_short)
    yield "full", Case(22, "no key, another key, a revoked key", strangers)
    yield "full", Case(22, "another key at a node's address", stand_in)
