"""Whatever goes wrong is told in one line on stderr that names what and where, with a non-zero exit, and nothing is left running."""
import contextlib
import http.server
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

BUILD, SOURCE = os.environ["ESSAIM_BUILD"], os.environ["ESSAIM_SOURCE"]
TINY = os.path.join(SOURCE, "models", "tiny-r1")
ESSAIM, NODE = os.path.join(BUILD, "essaim"), os.path.join(BUILD, "essaim-expert-node")
SHARD = "model-00002-of-000003.safetensors"
QUESTION = "Add 15 and 27."


def children(pid):
    """All living descendants of a process."""
    found = []
    for task in os.listdir("/proc"):
        if task.isdigit():
            try:
                with open(f"/proc/{task}/stat", encoding="utf-8") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] != "Z":
                found += [int(task), *children(int(task))]
    return found


def alive(pids):
    for _ in range(100):
        left = [pid for pid in pids if os.path.exists(f"/proc/{pid}/stat")
                and open(f"/proc/{pid}/stat", encoding="utf-8").read().rsplit(")", 1)[1].split()[0] != "Z"]
        if not left:
            return []
        time.sleep(0.05)
    return left


def check(name, done, wanted, code=1):
    lines = done.stderr.splitlines()
    if done.returncode != code or len(lines) != 1 or not re.fullmatch(wanted, lines[0]):
        sys.exit(f"{name}: exit code {done.returncode} (wanted {code}), stderr:\n{done.stderr}wanted: {wanted}")
    print(f"{name}: {lines[0]}")


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, **more)


def copy_model(folder):
    return shutil.copytree(TINY, os.path.join(folder, "model"))


def edit_config(model, **changes):
    path = os.path.join(model, "config.json")
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    config.update(changes)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)


