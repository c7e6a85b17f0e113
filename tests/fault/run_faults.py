#!/usr/bin/env python3
"""Faults while requests flow, each with its figures: tests/fault/README.md says how to run and read it."""
import argparse
import json
import os
import signal
import socket
import sys
import time

import lan

COPIES = ["1/2", "2/2", "1/2", "2/2"]  # two of everything
SINGLE = ["1/3", "2/3", "3/3"]
BEFORE, AFTER = 3.0, 4.0


class Case:
    """One run: a swarm, requests without end, a fault, figures."""

    def __init__(self, row, name, parts=COPIES, bad=(), options=(), after=AFTER):
        self.row, self.name, self.parts, self.bad, self.options, self.after = row, name, parts, bad, options, after
        self.problems, self.extra = [], {}

    def check(self, holds, problem):
        if not holds:
            self.problems.append(problem)

    def run(self, expected, fault, allowed_errors=None):
        """fault(swarm, case) does its worst and returns when it is over."""
        from load import Load
        from swarm import Swarm, folder
        with folder() as path:
            swarm = Swarm(path, self.parts, self.bad, self.options)
            try:
                files = swarm.coordinator.files()
                load = Load(swarm.host.address, expected)
                began = time.monotonic() + 0.5
                time.sleep(BEFORE)
                at = time.monotonic()
                fault(swarm, self)
                over = time.monotonic()
                time.sleep(self.after)
                end = time.monotonic()
                load.stop()
                result = {"row": self.row, "fault": self.name, "fault_s": round(over - at, 2), **load.figures(began, at, over, end), **self.extra,
                          "nodes": [line.split(": ", 2)[-1] for line in swarm.states()]}
                self.check(result["wrong"] == 0, f"{result['wrong']} wrong answers: {load.wrong[:1]}")
                if allowed_errors is None:
                    self.check(result["lost"] == 0, f"{result['lost']} requests lost: {result['first_error']}")
                else:
                    bad = [text for _, text in load.failed if not allowed_errors(text)]
                    self.check(not bad, f"an unclear error: {bad[:1]}")
                self.check(result["requests"] > 0 and result["tokens_per_s_after"] > 0, "nothing was answered after it")
                self.check(swarm.coordinator.popen.poll() is None, "the coordinator ended")
                self.check(swarm.coordinator.files() <= files + 40, f"descriptors: {files} before, {swarm.coordinator.files()} after")
                result["problems"] = self.problems
                return result
            finally:
                swarm.close()


def kill(node):
    return lambda swarm, case: swarm.nodes[node].kill()


def kill_and_return(node, seconds):
    def fault(swarm, case):
        swarm.nodes[node].kill()
        time.sleep(seconds)
        swarm.nodes[node] = swarm.start_node(node)
    return fault


def stop(node, seconds):
    def fault(swarm, case):
        swarm.nodes[node].signal(signal.SIGSTOP)
        time.sleep(seconds)
        swarm.nodes[node].signal(signal.SIGCONT)
    return fault


def stuck(node, seconds):
    def fault(swarm, case):
        from swarm import StuckThread
        thread = StuckThread(swarm.nodes[node].popen.pid)
        time.sleep(seconds)
        thread.release()
    return fault


def bad_link(node, seconds, to_lan, from_lan=None):
    def fault(swarm, case):
        swarm.hosts[node].link(to_lan, from_lan)
        time.sleep(seconds)
        swarm.hosts[node].link("")
    return fault


