"""One fault against one swarm under load, and what must hold whatever the fault."""
import time

from load import Load
from swarm import Swarm, folder

COPIES = ["1/2", "2/2", "1/2", "2/2"]  # two of everything
SINGLE = ["1/3", "2/3", "3/3"]


class Case:
    """fault(swarm, case) does its worst and returns when it is over. allowed_errors(text): which errors a client may get; None: none.
    stall_ms: the longest that is allowed."""

    before, after = 3.0, 4.0

    def __init__(self, row, name, fault, parts=COPIES, bad=(), options=(), allowed_errors=None, stall_ms=None):
        self.row, self.name, self.fault, self.parts, self.bad, self.options = row, name, fault, parts, bad, options
        self.allowed_errors, self.stall_ms = allowed_errors, stall_ms
        self.problems, self.extra = [], {}

    def check(self, holds, problem):
        if not holds:
            self.problems.append(problem)

    def swarm(self, path):
        return Swarm(path, self.parts, self.bad, self.options)

    def start_load(self, swarm, expected):
        return Load(swarm.host.address, expected)

    def run(self, expected):
        self.problems, self.extra = [], {}
        with folder() as path:
            swarm = self.swarm(path)
            try:
                return self._under_load(swarm, expected)
            finally:
                swarm.close()

    def _under_load(self, swarm, expected):
        files, memory = swarm.coordinator.files(), swarm.coordinator.memory_kib()
        load = self.load = self.start_load(swarm, expected)
        began = time.monotonic() + 0.5
        time.sleep(self.before)
        at = time.monotonic()
        self.fault(swarm, self)
        over = time.monotonic()
        time.sleep(self.after)
        end = time.monotonic()
        load.stop()
        result = {"row": self.row, "fault": self.name, "fault_s": round(over - at, 2), **load.figures(began, at, over, end), **self.extra,
                  "nodes": [line.split(": ", 2)[-1] for line in swarm.states()]}
        self.judge(result, load)
        self.check(swarm.coordinator.popen.poll() is None, "the coordinator ended")
        self.check(swarm.coordinator.files() <= files + 40, f"descriptors: {files} before, {swarm.coordinator.files()} after")
        result["coordinator_memory_kib_before_after"] = [memory, swarm.coordinator.memory_kib()]
        self.check(swarm.coordinator.memory_kib() <= 1.3 * memory + 20000, f"memory: {result['coordinator_memory_kib_before_after']} KiB before and after")
        result["problems"] = self.problems
        return result

    def judge(self, result, load):
        self.check(result["wrong"] == 0, f"{result['wrong']} wrong answers: {load.wrong[:1]}")
        if self.allowed_errors is None:
            self.check(result["lost"] == 0, f"{result['lost']} requests lost: {result['first_error']}")
        else:
            bad = [text for _, text in load.failed if not self.allowed_errors(text)]
            self.check(not bad, f"an unclear error: {bad[:1]}")
        self.check(result["requests"] > 0 and result["tokens_per_s_after"] > 0, "nothing was answered after it")
        stall = result["stall_ms"]["max"]
        self.check(self.stall_ms is None or stall <= self.stall_ms, f"stall of {stall} ms, more than {self.stall_ms}")


def one_after_another(*faults):
    def fault(swarm, case):
        for each in faults:
            each(swarm, case)
    return fault


def row_of(result):
    """A result as docs/faults.md has it."""
    stall = result.get("stall_ms")
    columns = [str(result["row"]), result["fault"]]
    if stall:
        back = result["back_to_95_percent_s"]
        columns += [f"{stall['median']:.0f} / {stall['p99']:.0f} / {stall['max']:.0f}", f"{result['lost']} of {result['requests'] + result['lost']}",
                    "–" if back is None else f"{back} s"]
    else:
        columns += ["–", "–", "–"]
    besides = [f"{name}: {value}" for name, value in result.get("told", {}).items()] + [f"PROBLEM: {problem}" for problem in result["problems"]]
    return "| " + " | ".join([*columns, "; ".join(besides).replace("|", "/")]) + " |"


def line_of(result):
    """A result for people."""
    stall = result.get("stall_ms")
    text = f"{result['row']:>2} {result['fault']}"
    if stall:
        text += (f": stall {stall['median']}/{stall['p99']}/{stall['max']} ms, lost {result['lost']} of {result['requests']}, "
                 f"{result['tokens_per_s_before']} -> {result['tokens_per_s_during']} -> {result['tokens_per_s_after']} tokens/s, "
                 f"95 % after {result['back_to_95_percent_s']} s")
    text += f" ({result['took_s']} s in all)"
    for name, value in result.get("told", {}).items():
        text += f"\n     {name}: {value}"
    return text + "".join(f"\n   PROBLEM: {problem}" for problem in result["problems"])
