"""What a listener on the wire sees: between machines nothing but CURVE."""
import json
import os
import subprocess
import sys
import urllib.request

import capture
import lan
from load import PROMPTS, ask
from swarm import MODEL, Process, Swarm, folder, program, wait_until

NEEDLE, PARTS, QUESTIONS, PLAIN_HOST = 32, ["1/2", "2/2"], 2, 90
HEAD, GUEST, JOIN_S = 91, 92, 40
PORTS = {5700, 5701}
CURVE_WORDS = (b"\x05HELLO", b"\x07WELCOME", b"\x08INITIATE", b"\x05READY", b"\x07MESSAGE")


def windows(data, step):
    """Windows of NEEDLE bytes that can hardly come about by chance."""
    for at in range(0, len(data) - NEEDLE + 1, step):
        window = data[at:at + NEEDLE]
        if len(set(window)) >= NEEDLE // 2:
            yield window


def search(needles, streams):
    """How many different needles some stream has, at any byte."""
    found = set()
    for stream in streams:
        data = stream.data
        for at in range(len(data) - NEEDLE + 1):
            if (window := data[at:at + NEEDLE]) in needles:
                found.add(window)
    return len(found)


def questions(address):
    return [ask(address, prompt) for prompt in PROMPTS[:QUESTIONS]]


def plain_run(path, name):
    """The streams of a swarm without keys, so on loopback of one host: what travels is the same, and can be read."""
    host = lan.Host(PLAIN_HOST)
    processes, nodes = [], []
    log = os.path.join(path, f"{name}.log")
    try:
        with capture.Capture(os.path.join(path, f"{name}.pcap"), "lo", host) as listener:
            for n, part in enumerate(PARTS):
                at = f"127.0.0.1:{5710 + 10 * n}"
                nodes += ["--node", at]
                processes.append(Process(host, [program("essaim-expert-node"), "--model", MODEL, "--part", part, "--listen", at, "--data-port",
                                                str(5711 + 10 * n), "--name", f"n{n + 1}", "--threads", "1"], log))
            processes.append(Process(host, [program("essaim-coordinator"), "--model", MODEL, *nodes, "--threads", "1", "--listen",
                                            f"{host.address}:8080", "--allow-anonymous", "--quiet"], log))
            questions(host.address)
    finally:
        for process in processes:
            process.kill()
        host.close()
    return list(capture.streams(listener.path))


def payloads(streams):
    """Rows and sums as they were sent: the frame behind a header."""
    data_ports = {5711 + 10 * n for n in range(len(PARTS))}
    found = {"rows": set(), "sums": set()}
    for stream in streams:
        kind = "rows" if stream.target_port in data_ports else "sums" if stream.source_port in data_ports else None
        if kind is None or capture.mechanism(stream) != "NULL":
            continue
        behind_header = False
        for more, command, body in capture.frames(stream):
            if behind_header and not more and not command:
                found[kind].update(windows(body, NEEDLE))
            behind_header = more
    return found


def weights(path):
    """Of the model's files as published, and of shards as nodes map them."""
    shards = os.path.join(path, "shards")
    subprocess.run([program("essaim"), "shard", "--model", MODEL, "--out", shards, "--nodes", "2", "--quiet"], check=True, capture_output=True)
    found = set()
    for place in (MODEL, shards):
        for name in sorted(os.listdir(place)):
            if name.endswith((".safetensors", ".shard")):
                with open(os.path.join(place, name), "rb") as file:
                    found.update(windows(file.read(), 2048))
    return found, shards


