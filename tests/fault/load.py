"""Requests without end to a coordinator, and what became of them: answers compared, gaps between tokens, throughput."""
import http.client
import json
import statistics
import threading
import time

PROMPTS = ["Add 15 and 27.", "Add 8 and 64.", "How many r's are in strawberry?", "Add 31 and 12.", "Add 77 and 5.", "Add 40 and 41."]
TOKENS = 40
BIN = 0.25


def ask(address, prompt, on_token=None):
    """The answer's text; raises RuntimeError with what the server said instead."""
    connection = http.client.HTTPConnection(address, 8080, timeout=90)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps({
            "model": "tiny-r1", "messages": [{"role": "user", "content": prompt}], "max_tokens": TOKENS, "temperature": 0, "stream": True,
        }), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"HTTP {response.status}: {response.read().decode(errors='replace')[:300]}")
        text, ended = "", False
        for line in response:
            if not line.startswith(b"data: "):
                continue
            if line.strip() == b"data: [DONE]":
                ended = True
                continue
            event = json.loads(line[6:])
            if "error" in event:
                raise RuntimeError(event["error"]["message"])
            for choice in event["choices"]:
                delta = choice["delta"]
                piece = (delta.get("reasoning_content") or "") + (delta.get("content") or "")
                text += piece
                if piece and on_token:
                    on_token()
        if not ended:
            raise RuntimeError("the stream was cut")
        return text
    except (OSError, http.client.HTTPException) as problem:
        raise RuntimeError(f"{type(problem).__name__}: {problem}") from problem
    finally:
        connection.close()


class Load:
    """Clients that ask one question after the other; every: seconds from one question's start to the next's, as far as answers allow."""

    def __init__(self, address, expected, clients=4, every=0.0):
        self.address, self.expected, self.every = address, expected, every
        self.stopping = False
        self.tokens = [[] for _ in range(clients)]  # when each came; None: a request began
        self.done, self.failed, self.wrong = [], [], []
        self.threads = [threading.Thread(target=self._client, args=(n,), daemon=True) for n in range(clients)]
        for thread in self.threads:
            thread.start()

    def _client(self, number):
        mine = self.tokens[number]
        turn = number
        due = time.monotonic() + self.every * number / len(self.tokens)
        while not self.stopping:
            prompt = PROMPTS[turn % len(PROMPTS)]
            turn += 1
            due = max(due + self.every, time.monotonic() - self.every)
            time.sleep(max(due - time.monotonic(), 0))
            mine.append(None)
            try:
                text = ask(self.address, prompt, lambda: mine.append(time.monotonic()))
            except RuntimeError as problem:
                self.failed.append((time.monotonic(), str(problem)))
                time.sleep(0.05)
                continue
            self.done.append(time.monotonic())
            if text != self.expected[prompt]:
                self.wrong.append((prompt, text))

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join(120)

    def _gaps(self, start, end):
        """The longest gap of each client between two tokens of one request that overlaps [start, end]."""
        longest = []
        for mine in self.tokens:
            gaps = [b - a for a, b in zip(mine, mine[1:]) if a is not None and b is not None and b >= start and a <= end]
            longest.append(max(gaps, default=0.0))
        return longest

    def rate(self, start, end):
        return sum(1 for mine in self.tokens for t in mine if t is not None and start <= t < end) / (end - start)

    def figures(self, began, fault, over, end):
        """What the fault between fault and over did to requests that ran from began to end."""
        stalls = sorted(1000 * gap for gap in self._gaps(fault, over + 1))
        usual = statistics.median(self.rate(t, t + BIN) for t in frange(began, fault - BIN, BIN))
        back = None
        for t in frange(fault, end - 4 * BIN, BIN):
            if self.rate(t, t + 4 * BIN) >= 0.95 * usual:
                back = t - fault
                break
        return {
            "tokens_per_s_before": round(usual, 1),
            "tokens_per_s_during": round(self.rate(fault, max(over, fault + BIN)), 1),
            "tokens_per_s_after": round(self.rate(over, end), 1) if end - over >= BIN else None,
            "stall_ms": {"median": round(statistics.median(stalls), 1), "p99": round(stalls[min(len(stalls) - 1, int(0.99 * len(stalls)))], 1),
                         "max": round(stalls[-1], 1)},
            "back_to_95_percent_s": None if back is None else round(back, 2),
            "requests": len(self.done), "lost": len(self.failed), "wrong": len(self.wrong),
            "first_error": self.failed[0][1] if self.failed else None,
        }


def frange(start, end, step):
    while start < end:
        yield start
        start += step
