"""Rows 1 to 10, 12 and 20: processes and links that fail, in a swarm by hand."""
import signal
import socket
import statistics
import threading
import time

from case import Case, SINGLE, one_after_another
from swarm import StuckThread, wait_until

MOE_LAYERS = 3  # of tiny-r1


def kill(node):
    return lambda swarm, case: swarm.nodes[node].kill()


def kill_and_return(node, seconds):
    def fault(swarm, case):
        swarm.nodes[node].kill()
        time.sleep(seconds)
        swarm.nodes[node] = swarm.start_node(node)
        back = time.monotonic()
        case.check(wait_until(lambda: swarm.node_is_back(node), 10), f"n{node + 1} is not back")
        case.extra["readmitted_s"] = round(time.monotonic() - back, 2)
    return fault


def stop(node, seconds):
    def fault(swarm, case):
        swarm.nodes[node].signal(signal.SIGSTOP)
        time.sleep(seconds)
        swarm.nodes[node].signal(signal.SIGCONT)
    return fault


def stuck(node, seconds):
    def fault(swarm, case):
        thread = StuckThread(swarm.nodes[node].popen.pid)
        time.sleep(seconds)
        thread.release()
    return fault


def calls(swarm, node):
    return swarm.metric("essaim_node_calls_total", f"n{node + 1}") or 0.0


def bad_link(node, seconds, to_lan, from_lan=None):
    """Tells what share of the calls for its experts the node got meanwhile, when there is a copy of them."""
    def fault(swarm, case):
        same = [n for n, part in enumerate(swarm.parts) if part == swarm.parts[node]]
        before = [calls(swarm, n) for n in same]
        swarm.hosts[node].link(to_lan, from_lan)
        time.sleep(seconds)
        swarm.hosts[node].link("")
        done = [calls(swarm, n) - first for n, first in zip(same, before)]
        if len(same) > 1 and sum(done) > 0:
            case.extra.setdefault("told", {})["its share of the calls for its experts"] = f"{100 * done[same.index(node)] / sum(done):.0f} %"
    return fault


def black_hole(node, seconds, to_lan="loss=1", from_lan=None):
    """Ejected within a second, and taken back."""
    def fault(swarm, case):
        lost = lambda: sum(f"node n{node + 1} " in line and "is lost" in line for line in swarm.states())
        seen, began = lost(), time.monotonic()
        swarm.hosts[node].link(to_lan, from_lan)
        case.check(wait_until(lambda: lost() > seen, seconds), "it is not ejected")
        ejected = time.monotonic() - began
        time.sleep(max(seconds - ejected, 0))
        swarm.hosts[node].link("")
        back = time.monotonic()
        case.check(ejected <= 1, f"ejected after {ejected:.2f} s")
        case.check(wait_until(lambda: swarm.node_is_back(node), 10), f"n{node + 1} is not back")
        case.extra.setdefault("told", {})["ejected and back"] = f"after {ejected:.2f} s, {time.monotonic() - back:.2f} s after the link"
    return fault


def round_trip_s(address, times=15):
    """As it is: a connection is there when its first segment's answer is."""
    taken = []
    for _ in range(times):
        began = time.monotonic()
        with socket.create_connection((address, 5700), 5):
            taken.append(time.monotonic() - began)
        time.sleep(0.05)
    return statistics.median(taken)


def as_predicted(node, seconds, words):
    """One copy of each: every one of a token's three layers with experts waits for the slow link, whose round trip is measured meanwhile:
    timers and a busy machine add to what was asked for."""
    def fault(swarm, case):
        slow = []
        measuring = threading.Thread(target=lambda: slow.append(time.sleep(0.5) or round_trip_s(swarm.hosts[node].address)))
        measuring.start()
        bad_link(node, seconds, words)(swarm, case)
        measuring.join()
        case.extra.setdefault("told", {})["round trip"] = f"{1000 * slow[0]:.1f} ms"
        case.predict = lambda before: len(case.load.threads) / (len(case.load.threads) / before + MOE_LAYERS * slow[0])
    return fault


class Predicted(Case):
    def judge(self, result, load):
        super().judge(result, load)
        predicted = self.predict(result["tokens_per_s_before"])
        share = result["tokens_per_s_during"] / predicted
        result.setdefault("told", {})["throughput"] = f"{share:.2f} of what the cost model predicts ({predicted:.0f} tokens/s)"
        self.check(0.7 <= share <= 1.3, f"throughput is {share:.2f} of what was predicted")


def flicker(node, times):
    def fault(swarm, _):
        for _ in range(times):
            swarm.hosts[node].link("loss=1")
            time.sleep(0.7)
            swarm.hosts[node].link("")
            time.sleep(0.5)
    return fault


