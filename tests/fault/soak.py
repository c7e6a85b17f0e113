#!/usr/bin/env python3
"""Random faults under a steady load for as long as asked: every answer is compared, memory and descriptors have to stay flat.
tests/fault/README.md says how to run and read it."""
import argparse
import json
import random
import signal
import sys
import threading
import time

import lan

PAUSE_S = 0.15  # between two questions of a client: a steady load, not all that the machine can do
SAMPLE_S, TELL_S = 2.0, 60.0
SETTLE_S = 60
LASTING = 0  # this node lives from beginning to end, as the first coordinator does: their memory tells


class Client(threading.Thread):
    """Asks one question after the other, without a memory that grows."""

    def __init__(self, address, expected, turn):
        super().__init__(daemon=True)
        self.address, self.expected, self.turn = address, expected, turn
        self.stopping = False
        self.answers, self.tokens, self.last, self.gap = 0, 0, None, 0.0
        self.failed, self.wrong, self.excused = [], [], False

    def run(self):
        from load import PROMPTS, ask
        while not self.stopping:
            prompt = PROMPTS[self.turn % len(PROMPTS)]
            self.turn += 1
            self.last = None
            try:
                text = ask(self.address, prompt, self.token)
                self.answers += 1
                if text != self.expected[prompt]:
                    self.wrong.append((prompt, text))
            except RuntimeError as problem:
                if not self.excused:
                    self.failed.append(str(problem))
                time.sleep(0.1)
            time.sleep(PAUSE_S)

    def token(self):
        now = time.monotonic()
        if self.last is not None:
            self.gap = max(self.gap, now - self.last)
        self.last = now
        self.tokens += 1


