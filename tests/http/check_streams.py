"""Many streams at once: every greedy answer has the tokens and logprobs of the one given alone, byte for byte, nobody starves, and
memory comes back: check_streams.py [STREAMS [LONGEST]]"""
import concurrent.futures
import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time

from serving import BUILD, HOST, REAL, TINY, Server, expect, wait_until

STREAMS = int(sys.argv[1]) if len(sys.argv) > 1 else 64
LONGEST = int(sys.argv[2]) if len(sys.argv) > 2 else 1500
SEED = int(os.environ.get("SEED", time.time_ns() % 1000000))
NEW_TOKENS, VOCABULARY = 40, 500


def prompts(chance):
    """10 to LONGEST tokens, both always there, as many of each magnitude; every fourth begins like the one before it."""
    lengths = [10, LONGEST] + [round(10 * (LONGEST / 10) ** chance.random()) for _ in range(STREAMS - 2)]
    made = []
    for number, length in enumerate(lengths):
        tokens = [chance.randint(5, VOCABULARY) for _ in range(length)]
        if number % 4 == 3:
            shared = min(length, len(made[-1])) // 2
            tokens[:shared] = made[-1][:shared]
        made.append(tokens)
    return made


def ask(server, prompt, leave_after=None):
    """(what the answer is, seconds to its first token); leave_after: events until the client leaves."""
    body = {"model": "tiny-r1", "prompt": prompt, "temperature": 0, "max_tokens": NEW_TOKENS, "logprobs": 3, "stream": True,
            "return_token_ids": True, "ignore_eos": True}
    connection = http.client.HTTPConnection(HOST, server.port, timeout=200)
    start, first, events = time.monotonic(), None, 0
    answer = {"ids": [], "logprobs": [], "top": [], "text": "", "finish": None}
    connection.request("POST", "/v1/completions", json.dumps(body))
    if leave_after == 0:
        connection.close()
        return None, None
    response = connection.getresponse()
    expect(response.status == 200, response.status, response.read() if response.status != 200 else "")
    while True:
        line = response.readline()
        expect(line, "the stream ended without its end")
        if line == b"data: [DONE]\n":
            break
        if not line.startswith(b"data: "):
            continue
        # parse_float keeps every digit as it came
        event = json.loads(line[6:], parse_float=str)
        expect("choices" in event, event)
        choice = event["choices"][0]
        if choice["token_ids"] and first is None:
            first = time.monotonic() - start
        answer["ids"] += choice["token_ids"]
        answer["logprobs"] += choice["logprobs"]["token_logprobs"]
        answer["top"] += choice["logprobs"]["top_logprobs"]
        answer["text"] += choice["text"]
        answer["finish"] = choice["finish_reason"] or answer["finish"]
        events += 1
        if leave_after is not None and events >= leave_after:
            connection.close()
            return None, first
    connection.close()
    expect(len(answer["ids"]) == NEW_TOKENS == len(answer["logprobs"]) and answer["finish"] == "length", answer)
    return answer, first


def all_at_once(server, jobs):
    """What each job (prompt, leave_after) gave, all of them begun together."""
    gate = threading.Barrier(len(jobs))

    def run(job):
        gate.wait()
        return ask(server, *job)

    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


def compare(alone, together, what):
    for number, (one, (answer, _)) in enumerate(zip(alone, together)):
        if answer is not None:
            expect(answer == one, f"seed {SEED}, {what}: stream {number} differs from the answer alone:\n{one}\n{answer}")


def settled(server):
    wait_until(lambda: (m := server.metrics())["essaim_answers_running"] == 0 and m["essaim_requests_queued"] == 0
               and m["essaim_http_calls_in_flight"] == 0 and m["essaim_kv_pages_used"] == m["essaim_kv_pages_idle"])
    wait_until(lambda: server.metrics()["essaim_http_connections"] == 1)
    return server.memory_kib(), server.descriptors()


def start_nodes(count):
    nodes = [subprocess.Popen([os.path.join(BUILD, "essaim-expert-node"), "--model", TINY, "--part", f"{i + 1}/{count}", "--listen",
                               HOST + ":0", "--ready-fd", "1", "--log-level", "warning"], stdout=subprocess.PIPE, text=True) for i in range(count)]
    return nodes, [word for n in nodes for word in ("--node", n.stdout.readline().split("control=")[1].split()[0].removeprefix("tcp://"))]


def main():
    chance = random.Random(SEED)
    work = prompts(chance)
    with Server(program=REAL) as s:
        start = time.monotonic()
        alone = [ask(s, prompt)[0] for prompt in work]
        took = time.monotonic() - start
    print(f"seed {SEED}: {STREAMS} answers alone: {took:.1f} s", flush=True)
    nodes, options = start_nodes(2)
    try:
        # Room for little more than the longest: answers are preempted, and pages of known prefixes are shared and forgotten.
        with Server("--quiet", "--kv-memory", "3" if LONGEST > 1000 else "2", *options, program=REAL) as s:
            start = time.monotonic()
            together = all_at_once(s, [(prompt, None) for prompt in work])
            compare(alone, together, "all at once")
            firsts = sorted(first for _, first in together)
            print(f"all at once: {time.monotonic() - start:.1f} s, first tokens after {firsts[0]:.2f} to {firsts[-1]:.2f} s, "
                  f"{s.metrics()['essaim_preemptions_total']:.0f} preemptions, "
                  f"{s.metrics()['essaim_cache_hit_tokens_total']:.0f} known tokens", flush=True)
            memory, descriptors = settled(s)
            start = time.monotonic()
            jobs = [(prompt, None) for prompt in work] + [(prompt, chance.choice([0, 1, 3, 10, 30])) for prompt in work]
            together = all_at_once(s, jobs)
            compare(alone + alone, together, "with leavers")
            settled(s)
            wait_until(lambda: s.descriptors() <= descriptors)
            after, open_now = settled(s)
            cancelled = s.metrics()['essaim_answers_total{outcome="cancelled"}']
            print(f"with as many who leave: {time.monotonic() - start:.1f} s, {cancelled:.0f} cancelled; memory {memory} KiB before, "
                  f"{after} after; descriptors {descriptors}, {open_now}", flush=True)
            expect(open_now == descriptors, "descriptors", descriptors, open_now)
            expect(after < memory + 12 * 1024, "memory grew", memory, after)
            expect(cancelled > 0, "nobody left in time")
            s.stop()
    finally:
        for node in nodes:
            node.terminate()
            node.wait()


main()