def token_needles():
    """The prompts' tokens as numbers of 16 and of 32 bits."""
    done = subprocess.run([program("essaim"), "tokenize", "--model", MODEL], input="".join(json.dumps(prompt) + "\n" for prompt in PROMPTS[:QUESTIONS]),
                          capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        ids = json.loads(line)
        for width in (2, 4):
            yield b"".join(token.to_bytes(width, "little") for token in ids)


def plain_copy(path, shards):
    """The streams of a shard that somebody copies over the LAN in clear."""
    host = lan.Host(PLAIN_HOST)
    name = next(name for name in sorted(os.listdir(shards)) if name.startswith("experts"))
    try:
        with capture.Capture(os.path.join(path, "copy.pcap"), host.near) as listener:
            server = subprocess.Popen(host.command(sys.executable, "-m", "http.server", "--directory", shards, "8000"), stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)
            try:
                if not wait_until(lambda: fetched(f"http://{host.address}:8000/{name}"), 10):
                    raise RuntimeError("the shard cannot be copied")
            finally:
                server.kill()
                server.wait()
    finally:
        host.close()
    return list(capture.streams(listener.path))


def fetched(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as page:
            return len(page.read()) > 0
    except OSError:
        return False


def lan_run(path):
    """The streams of a swarm on its LAN: those to nodes, those of clients; what was answered; frames missed."""
    with capture.Capture(os.path.join(path, "lan.pcap"), lan.BRIDGE) as listener:
        swarm = Swarm(path, PARTS)
        try:
            answers = questions(swarm.host.address)
        finally:
            swarm.close()
    streams = list(capture.streams(listener.path))
    inside = [stream for stream in streams if PORTS & {stream.source_port, stream.target_port}]
    return inside, [stream for stream in streams if stream not in inside], answers, listener.missed


def answers(address):
    try:
        return bool(ask(address, PROMPTS[0]))
    except RuntimeError:
        return False


def join_run(path, shards):
    """The streams of a machine that joins a coordinator by its token and fetches every expert, and the bytes of what it fetched."""
    head, guest = lan.Host(HEAD), lan.Host(GUEST)
    registry, keys, home = (os.path.join(path, name) for name in ("registry", "head.key", "guest"))
    at, running = f"{head.address}:5710", []
    subprocess.run([program("essaim"), "keygen", keys], check=True, capture_output=True)
    with open(os.path.join(path, "join.log"), "wb") as log:
        def start(host, *words):
            running.append(subprocess.Popen(host.command(*words, "--threads", "1"), stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        try:
            with capture.Capture(os.path.join(path, "join.pcap"), lan.BRIDGE) as listener:
                start(head, program("essaim-coordinator"), "--model", shards, "--model-name", "tiny-r1", "--keys", keys, "--registry", registry,
                      "--join-listen", at, "--listen", f"{head.address}:8080", "--allow-anonymous", "--quiet")
                if not wait_until(lambda: os.path.isdir(registry), JOIN_S):
                    raise RuntimeError("the coordinator makes no registry")
                token = subprocess.run([program("essaim"), "token", "--registry", registry, "--keys", keys, "--at", at], check=True, capture_output=True,
                                       text=True).stdout.split()[0]
                start(guest, program("essaim"), "join", token, "--dir", home, "--name", "guest", "--listen", f"{guest.address}:5700", "--memory", "1G")
                if not wait_until(lambda: answers(head.address), JOIN_S):
                    raise RuntimeError("the swarm of a machine that joined does not answer")
        finally:
            for process in running:
                process.kill()
                process.wait()
            head.close()
            guest.close()
    fetched_files = os.path.join(home, "shards")
    held = sum(os.path.getsize(os.path.join(fetched_files, name)) for name in os.listdir(fetched_files))
    streams = [stream for stream in capture.streams(listener.path) if 8080 not in (stream.source_port, stream.target_port)]
    return streams, held


def texts_in(needles, streams):
    return sum(any(needle in stream.data for stream in streams) for needle in needles)


class Wire:
    """A capture of the links to the nodes while requests flow. What it is searched for is found by the same search where links are plain."""

    row, name = 22, "a listener on the wire"

    def __init__(self):
        self.problems, self.told = [], {}

    def check(self, holds, problem):
        if not holds:
            self.problems.append(problem)

    def _curve(self, inside, missed):
        whole = [stream for stream in inside if stream.whole]
        bodies = [body for stream in whole for _, _, body in capture.frames(stream)]
        self.told["on the LAN"] = (f"{len(inside)} streams of nodes, {sum(len(stream.data) for stream in inside)} bytes, "
                                   f"{sum(body.startswith(CURVE_WORDS[-1]) for body in bodies)} messages of CURVE, {missed} frames missed")
        self.check(len(whole) == len(inside) and missed == 0, "the capture is not whole")
        self.check(len(whole) >= 2 * 2 * len(PARTS), f"{len(whole)} streams, fewer than control and data both ways of each node")
        self.check({capture.mechanism(stream) for stream in whole} == {"CURVE"}, f"mechanisms: { {capture.mechanism(stream) for stream in whole} }")
        self.check(all(body.startswith(CURVE_WORDS) for body in bodies) and len(bodies) > 100, "frames that are not CURVE's")

    def _join(self, path, shards):
        """The streams of a machine that joins, which carry all the experts' weights."""
        streams, held = join_run(path, shards)
        carried = sum(len(stream.data) for stream in streams)
        self.told["a machine that joins"] = f"{len(streams)} streams, {carried} bytes, for {held} bytes of shards"
        self.check(carried >= 0.9 * held > 0, "the capture has not what was fetched")  # files end on whole pages
        self.check({capture.mechanism(stream) for stream in streams} <= {"CURVE", None}, "links of a machine that joins that are not CURVE's")
        return streams

    def _search(self, what, needles, plain, inside):
        """needles must be met in plain links, and not among those of the nodes."""
        there, here = search(needles, plain), search(needles, inside)
        self.told[what] = f"{there} of {len(needles)} pieces in clear where links are plain, {here} on the LAN"
        self.check(there >= 0.1 * len(needles) > 0, f"{what}: the search finds {there} of {len(needles)} pieces on plain links")
        self.check(here == 0, f"{what}: {here} pieces in clear on the LAN")

    def run(self, _):
        self.problems, self.told = [], {}
        with folder() as path:
            known = payloads(plain_run(path, "first"))
            again = plain_run(path, "second")
            model, shards = weights(path)
            inside, outside, answers, missed = lan_run(path)
            self._curve(inside, missed)
            for what in ("rows", "sums"):
                self._search(what, known[what], again, inside)
            self._search("weights", model, plain_copy(path, shards), inside + self._join(path, shards))
            texts = [prompt.encode() for prompt in PROMPTS[:QUESTIONS]]
            told = [answer[at:at + 12].encode() for answer in answers for at in range(0, len(answer) - 12, 6)]
            self.told["prompts"] = f"{texts_in(texts, outside)} of {len(texts)} in clear from client to coordinator, {texts_in(texts, inside)} to nodes"
            self.check(texts_in(texts, outside) == len(texts), "the search does not find the prompts that clients send")
            self.check(texts_in(texts + told, inside) == 0, "text in clear on links to nodes")
            tokens = list(token_needles())
            self.told["tokens"] = f"{texts_in(tokens, inside)} of {len(tokens)} sequences to nodes, {texts_in(tokens, again)} where links are plain"
            self.check(texts_in(tokens, inside) == 0, "tokens in clear on links to nodes")
        return {"row": self.row, "fault": self.name, "told": self.told, "problems": self.problems}


def cases():
    yield "quick", Wire()
