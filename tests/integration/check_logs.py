"""What the programs write: JSON lines that follow a request to the nodes, and nothing that is secret."""
import json
import os
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "http"))
from serving import BUILD, HOST, REAL, Server, TINY, expect, run_checks, wait_until  # noqa: E402

NODE = os.path.join(BUILD, "essaim-expert-node")
PROMPT, KEY, ANSWER = "canary-prompt-word", "sk-canary-key-0123456789", "reasoning_content"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
QUESTION = {"model": "deepseek-reasoner", "max_tokens": 6, "messages": [{"role": "user", "content": PROMPT}]}


class Node:
    def __init__(self, *options):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([NODE, "--model", TINY, "--listen", HOST + ":0", "--threads", "1", *options],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.control = re.search(r"control=tcp://(\S+)", self.process.stdout.readline())[1]

    def said(self):
        self.log.seek(0)
        return self.log.read().decode()

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()
        self.log.close()


def events(text):
    """Every line as JSON with the parts that each has."""
    found = [json.loads(line) for line in text.splitlines()]
    for event in found:
        expect(TIME.fullmatch(event["time"]) and event["level"] in ("error", "warning", "info", "debug"), event)
        expect(event["program"].startswith("essaim-") and event["room"] and event["message"], event)
    return found


def check_following():
    """a request's id is in the coordinator's line and in those of the node's calls, and nothing secret is anywhere"""
    with tempfile.TemporaryDirectory() as folder, Node("--name", "n1", "--log", "json", "--log-level", "debug") as node:
        keys = os.path.join(folder, "keys")
        with open(os.open(keys, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
            file.write(f"alice {KEY}\n")
        own = {"x-request-id": "canary:7.a_b-c", "x-api-key": KEY}
        with Server("--log", "json", "--log-level", "debug", "--node", node.control, "--api-keys", keys, program=REAL) as s:
            expect(s.ask("POST", "/v1/chat/completions", QUESTION, own)[0] == 200, "an answer")
            given = s.ask("POST", "/v1/chat/completions", QUESTION, {"authorization": "Bearer " + KEY})[1]["x-request-id"]
            expect(s.ask("POST", "/v1/chat/completions", QUESTION, {"x-api-key": KEY + "x"})[0] == 401, "a wrong key")
            expect(s.ask("GET", "/v1/%22%2C%20%22level%22%3A%E2%80%AE%5C", headers={"x-api-key": KEY})[0] == 404, "no such path")
            expect(s.ask("GET", "/v1/%0a%1b%ff", headers={"x-api-key": KEY})[0] == 400, "no path")
            until = time.monotonic() + 20  # a node without a registry is asked for what it counts all the same
            while 'essaim_member_refused_total{node="n1"} 0' not in (page := s.ask("GET", "/metrics", headers={"x-api-key": KEY})[2].decode()):
                expect(time.monotonic() < until, "statistics of the node:", page[-2000:])
                time.sleep(0.1)
            expect('essaim_member_malformed_total{node="n1"} 0' in page, page[-2000:])
            said = s.stop()
        heard = node.said()
        lines = {e["request"]: e for e in events(said) if e["message"] == "answered" and e["status"] == 200}
        line = lines[own["x-request-id"]]
        expect(line["key"] == "alice" and line["path"] == "/chat/completions" and line["address"] == HOST, line)
        expect(line["prompt_tokens"] > 3 and line["new_tokens"] == 6 and line["finish"] == "length", line)
        expect(0 < line["first_ms"] < line["ms"], line)
        calls = [e for e in events(heard) if e["message"] == "a call was computed"]
        for request in (own["x-request-id"], given):
            expect(any(c.get("request") == request and c["layer"] > 0 and c["call"] > 0 for c in calls), request, calls[-3:])
        odd = [e for e in events(said) if e["message"] == "answered" and e["status"] == 404]
        expect(odd and odd[0]["path"] == '/", "level":\u202e\\', odd)
        for secret in (PROMPT, KEY, ANSWER):
            expect(secret not in said and secret not in heard, "secret in a log:", secret)


def check_text():
    """text lines have the same, one event a line"""
    for program in (REAL, NODE):
        for form in ("text", "json"):
            done = subprocess.run([program, "--model", "/nowhere", "--log", form], capture_output=True, text=True, timeout=60, check=False)
            said = done.stderr if form == "text" else events(done.stderr)[0]["message"]
            expect(done.returncode == 1 and "/nowhere" in said and done.stderr.count("\n") == 1, done)
    with Server(program=REAL) as s:
        expect(s.ask("GET", "/v1/forged%20line%22%20level=x")[0] == 404, "no such path")
        wait_until(lambda: "answered" in s.said())
        said = s.stop()
        for line in said.splitlines():
            expect(re.match(TIME.pattern + r" essaim-coordinator/\w+: (info|warning): ", line), line)
        expect('path="/forged line\\" level=x" status=404' in said, said)


if __name__ == "__main__":
    run_checks([check_following, check_text])
