"""Twice as many requests as the server can answer, for so long: memory stays bounded, those for whom there is no room are told when to
come again, and afterwards it is as before within ten seconds: check_overload.py [SECONDS]"""
import http.client
import json
import random
import sys
import threading
import time

from serving import HOST, REAL, Server, expect, wait_until

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
RUNNING, QUEUE, NEW_TOKENS = 8, 16, 24


def body(chance):
    return json.dumps({"model": "tiny-r1", "prompt": [chance.randint(5, 500) for _ in range(chance.randint(10, 60))], "temperature": 0,
                       "max_tokens": NEW_TOKENS, "ignore_eos": True, "stream": chance.random() < 0.5})


class Load:
    """Requests at a rate, whether or not those before were answered."""

    def __init__(self, server):
        self.server, self.chance, self.lock = server, random.Random(5), threading.Lock()
        self.answered, self.refused, self.open, self.problems = 0, 0, 0, []

    def ask(self, text):
        try:
            connection = http.client.HTTPConnection(HOST, self.server.port, timeout=120)
            connection.request("POST", "/v1/completions", text, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            after = answer.getheader("retry-after")
            connection.close()
            problem = None
            if answer.status == 200:
                whole = content.endswith(b"data: [DONE]\n\n") or b'"finish_reason":"length"' in content
                problem = None if whole else f"an answer without its end: {content[-200:]}"
            elif answer.status != 429 or after is None or not 1 <= int(after) <= 60 or b"error" not in content:
                problem = f"{answer.status}, retry-after {after}: {content[:200]}"
            with self.lock:
                self.answered += answer.status == 200
                self.refused += answer.status == 429
        except OSError as trouble:
            problem = repr(trouble)
        with self.lock:
            self.open -= 1
            if problem:
                self.problems.append(problem)

    def start(self):
        with self.lock:
            self.open += 1
            text = body(self.chance)
        threading.Thread(target=self.ask, args=(text,)).start()

    def run(self, rate, seconds, watch):
        """At twice the rate, or twice what is answered of late when that is more: a machine may have become quicker meanwhile.
        Gives the longest time in which nothing was answered."""
        start = looked = last = answered = time.monotonic()
        due, seen, had, silence = 0.0, 0, 0, 0.0
        while (now := time.monotonic()) - start < seconds:
            if now - looked > 2.0:
                rate, looked, seen = max(rate, (self.answered - seen) / (now - looked)), now, self.answered
            if self.answered > had:
                answered, had = now, self.answered
            silence = max(silence, now - answered)
            due += 2 * rate * (now - last)
            last = now
            while due >= 1.0:
                self.start()
                due -= 1.0
            watch()
            time.sleep(max(0.0, now + 0.05 - time.monotonic()))
        return silence

    def settle(self):
        wait_until(lambda: self.open == 0, 60)


def capacity(server, seconds):
    """Answers a second, and a second of computing, when there are always enough requests and never too many."""
    load, end, computed = Load(server), time.monotonic() + seconds, server.cpu_seconds()
    while time.monotonic() < end:
        if load.open < 2 * RUNNING:
            load.start()
        else:
            time.sleep(0.002)
    rate = load.answered / seconds
    load.settle()
    expect(not load.problems, load.problems[:3])
    return rate, load.answered / (server.cpu_seconds() - computed)


def latency(server):
    start = time.monotonic()
    expect(server.ask("POST", "/v1/completions", body(random.Random(9)))[0] == 200, "a request alone")
    return time.monotonic() - start


def main():
    with Server("--quiet", "--answers", str(RUNNING), "--queue", str(QUEUE), "--kv-memory", "2", program=REAL) as s:
        rate, work = capacity(s, 3 if SECONDS < 30 else 8)
        usual = min(latency(s) for _ in range(5))
        before, descriptors = s.memory_kib(), s.descriptors()
        most = [before]
        load, computed = Load(s), s.cpu_seconds()
        silence = load.run(rate, SECONDS, lambda: most.append(s.memory_kib()))
        start = time.monotonic()
        load.settle()
        work_then = load.answered / (s.cpu_seconds() - computed)
        wait_until(lambda: s.metrics()["essaim_requests_queued"] == 0 and latency(s) < 3 * usual + 0.2, 10)
        recovery = time.monotonic() - start
        seen = s.metrics()
        print(f"{rate:.1f} answers/s; {SECONDS:.0f} s at twice that: {load.answered} answered, {load.refused} refused, memory {before} KiB "
              f"before, {max(most)} at most, {s.memory_kib()} after; {work:.1f} answers a CPU second, then {work_then:.1f}; none for at most "
              f"{silence:.1f} s; as before after {recovery:.1f} s")
        expect(not load.problems, len(load.problems), load.problems[:3])
        expect(load.refused > 0.2 * (load.answered + load.refused), "refused", load.refused)
        # What it does for its computing, not for the time: whoever asks, and other tests, compute on the same machine.
        expect(work_then > 0.5 * work, "answers a CPU second", work, work_then)
        expect(silence < 5, "nothing answered for", silence)
        expect(seen["essaim_requests_refused_total"] == load.refused, "counted", seen["essaim_requests_refused_total"], load.refused)
        expect(max(most) < before + 48 * 1024, "memory", before, max(most))
        expect(recovery < 10, "recovery", recovery)
        wait_until(lambda: s.descriptors() <= descriptors)
        s.stop()


main()
