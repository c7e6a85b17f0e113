"""Generates tokens through a coordinator and expert nodes and watches what they say: `generate_tokens.py [TOKENS]`, 10,000 by default.

Meant for the sanitizer builds (ESSAIM_BUILD names one): any report, error or non-zero exit fails it.
"""
import json
import os
import subprocess
import sys
import time

BUILD, SOURCE = os.environ["ESSAIM_BUILD"], os.environ["ESSAIM_SOURCE"]
TINY = os.path.join(SOURCE, "models", "tiny-r1")
NODES = 3


def start_nodes():
    nodes, endpoints = [], []
    for part in range(1, NODES + 1):
        reader, writer = os.pipe()
        nodes.append(subprocess.Popen([os.path.join(BUILD, "essaim-expert-node"), "--model", TINY, "--part", f"{part}/{NODES}",
                                       "--listen", "127.0.0.1:0", "--threads", "2",
                                       "--ready-fd", str(writer), "--log-level", "warning"],
                                      pass_fds=[writer], stderr=subprocess.PIPE, text=True))
        os.close(writer)
        with os.fdopen(reader) as ready:
            endpoints.append(ready.readline().split("control=")[1].split()[0])
    return nodes, endpoints


def generate(coordinator, wanted):
    """Asks until wanted tokens have come; prompts of all lengths, greedy and sampled."""
    tokens = asked = 0
    while tokens < wanted:
        asked += 1
        messages = []
        for turn in range(asked % 3 + 1):
            messages += [{"role": "user", "content": f"Add {asked * 7 % 900} and {turn + asked}."},
                         {"role": "assistant", "content": "ok " * (asked % 40)}]
        request = {"id": asked, "messages": messages[:-1], "temperature": asked % 4, "top_p": 0.95, "seed": asked,
                   "max_tokens": min(300, wanted - tokens)}
        coordinator.stdin.write(json.dumps(request) + "\n")
        coordinator.stdin.flush()
        for line in coordinator.stdout:
            event = json.loads(line)
            if "error" in event:
                raise RuntimeError(f"request {asked}: {event['error']}")
            if "done" in event:
                tokens += event["done"]["completion_tokens"]
                break
        else:
            raise RuntimeError(f"request {asked}: the coordinator ended")
    return tokens, asked


def main():
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 10000
    nodes, endpoints = start_nodes()
    options = [word for endpoint in endpoints for word in ("--node", endpoint)]
    coordinator = subprocess.Popen([os.path.join(BUILD, "essaim-coordinator"), "--model", TINY, "--threads", "2", "--lines", "--log-level", "warning", *options],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started = time.monotonic()
    failure = None
    try:
        tokens, asked = generate(coordinator, wanted)
    except RuntimeError as error:
        failure = str(error)
    seconds = time.monotonic() - started
    for process in (coordinator, *nodes):
        if process is not coordinator:
            process.terminate()
        _, said = process.communicate(timeout=60)
        if process.returncode != 0 or said:
            failure = f"{failure or ''}\n{process.args[0]} ended with {process.returncode}:\n{said}"
    if failure is not None:
        sys.exit(failure)
    print(f"{tokens} tokens in {asked} answers, {tokens / seconds:.0f} a second, no report")


main()