def header(path):
    with open(path, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        return length, json.loads(file.read(length))


def missing_file(model):
    os.remove(os.path.join(model, SHARD))


def truncated_shard(model):
    path = os.path.join(model, SHARD)
    os.truncate(path, os.path.getsize(path) - 1000)


def lying_header(model):
    with open(os.path.join(model, SHARD), "r+b") as file:
        file.write(struct.pack("<Q", 1 << 40))


def nan_weights(model):
    path = os.path.join(model, SHARD)
    length, tensors = header(path)
    name = next(name for name in sorted(tensors) if name.endswith("experts.9.up_proj.weight"))
    with open(path, "r+b") as file:
        file.seek(8 + length + tensors[name]["data_offsets"][0] + 300)
        file.write(b"\x7f")


def tensor_filled(model, name, pattern):
    """Makes a tensor of the model nothing but repetitions of pattern."""
    for shard in sorted(os.listdir(model)):
        if not shard.endswith(".safetensors"):
            continue
        path = os.path.join(model, shard)
        length, tensors = header(path)
        if name not in tensors:
            continue
        begin, end = tensors[name]["data_offsets"]
        with open(path, "r+b") as file:
            file.seek(8 + length + begin)
            file.write(pattern * ((end - begin) // len(pattern)))


def overflowing_head(model):
    """Finite weights whose products are not, in a model that asks for a draw."""
    tensor_filled(model, "lm_head.weight", b"\x7f\x7f\x7f\xff")
    with open(os.path.join(model, "generation_config.json"), "w", encoding="utf-8") as file:
        json.dump({"do_sample": True, "temperature": 0.6, "eos_token_id": 1}, file)


BROKEN = [
    ("a file that is missing", missing_file, r".*model-00002-of-000003\.safetensors: No such file or directory"),
    ("a truncated shard", truncated_shard, r".*model-00002-of-000003\.safetensors: .*"),
    ("a header that lies about its length", lying_header, r".*model-00002-of-000003\.safetensors: .*1099511627776.*"),
    ("weights that are NaN", nan_weights, r".*experts\.9\.up_proj\.weight: \[1, 44\] is NaN or infinite"),
    ("a head beyond the range of numbers", overflowing_head, r".*head: position \d+: a logit is not finite"),
    ("a vocabulary that does not fit", lambda model: edit_config(model, vocab_size=500), r".*embed_tokens\.weight: .*500.*512.*|.*512.*500.*"),
    ("an absurd config value", lambda model: edit_config(model, num_attention_heads=-3), r".*config\.json: num_attention_heads: .*"),
    ("a tokenizer that is not JSON", lambda model: open(os.path.join(model, "tokenizer.json"), "w").write("{"), r".*tokenizer\.json.*"),
]


def check_broken_models():
    for name, damage, wanted in BROKEN:
        for experts in ("0", "3"):
            with tempfile.TemporaryDirectory() as folder:
                model = copy_model(folder)
                damage(model)
                done = run(ESSAIM, "run", "--model", model, "--experts", experts, QUESTION)
                check(f"{name}, {experts} nodes", done, wanted)


def check_usage():
    check("no model", run(ESSAIM, "run", "x"), r"essaim run: --model is missing.*", code=2)
    check("an unknown option", run(ESSAIM, "run", "--modle", "x", "x"), r".*--modle.*--model.*", code=2)
    check("an unknown command", run(ESSAIM, "rum"), r".*rum.*run.*", code=2)
    check("nodes and experts at once", run(ESSAIM, "run", "--model", TINY, "--experts", "2", "--node", "127.0.0.1:1", "x"),
          r".*--experts.*--node.*", code=2)
    check("a file of nodes and experts at once", run(ESSAIM, "run", "--model", TINY, "--experts", "2", "--nodes", "nodes", "x"),
          r".*--experts.*--nodes.*", code=2)
    check("sampling out of range", run(ESSAIM, "run", "--model", "no-such-folder", "--top-p", "0", "x"), r".*top_p: 0.*", code=2)
    check("more nodes than experts", run(ESSAIM, "run", "--model", TINY, "--experts", "33", "x"), r".*node n1: .*33.*32 experts")
    check("a plain link to another machine", run(ESSAIM, "run", "--model", TINY, "--node", "192.0.2.1:5700", "x"), r".*192\.0\.2\.1.*keygen.*")
    check("a plain port for other machines", run(NODE, "--model", TINY, "--listen", "0.0.0.0:0"), r".*0\.0\.0\.0.*keygen.*")


def check_score():
    """A bad file of tokens is told before weights are read, and no file of logits is touched then."""
    with tempfile.TemporaryDirectory() as folder:
        tokens, logits = os.path.join(folder, "tokens.json"), os.path.join(folder, "logits.f32")
        for content, model, wanted in (("[1, -1]", "no-such-folder", r".*tokens\.json: token 1 is no id"),
                                       ("[]", "no-such-folder", r".*tokens\.json: .*at least one.*"),
                                       ("[1, 512]", TINY, r".*tokens\.json: token 1: id 512 is not below .* 512")):
            with open(tokens, "w", encoding="utf-8") as file:
                file.write(content)
            check(f"score {content}", run(ESSAIM, "score", "--model", model, "--tokens", tokens, "--logits", logits), wanted)
            if os.path.exists(logits):
                sys.exit("a failed score left a file of logits")


def check_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        check("a port in use", run(NODE, "--model", TINY, "--listen", f"127.0.0.1:{port}"), rf".*127\.0\.0\.1:{port}.*in use.*")
    with socket.create_server(("127.0.0.1", 0)) as quiet:
        port = quiet.getsockname()[1]
    check("nobody at the node's address", run(ESSAIM, "run", "--model", TINY, "--node", f"127.0.0.1:{port}", "x"), rf".*127\.0\.0\.1:{port}.*")


@contextlib.contextmanager
def server_of(health, others, code):
    """An HTTP server that answers /health with 200 and this, everything else with this code and that; gives its URL."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = health if self.path == "/health" else others
            self.send_response(200 if self.path == "/health" else code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def check_odd_servers():
    """What is no coordinator's answer, or asks for a key, is told as such."""
    with server_of(b"[]", b"[1, 2]", 200) as url:
        for command in (["status"], ["status", "--ready"], ["drain", "n1"], ["trace", "--out", "/dev/null"]):
            check(f"essaim {command[0]} at a server that is none", run(ESSAIM, *command, "--url", url), r".*, and no JSON object")
    with server_of(b'{"status": "ok"}', b'{"error": {"message": "no key"}}', 401) as url:
        bare = run(ESSAIM, "status", "--url", url, env={**os.environ, "ESSAIM_API_KEY": ""})
        check("essaim status with an empty key", bare, r".*HTTP 401: no key; give --api-key KEY, or set ESSAIM_API_KEY")
        wrong = run(ESSAIM, "status", "--url", url, env={**os.environ, "ESSAIM_API_KEY": "x"})
        check("essaim status with a wrong key", wrong, r".*HTTP 401: no key; it was sent what ESSAIM_API_KEY holds")
        master, terminal = pty.openpty()
        top = subprocess.Popen([ESSAIM, "top", "--url", url, "--every", "0.1"], stdin=terminal, stdout=terminal, stderr=subprocess.PIPE)
        os.close(terminal)
        shown = b""
        while shown.count(b"HTTP 401: no key") < 3 and select.select([master], [], [], 20)[0]:
            shown += os.read(master, 65536)
        os.write(master, b"q")
        stderr = top.communicate(timeout=20)[1]
        os.close(master)
        if top.returncode != 0 or stderr or shown.count(b"HTTP 401: no key") < 3:
            sys.exit(f"essaim top without a key: {top.returncode} {stderr} {shown[-1000:]}")
        print("essaim top without a key: says so in its picture, and goes on")


def start_slow_answer(*command):
    """A command that answers for long, and its descendants once the first text is there."""
    process = subprocess.Popen([ESSAIM, *command, "--temperature", "5", "--seed", "3", "--quiet"], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    process.stdout.read(12)
    return process, children(process.pid)


def check_dying_node():
    for command in (["run", "--model", TINY, "--experts", "3", "--wait-for-nodes", "1", QUESTION],
                    ["up", "--model", TINY, "--experts", "3", "--once", QUESTION]):
        process, family = start_slow_answer(*command)
        nodes = [pid for pid in family if "expert-node" in open(f"/proc/{pid}/cmdline", encoding="utf-8").read()]
        started = time.monotonic()
        os.kill(nodes[1], signal.SIGKILL)
        process.stdout.read()
        _, stderr = process.communicate(timeout=60)
        seconds = time.monotonic() - started
        warning, stderr = stderr.split("\n", 1)
        if not re.fullmatch(r"(\S+Z )?essaim.*: warning: node n2 .* is lost: connection lost( .*)?", warning):
            sys.exit(f"a node that dies during {command[0]}: {warning}")
        done = subprocess.CompletedProcess(command, process.returncode, "", stderr)
        check(f"a node that dies during {command[0]}", done, r".*layer \d: expert \d+: node n2 .*")
        if seconds > 5:
            sys.exit(f"{command[0]}: {seconds:.1f} s to notice a dead node")
        if alive(family):
            sys.exit(f"{command[0]}: left running after a node died: {alive(family)}")


def check_every_end():
    """`essaim up` leaves no process behind, however it ends."""
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        process, family = start_slow_answer("up", "--model", TINY, "--experts", "3", "--once", QUESTION)
        if len(family) != 4:
            sys.exit(f"essaim up has {len(family)} processes, wanted a coordinator and 3 nodes")
        process.send_signal(number)
        process.communicate(timeout=30)
        left = alive(family)
        if left or process.returncode == 0:
            sys.exit(f"{number.name}: exit code {process.returncode}, left running: {left}")
        print(f"{number.name} leaves nothing running")


check_usage()
check_score()
check_port_in_use()
check_odd_servers()
check_broken_models()
check_dying_node()
check_every_end()
