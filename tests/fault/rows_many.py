"""Several coordinators on one fleet: fair shares, right answers, and one of them killed. No row of the list: a bar of its own."""
import re
import time

from load import Load
from swarm import Swarm, folder

HEADS, WITHIN, PARTS = 3, 0.10, ["1/2", "2/2"]


def node_seconds(swarm, head):
    """What all nodes computed for a coordinator so far."""
    return sum(float(value) for value in re.findall(r"^essaim_node_compute_seconds_total\{[^}]*\} (\S+)$", swarm.metrics(head), re.MULTILINE))


def shares(values):
    return [round(value * len(values) / sum(values), 3) for value in values]


class Shared:
    """Each of three coordinators has as many clients; then the last one is killed. The nodes compute with the plainest kernels: they, not the
    coordinators, are what there is too little of, so that it is they who share out."""

    row, name = 0, "three coordinators, equal clients, one killed"

    def __init__(self, seconds):
        self.seconds = seconds
        self.problems = []

    def check(self, holds, problem):
        if not holds:
            self.problems.append(problem)

    def run(self, expected):
        self.problems = []
        with folder() as path:
            swarm = Swarm(path, PARTS, heads=HEADS, node_options=["--isa", "ref"])
            try:
                return self._measure(swarm, [Load(head.address, expected, clients=4) for head in swarm.heads])
            finally:
                swarm.close()

    def _measure(self, swarm, loads):
        time.sleep(1)
        began, before = time.monotonic(), [node_seconds(swarm, n) for n in range(HEADS)]
        time.sleep(self.seconds)
        fault, after = time.monotonic(), [node_seconds(swarm, n) for n in range(HEADS)]
        swarm.coordinators[-1].kill()
        loads[-1].stopping = True
        time.sleep(self.seconds / 2)
        end = time.monotonic()
        for load in loads:
            load.stop()
        tokens = shares([load.rate(began, fault) for load in loads])
        computed = shares([b - a for a, b in zip(before, after)])
        figures = [load.figures(began, fault, fault + 1, end) for load in loads[:-1]]
        for load in loads:
            self.check(not load.wrong, f"wrong answers: {load.wrong[:1]}")
        for figure in figures:
            self.check(figure["lost"] == 0, f"the death of one coordinator costs another {figure['lost']} requests: {figure['first_error']}")
        self.check(all(abs(share - 1) <= WITHIN for share in computed), f"shares of the nodes' time: {computed}")
        self.check(all(node.popen.poll() is None for node in swarm.nodes), "a node ended")
        told = {"shares of the nodes' time, of a third each": computed, "shares of tokens, of a third each": tokens,
                "answers compared": [len(load.done) for load in loads],
                "the others, when one is killed": [f"stall {figure['stall_ms']['max']} ms, lost {figure['lost']}, {figure['tokens_per_s_before']} -> "
                                                   f"{figure['tokens_per_s_after']} tokens/s" for figure in figures]}
        return {"row": self.row, "fault": self.name, "told": told, "figures": figures, "problems": self.problems}


def cases():
    yield "quick", Shared(4)