class Samples:
    """One process's memory and descriptors; thinned out, so that a day fits."""

    MAX = 4000

    def __init__(self, name, process):
        self.name, self.process, self.every, self.turn = name, process, 1, 0
        self.taken = []  # (time, KiB, descriptors)

    def take(self):
        self.turn += 1
        if self.turn % self.every:
            return
        self.taken.append((time.monotonic(), self.process.memory_kib(), self.process.files()))
        if len(self.taken) > self.MAX:
            self.taken = self.taken[::2]
            self.every *= 2

    def judge(self):
        """Straight lines through the second half."""
        half = self.taken[len(self.taken) // 2:]
        if len(half) < 3:
            return {"process": self.name, "samples": len(self.taken), "flat": None}
        memory = slope([(t, kib) for t, kib, _ in half]) * (half[-1][0] - half[0][0])
        files = slope([(t, count) for t, _, count in half]) * (half[-1][0] - half[0][0])
        mean = sum(kib for _, kib, _ in half) / len(half)
        return {"process": self.name, "samples": len(self.taken), "memory_kib": [self.taken[0][1], round(mean), max(kib for _, kib, _ in self.taken)],
                "drift_kib": round(memory), "files": [self.taken[0][2], max(count for _, _, count in self.taken)], "drift_files": round(files, 1),
                "flat": memory <= 0.02 * mean + 1024 and files <= 4}


def slope(points):
    mean_t, mean_y = sum(t for t, _ in points) / len(points), sum(y for _, y in points) / len(points)
    below = sum((t - mean_t) ** 2 for t, _ in points)
    return sum((t - mean_t) * (y - mean_y) for t, y in points) / below if below else 0.0


def faults(draw):
    """(name, fault(soak)): what may happen, made anew for each time. Two of everything hold: one node fails at a time."""
    import rows_nodes
    import rows_peers
    any_node, mortal = draw.randrange(4), draw.choice([n for n in range(4) if n != LASTING])
    seconds, share = draw.uniform(0.5, 3), draw.choice([0.001, 0.01, 0.05])
    way = draw.choice([("loss=1", None), ("", "loss=1"), ("loss=1", "")])
    ms = draw.choice([1, 10, 100])
    by_link = rows_nodes.bad_link
    return [
        (f"SIGKILL n{mortal + 1}", rows_nodes.kill_and_return(mortal, seconds)),
        (f"SIGTERM n{mortal + 1}", terminate(mortal)),
        (f"SIGSTOP n{any_node + 1}", rows_nodes.stop(any_node, 2 * seconds)),
        (f"stuck n{any_node + 1}", rows_nodes.stuck(any_node, seconds)),
        (f"black hole n{any_node + 1}", by_link(any_node, seconds, *way)),
        (f"delay {ms} ms n{any_node + 1}", by_link(any_node, 2 * seconds, f"delay_us={ms * 500} jitter_us={ms * 100}")),
        (f"loss {share} n{any_node + 1}", by_link(any_node, 2 * seconds, f"loss={share} reorder={share} dup={share}")),
        (f"damage n{any_node + 1}", by_link(any_node, 2 * seconds, "corrupt=0.01")),
        (f"1 Mb/s n{any_node + 1}", by_link(any_node, 2 * seconds, "rate_kbit=1000")),
        (f"reset storm n{any_node + 1}", rows_nodes.flicker(any_node, 3)),
        ("garbage", rows_peers.garbage),
        ("garbage from an allowed peer", rows_peers.allowed_garbage),
        ("strangers", rows_peers.strangers),
        ("misfits", rows_peers.misfits),
        ("memory short", rows_peers.memory_short),
        ("SIGKILL the second coordinator", kill_second),
    ]


def terminate(node):
    def fault(swarm, _):
        swarm.nodes[node].signal(signal.SIGTERM)
        swarm.nodes[node].popen.wait(20)
        swarm.nodes[node] = swarm.start_node(node)
    return fault


def kill_second(swarm, soak):
    mine = [client for client in soak.clients if client.address == swarm.heads[1].address]
    for client in mine:
        client.excused = True
    swarm.coordinators[1].kill()
    swarm.coordinators[1] = swarm.start_coordinator(1)
    time.sleep(1)
    for client in mine:
        client.excused = False


class Soak:
    """It has what faults want of a case: check and extra."""

    def __init__(self, swarm, expected, seed):
        self.swarm, self.draw = swarm, random.Random(seed)
        self.problems, self.extra, self.happened = [], {}, {}
        self.clients = [Client(head.address, expected, turn) for turn, head in enumerate(2 * swarm.heads)]
        self.samples = [Samples("the first coordinator", swarm.coordinators[0]), Samples(f"node n{LASTING + 1}", swarm.nodes[LASTING])]

    def check(self, holds, problem):
        if not holds:
            self.problems.append(problem)

    def _sample(self, until):
        """Samples while the faults happen, in a thread of its own."""
        while time.monotonic() < until and not self.stopping:
            for samples in self.samples:
                samples.take()
            time.sleep(SAMPLE_S)

    def _settled(self):
        return all(self.swarm.metric("essaim_node_up", f"n{n + 1}", head) == 1 for n in range(4) for head in range(2))

    def run(self, seconds):
        from swarm import wait_until
        began = time.monotonic()
        until, told = began + seconds, began
        self.stopping = False
        for client in self.clients:
            client.start()
        sampling = threading.Thread(target=self._sample, args=(until,), daemon=True)
        sampling.start()
        while time.monotonic() < until and not self.problems:
            name, fault = self.draw.choice(faults(self.draw))
            self._one(name, fault)
            self.check(wait_until(self._settled, SETTLE_S), f"after {name}: not all nodes are back within {SETTLE_S} s")
            time.sleep(self.draw.uniform(0.5, 2))
            if time.monotonic() >= told + TELL_S:
                told = time.monotonic()
                print(f"{told - began:7.0f} s: {self._so_far()}", flush=True)
        self.stopping = True
        for client in self.clients:
            client.stopping = True
        for client in self.clients:
            client.join(120)
        sampling.join()
        return self._report(time.monotonic() - began)

    def _one(self, name, fault):
        for client in self.clients:
            client.gap = 0.0
        fault(self.swarm, self)
        kind = name.split(" n")[0]
        seen = self.happened.setdefault(kind, {"times": 0, "stall_ms": 0.0})
        seen["times"] += 1
        seen["stall_ms"] = max(seen["stall_ms"], round(1000 * max(client.gap for client in self.clients if not client.excused), 1))
        for client in self.clients:
            self.check(not client.wrong, f"during {name}: a wrong answer: {client.wrong[:1]}")
            self.check(not client.failed, f"during {name}: a request was lost: {client.failed[:1]}")
        self.check(all(node.popen.poll() is None for node in self.swarm.nodes), f"during {name}: a node ended")

    def _so_far(self):
        lasting = ", ".join(f"{samples.name} {samples.taken[-1][1]} KiB, {samples.taken[-1][2]} files" for samples in self.samples if samples.taken)
        return f"{sum(one['times'] for one in self.happened.values())} faults, {sum(client.answers for client in self.clients)} answers; {lasting}"

    def _report(self, seconds):
        flat = [samples.judge() for samples in self.samples]
        for one in flat:
            self.check(one["flat"] is not False or seconds < 300, f"{one['process']}: not flat: {one}")
        return {"seconds": round(seconds), "faults": self.happened, "answers": sum(client.answers for client in self.clients),
                "tokens": sum(client.tokens for client in self.clients), "lost": sum(len(client.failed) for client in self.clients),
                "wrong": sum(len(client.wrong) for client in self.clients), "processes": flat, "problems": self.problems}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800, help="how long; 86400 is a day")
    parser.add_argument("--seed", type=int, help="the same faults as a run that printed this seed")
    parser.add_argument("--json", help="write the figures to this file")
    args = parser.parse_args()
    problem = lan.missing_rights()
    if problem:
        print(f"the soak is skipped: {problem}")
        return 77
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    lan.enter()
    from case import COPIES
    from run_faults import expected_answers
    from swarm import Swarm, folder
    expected = expected_answers()
    with folder() as path:
        swarm = Swarm(path, COPIES, bad=range(len(COPIES)), heads=2)
        try:
            report = Soak(swarm, expected, seed).run(args.seconds)
        finally:
            swarm.close()
    report["seed"] = seed
    print(json.dumps(report, indent=1))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