def storm(node, times):
    """Connections that break again and again."""
    def fault(swarm, case):
        before = swarm.coordinator.files(), swarm.coordinator.memory_kib()
        flicker(node, times)(swarm, case)
        for _ in range(times // 2):
            swarm.restart_node(node)
            time.sleep(0.3)
        after = swarm.coordinator.files(), swarm.coordinator.memory_kib()
        case.extra["files_before_after"] = [before[0], after[0]]
        case.extra["memory_kib_before_after"] = [before[1], after[1]]
        case.check(after[0] <= before[0] + 40, "descriptors grow")
        case.check(after[1] <= before[1] * 1.3 + 20000, "memory grows")
    return fault


def kill_coordinator(swarm, case):
    pids = [node.popen.pid for node in swarm.nodes]
    at = time.monotonic()
    swarm.coordinator.kill()
    heard = wait_until(lambda: len([t for t, _ in case.load.failed if t >= at]) >= len(case.load.threads), 2)
    told = sorted(t - at for t, _ in case.load.failed if t >= at)
    case.check(heard, "clients do not see that the connection ended")
    case.extra["clients_see_it_after_s"] = round(told[len(case.load.threads) - 1], 3) if heard else None
    started = time.monotonic()
    swarm.coordinator = swarm.start_coordinator()
    case.extra["ready_again_s"] = round(time.monotonic() - started, 2)
    case.check(case.extra["ready_again_s"] < 5, "the coordinator needs too long to be ready")
    case.check([node.popen.pid for node in swarm.nodes] == pids and all(node.popen.poll() is None for node in swarm.nodes), "a node ended")


def rolling_restart(swarm, case):
    for node in range(len(swarm.nodes)):
        swarm.nodes[node].signal(signal.SIGTERM)
        swarm.nodes[node].popen.wait(10)
        swarm.nodes[node] = swarm.start_node(node)
        case.check(wait_until(lambda back=node: swarm.node_is_back(back), 10), f"n{node + 1} is not back")


def named(text):
    """An error that a client may get when nothing holds an expert any more."""
    return ("expert " in text and "node n" in text) or "HTTP 503" in text


def cut(text):
    return bool(text)


def cases():
    wait = ["--wait-for-nodes", "2"]
    yield "quick", Case(1, "SIGKILL, two copies", kill(1), stall_ms=500)
    yield "quick", Case(2, "SIGKILL, one copy, back after 1 s", kill_and_return(1, 1), SINGLE)
    quiet = one_after_another(stop(0, 0.5), stuck(2, 2), black_hole(1, 2), bad_link(1, 3, "corrupt=0.005"))
    yield "quick", Case("3, 4, 5, 8", "SIGSTOP, stuck, black hole, damage, one after another, two copies", quiet, bad=[1], stall_ms=1500)
    yield "full", Case(3, "SIGSTOP for 0.5 s, two copies", stop(0, 0.5))
    yield "full", Case(4, "worker stuck for 3 s, two copies", stuck(2, 3))
    yield "full", Case(5, "black hole for 3 s, both ways", black_hole(1, 3), bad=[1])
    yield "full", Case(8, "0.5 % of frames damaged, checksums right", bad_link(1, 4, "corrupt=0.005"), bad=[1])
    yield "full", Case(2, "SIGKILL, one copy, back after 5 s, waited for 2 s", kill_and_return(0, 5), SINGLE, options=wait, allowed_errors=named)
    yield "full", Case(2, "SIGKILL, one copy, never back, the coordinator has a shard", kill(1), SINGLE, options=["--local-experts"])
    yield "full", Case(3, "SIGSTOP for 5 s, two copies", stop(0, 5))
    yield "full", Case(3, "SIGSTOP for 30 s, two copies", stop(0, 30))
    yield "full", Case(3, "SIGSTOP for 5 s, one copy", stop(0, 5), SINGLE)
    yield "full", Case(5, "black hole for 3 s, to the node", black_hole(1, 3, "", "loss=1"), bad=[1])
    yield "full", Case(5, "black hole for 3 s, from the node", black_hole(1, 3, "loss=1", ""), bad=[1])
    for ms in (1, 10, 100):
        words = f"delay_us={ms * 500} jitter_us={ms * 100}"
        yield "full", Case(6, f"delay {ms} ms, jitter a fifth, two copies", bad_link(1, 4, words), bad=[1])
    slow = as_predicted(1, 4, "delay_us=5000 jitter_us=1000")
    yield "full", Predicted(6, "delay 10 ms, one copy", slow, SINGLE, bad=[1])
    for share in (0.001, 0.01, 0.05):
        words = f"loss={share} reorder={share} dup={share}"
        yield "full", Case(7, f"loss, reorder, duplicate {100 * share:g} %, one copy", bad_link(1, 5, words), SINGLE, bad=[1])
    patient = ["--wait-for-nodes", "20"]
    yield "full", Case(8, "2 % of frames damaged, one copy", bad_link(1, 4, "corrupt=0.02"), SINGLE, bad=[1], options=patient)
    yield "full", Case(9, "one node at 100 Mb/s, two copies", bad_link(1, 4, "rate_kbit=100000"), bad=[1])
    yield "full", Case(9, "one node at 1 Mb/s, two copies", bad_link(1, 4, "rate_kbit=1000"), bad=[1])
    yield "full", Case(10, "reset storm", storm(1, 10), bad=[1])
    yield "full", Case(12, "SIGKILL the coordinator", kill_coordinator, allowed_errors=cut)
    yield "full", Case(20, "rolling restart by hand, two copies", rolling_restart)