def storm(node, times):
    """Connections that break again and again."""
    def fault(swarm, case):
        before = swarm.coordinator.files(), swarm.coordinator.memory_kib()
        for _ in range(times):
            swarm.hosts[node].link("loss=1")
            time.sleep(0.7)
            swarm.hosts[node].link("")
            time.sleep(0.5)
        for _ in range(times // 2):
            swarm.restart_node(node)
            time.sleep(0.3)
        after = swarm.coordinator.files(), swarm.coordinator.memory_kib()
        case.extra["files_before_after"] = [before[0], after[0]]
        case.extra["memory_kib_before_after"] = [before[1], after[1]]
        case.check(after[0] <= before[0] + 40, "descriptors grow")
        case.check(after[1] <= before[1] * 1.3 + 20000, "memory grows")
    return fault


def garbage(swarm, case):
    """What no peer sends, at both ports of every node, and at the coordinator's none: it has none."""
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


def kill_coordinator(swarm, case):
    pids = [node.popen.pid for node in swarm.nodes]
    swarm.coordinator.kill()
    started = time.monotonic()
    swarm.coordinator = swarm.start_coordinator()
    case.extra["ready_again_s"] = round(time.monotonic() - started, 2)
    case.check(case.extra["ready_again_s"] < 5, "the coordinator needs too long to be ready")
    case.check([node.popen.pid for node in swarm.nodes] == pids and all(node.popen.poll() is None for node in swarm.nodes), "a node ended")


def rolling_restart(swarm, case):
    from swarm import wait_until
    for node in range(len(swarm.nodes)):
        swarm.nodes[node].signal(signal.SIGTERM)
        swarm.nodes[node].popen.wait(10)
        swarm.nodes[node] = swarm.start_node(node)
        case.check(wait_until(lambda name=f"n{node + 1} ": any(name in line and "is back" in line for line in swarm.states()), 10), f"n{node + 1} is not back")


def named(text):
    """An error that a client may get when nothing holds an expert any more."""
    return ("expert " in text and "node n" in text) or "HTTP 503" in text


def cut(text):
    return True if text else False


def cases():
    """(case, fault, which errors are allowed), the quick ones first; quick: part of the short form."""
    wait = ["--wait-for-nodes", "2"]
    yield "quick", Case(1, "SIGKILL, two copies"), kill(1), None
    yield "quick", Case(2, "SIGKILL, one copy, back after 2 s", SINGLE), kill_and_return(1, 2), None
    yield "quick", Case(3, "SIGSTOP for 0.5 s, two copies"), stop(0, 0.5), None
    yield "quick", Case(4, "worker stuck for 3 s, two copies"), stuck(2, 3), None
    yield "quick", Case(5, "black hole for 3 s, both ways", bad=[1]), bad_link(1, 3, "loss=1"), None
    yield "quick", Case(8, "0.5 % of frames damaged, checksums right", bad=[1]), bad_link(1, 4, "corrupt=0.005"), None
    yield "full", Case(2, "SIGKILL, one copy, back after 5 s, waited for 2 s", SINGLE, options=wait), kill_and_return(0, 5), named
    yield "full", Case(3, "SIGSTOP for 5 s, two copies"), stop(0, 5), None
    yield "full", Case(3, "SIGSTOP for 30 s, two copies"), stop(0, 30), None
    yield "full", Case(3, "SIGSTOP for 5 s, one copy", SINGLE), stop(0, 5), None
    yield "full", Case(5, "black hole for 3 s, to the node", bad=[1]), bad_link(1, 3, "", "loss=1"), None
    yield "full", Case(5, "black hole for 3 s, from the node", bad=[1]), bad_link(1, 3, "loss=1", ""), None
    for ms in (1, 10, 100):
        yield "full", Case(6, f"delay {ms} ms, jitter a fifth, two copies", bad=[1]), bad_link(1, 4, f"delay_us={ms * 500} jitter_us={ms * 100}"), None
    yield "full", Case(6, "delay 10 ms, one copy", SINGLE, bad=[1]), bad_link(1, 4, "delay_us=5000 jitter_us=1000"), None
    for share in (0.001, 0.01, 0.05):
        words = f"loss={share} reorder={share} dup={share}"
        yield "full", Case(7, f"loss, reorder, duplicate {100 * share:g} %, one copy", SINGLE, bad=[1]), bad_link(1, 5, words), None
    yield "full", Case(8, "2 % of frames damaged, one copy", SINGLE, bad=[1], options=["--wait-for-nodes", "20"]), bad_link(1, 4, "corrupt=0.02"), None
    yield "full", Case(9, "one node at 100 Mb/s, two copies", bad=[1]), bad_link(1, 4, "rate_kbit=100000"), None
    yield "full", Case(9, "one node at 1 Mb/s, two copies", bad=[1]), bad_link(1, 4, "rate_kbit=1000"), None
    yield "full", Case(10, "reset storm", bad=[1]), storm(1, 10), None
    yield "full", Case(11, "garbage at every port"), garbage, None
    yield "full", Case(12, "SIGKILL the coordinator"), kill_coordinator, cut
    yield "full", Case(20, "rolling restart, two copies"), rolling_restart, None


STALL_LIMITS_MS = {"SIGKILL, two copies": 500}


def expected_answers():
    """Each prompt's answer from a swarm that nothing happens to."""
    from load import PROMPTS, ask
    from swarm import Swarm, folder
    with folder() as path:
        swarm = Swarm(path, SINGLE)
        try:
            return {prompt: ask(swarm.host.address, prompt) for prompt in PROMPTS}
        finally:
            swarm.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only the short form")
    parser.add_argument("--rows", default="", help="only these rows of the list, 1,3,5")
    parser.add_argument("--repeat", type=int, default=1, help="each this often")
    parser.add_argument("--json", help="write the figures to this file")
    args = parser.parse_args()
    problem = lan.missing_rights()
    if problem:
        print(f"fault tests are skipped: {problem}")
        return 77
    lan.enter()
    expected = expected_answers()
    rows = {int(row) for row in args.rows.split(",") if row}
    results = []
    for _ in range(args.repeat):
        for kind, case, fault, errors in cases():
            if (args.quick and kind != "quick") or (rows and case.row not in rows):
                continue
            result = case.run(expected, fault, errors)
            limit = STALL_LIMITS_MS.get(case.name)
            if limit and result["stall_ms"]["max"] > limit:
                result["problems"].append(f"stall of {result['stall_ms']['max']} ms, more than {limit}")
            results.append(result)
            stall = result["stall_ms"]
            print(f"{case.row:2} {case.name}: stall {stall['median']}/{stall['p99']}/{stall['max']} ms, lost {result['lost']} of {result['requests']}, "
                  f"{result['tokens_per_s_before']} -> {result['tokens_per_s_during']} -> {result['tokens_per_s_after']} tokens/s, "
                  f"95 % after {result['back_to_95_percent_s']} s" + "".join(f"\n   PROBLEM: {text}" for text in result["problems"]), flush=True)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
    return 1 if any(result["problems"] for result in results) or not results else 0


if __name__ == "__main__":
    sys.exit(main())
