"""Shards give the model's own logits, survive kill -9 and damage, and refuse a disk that is short. One check, named by the argument."""
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.environ["ESSAIM_SOURCE"], "tests", "golden"))
from essaim_score import BUILD, ESSAIM, FAMILY, GOLDEN, TEXTS, TINY, as_floats, quality, score  # noqa: E402

KL_LIMIT = 0.005


def essaim(*words, fails=None):
    """Runs `essaim`; fails: what its one line on stderr has to say."""
    done = subprocess.run([ESSAIM, *words], capture_output=True, text=True, timeout=600)
    if fails is None and done.returncode != 0:
        sys.exit(f"essaim {' '.join(words)}: exit code {done.returncode}: {done.stderr}")
    if fails is not None and (done.returncode == 0 or fails not in done.stderr or done.stderr.count("\n") != 1):
        sys.exit(f"essaim {' '.join(words)}: exit code {done.returncode}, wanted {fails!r}: {done.stderr}")
    return done.stdout


def cut(model, out, nodes, *options):
    return essaim("shard", "--model", model, "--out", out, "--nodes", str(nodes), "--quiet", *options)


def read_folder(folder):
    files = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            files[name] = file.read()
    return files


def check_same(folder):
    """The checkpoint's bytes, from 1 and 3 shards, in one process, on as many nodes and on another number of them."""
    for name, model, tokens, _ in TEXTS[:1] + FAMILY:
        wanted = score(model, tokens)
        for nodes in (1, 3):
            out = os.path.join(folder, f"{os.path.basename(model)}-{nodes}")
            cut(model, out, nodes)
            for experts in (0, nodes, 2):
                if score(out, tokens, "--experts", str(experts)) != wanted:
                    sys.exit(f"{name}: {nodes} shards on {experts} nodes give other logits than the checkpoint")
        if essaim("inspect", "--model", out).splitlines()[0] != essaim("inspect", "--model", model).splitlines()[0]:
            sys.exit(f"{name}: inspect tells another shape of the shards")


def check_gguf(folder):
    """A GGUF's shards give its bytes, and its text side goes with them."""
    model, out = os.path.join(GOLDEN, "gguf", "tiny-r1-q4_k_m.gguf"), os.path.join(folder, "shards")
    cut(model, out, 2)
    tokens = TEXTS[0][2]
    if score(out, tokens, "--experts", "2") != score(model, tokens):
        sys.exit("shards of a GGUF give other logits")
    if essaim("run", "--quiet", "--model", out, "Add 15 and 27.") != essaim("run", "--quiet", "--model", model, "Add 15 and 27."):
        sys.exit("shards of a GGUF give another answer")
    essaim("shard", "--model", model, "--out", os.path.join(folder, "again"), "--nodes", "1", "--format", "q8_0",
           fails="already: such a model is cut as-is")


def check_other_models_are_refused(folder):
    """Nodes of a quantised cut are not a checkpoint's, and shards of two cuts are no model."""
    one, two = os.path.join(folder, "one"), os.path.join(folder, "two")
    cut(TINY, one, 2)
    cut(TINY, two, 2, "--format", "q8_0")
    os.replace(os.path.join(two, "experts-02-of-02.shard"), os.path.join(one, "experts-02-of-02.shard"))
    tokens = TEXTS[0][2]
    essaim("score", "--quiet", "--model", one, "--tokens", tokens, fails="of another model than")
    essaim("score", "--quiet", "--model", one, "--tokens", tokens, "--experts", "2", fails="another model")
    essaim("shard", "--model", TINY, "--out", two, "--nodes", "2", "--quiet", fails="there already")


def kill_in_the_middle(out, lines):
    """Starts a cut and kills it when its journal has so many lines; False when it was faster."""
    cutter = subprocess.Popen([ESSAIM, "shard", "--model", TINY, "--out", out, "--nodes", "2", "--format", "q4_k", "--threads", "1",
                               "--quiet"], stdout=subprocess.DEVNULL)
    journal = os.path.join(out, "shards.journal")
    while cutter.poll() is None:
        try:
            with open(journal, "rb") as file:
                if file.read().count(b"\n") > lines:
                    cutter.send_signal(signal.SIGKILL)
                    cutter.wait()
                    return os.path.exists(journal)
        except FileNotFoundError:
            pass
        time.sleep(0.0005)
    return False


def check_resume(folder):
    """A cut that was killed, whose last unit was damaged since, ends in the same bytes."""
    whole = os.path.join(folder, "whole")
    cut(TINY, whole, 2, "--format", "q4_k")
    for attempt in range(20):
        out = os.path.join(folder, f"killed-{attempt}")
        if kill_in_the_middle(out, 40):
            break
    else:
        sys.exit("the cut was never caught in the middle")
    with open(os.path.join(out, "coordinator.shard.part"), "r+b") as file:
        file.seek(4096)
        byte = file.read(1)
        file.seek(4096)
        file.write(bytes([byte[0] ^ 1]))
    with open(os.path.join(out, "shards.journal"), "a", encoding="ascii") as file:
        file.write("1 3 00112233")
    essaim("shard", "--model", TINY, "--out", out, "--nodes", "3", "--format", "q4_k", "--quiet", fails="unfinished shards of another")
    said = cut(TINY, out, 2, "--format", "q4_k")
    if "kept from before" not in said:
        sys.exit(f"nothing was kept: {said}")
    if read_folder(out) != read_folder(whole):
        sys.exit("the resumed cut has other bytes")


def check_beside(folder):
    """Shards get their names when what goes beside them is there, and one process at a time writes them."""
    out = os.path.join(folder, "shards")
    blocked = os.path.join(out, "config.json")
    os.makedirs(blocked)
    words = ("shard", "--model", TINY, "--out", out, "--nodes", "2", "--quiet")
    essaim(*words, fails="config.json: Is a directory")
    if [name for name in os.listdir(out) if name.endswith(".shard")]:
        sys.exit(f"shards without their config: {os.listdir(out)}")
    with open(os.path.join(out, "shards.journal"), encoding="ascii") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        essaim(*words, fails="another process is writing shards there")
    os.rmdir(blocked)
    units = json.loads(essaim("inspect", "--json", "--model", TINY))["shape"]["n_routed_experts"]
    if "kept from before" not in essaim(*words) or not os.path.isfile(blocked):
        sys.exit("the cut was not taken up")
    said = json.loads(essaim("inspect", "--json", "--model", out))
    wanted = [("coordinator.shard", None), ("experts-01-of-02.shard", 3 * units // 2), ("experts-02-of-02.shard", 3 * units // 2)]
    if [(s["file"], s["units"] if s["kind"] == "experts" else None) for s in said["shards"]] != wanted or "fingerprint" not in said:
        sys.exit(f"inspect says of the shards: {said['shards']}")


def check_verify(folder):
    """A bit that turned in a unit is found; one in the header or manifest keeps the shard from opening."""
    out = os.path.join(folder, "shards")
    cut(TINY, out, 2)
    essaim("shard", "--verify", out)
    path = os.path.join(out, "experts-02-of-02.shard")
    with open(path, "rb") as file:
        whole = file.read()
    manifest = json.loads(whole[int.from_bytes(whole[32:40], "little"):])
    unit = manifest["units"][5]

    def turned(at, what, *words):
        with open(path, "wb") as file:
            file.write(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1:])
        essaim(*words, fails=what)

    turned(unit["offset"] + 100, f"{unit['name']}: its checksum does not match", "shard", "--quiet", "--verify", path)
    turned(unit["offset"] + 100, f"{unit['name']}: its checksum does not match", "shard", "--quiet", "--verify", out)
    turned(40, "header: its checksum does not match", "inspect", "--model", path)
    turned(len(whole) - 9, "manifest: its checksum does not match", "inspect", "--model", path)
    with open(path, "wb") as file:
        file.write(whole[:-1])
    essaim("inspect", "--model", path, fails="another length than when it was made")


def check_cut_short(folder):
    """A node whose shard is made shorter while it is mapped ends with a line that names it."""
    out = os.path.join(folder, "shards")
    cut(TINY, out, 1)
    path = os.path.join(out, "experts-01-of-01.shard")
    whole = os.path.getsize(path)
    node = subprocess.Popen([os.path.join(BUILD, "essaim-expert-node"), "--shard", path, "--listen", "127.0.0.1:0", "--log", "json"],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        at = node.stdout.readline().split()[1].removeprefix("control=tcp://")
        os.truncate(path, whole // 8)
        asked = subprocess.run([ESSAIM, "score", "--quiet", "--model", out, "--tokens", TEXTS[0][2], "--node", at, "--wait-for-nodes", "1"],
                               capture_output=True, text=True, timeout=60)
        if asked.returncode != 1 or "connection lost" not in asked.stderr:
            sys.exit(f"score without its node ended with {asked.returncode}: {asked.stderr}")
        said = json.loads(node.communicate(timeout=20)[1].splitlines()[-1])
    finally:
        node.kill()
        node.wait()
    if node.returncode != 1 or said["level"] != "error" or f"{path}: cannot be read where it is mapped" not in said["message"]:
        sys.exit(f"the node ended with {node.returncode} and said {said}")


def check_placement(folder):
    """Unequal shares are kept, and a placement that is not understood is refused."""
    file, out = os.path.join(folder, "placement.json"), os.path.join(folder, "shards")

    def place(content):
        with open(file, "w", encoding="utf-8") as stream:
            json.dump(content, stream)

    def refused(content, what):
        place(content)
        essaim("shard", "--model", TINY, "--out", out, "--placement", file, "--quiet", fails=what)

    refused({"shares": [1, 1], "replicas": 2}, "replicas: not known")
    refused({"shares": [1, 0]}, "shares[1]: not a number above 0")
    refused({"shares": [1000, 1]}, "shares[1]: too small")
    refused({"shares": []}, "shares: not a list")
    place({"shares": [3, 1]})
    essaim("shard", "--model", TINY, "--out", out, "--placement", file, "--quiet")
    counts = [len(json.loads(content[int.from_bytes(content[32:40], "little"):])["units"])
              for name, content in read_folder(out).items() if name.startswith("experts")]
    if counts[0] != 3 * counts[1]:
        sys.exit(f"shares of 3 and 1 became {counts} experts")
    if score(out, TEXTS[0][2], "--experts", "2") != score(TINY, TEXTS[0][2]):
        sys.exit("unequal shares give other logits")


def check_disk(folder):
    """A disk with too little room is told before anything is written. Needs the right to mount."""
    disk = os.path.join(folder, "disk")
    os.mkdir(disk)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", disk], capture_output=True).returncode != 0:
        print("skipped: this user may not mount")
        return
    try:
        essaim("shard", "--model", TINY, "--out", os.path.join(disk, "out"), "--nodes", "2", "--quiet", fails="MB more and the disk has")
        essaim("synth", "--config", os.path.join(TINY, "config.json"), "--out", os.path.join(disk, "hf"), "--quiet",
               fails="and the disk has")
        if os.listdir(os.path.join(disk, "out")):
            sys.exit(f"something was left: {os.listdir(os.path.join(disk, 'out'))}")
    finally:
        subprocess.run(["umount", disk], check=True)


def check_synth(folder):
    """Random models of every format and layout compute, and a seed makes the same bytes again."""
    config = os.path.join(TINY, "config.json")
    tokens = TEXTS[0][2]
    for layout, form in [("hf", "fp8"), ("hf", "bf16")] + [("shards", form) for form in ("fp8", "bf16", "q8_0", "q6_k", "q4_k")]:
        out = os.path.join(folder, f"{layout}-{form}")
        made = ["synth", "--config", config, "--layout", layout, "--format", form, "--nodes", "2", "--quiet", "--seed"]
        essaim(*made, "7", "--out", out)
        essaim(*made, "7", "--out", out + "-again", "--threads", "1")
        if read_folder(out) != read_folder(out + "-again"):
            sys.exit(f"{layout} {form}: the same seed made other bytes")
        logits = as_floats(score(out, tokens, "--experts", "2"))
        if not all(abs(value) < 100 for value in logits):
            sys.exit(f"{layout} {form}: logits are not of sane size")
    for form in ("bf16", "q8_0", "q6_k", "q4_k"):
        out = os.path.join(folder, f"gguf-{form}", "named.gguf" if form == "q4_k" else "")
        essaim("synth", "--config", config, "--layout", "gguf", "--format", form, "--quiet", "--seed", "7", "--out", out)
        if score(out if form == "q4_k" else os.path.join(out, "model.gguf"), tokens) != score(os.path.join(folder, f"shards-{form}"), tokens):
            sys.exit(f"gguf {form}: not the weights of shards of the same seed")
    essaim("synth", "--config", config, "--layout", "gguf", "--out", folder, fails="--layout gguf has no such type")


def check_quality(folder):
    """q8_0 shards stay close to the references."""
    out = os.path.join(folder, "shards")
    print(cut(TINY, out, 2, "--format", "q8_0"))
    kl, _, agrees = quality(lambda tokens: as_floats(score(out, tokens)))
    source, _, _ = quality(lambda tokens: as_floats(score(TINY, tokens)))
    print(f"mean KL {kl:.6f} (its source {source:.6f}), top-1 {sum(agrees)}/{len(agrees)}")
    if kl > KL_LIMIT:
        sys.exit(f"mean KL divergence {kl:.6f} is above {KL_LIMIT}")
    done = subprocess.run([sys.executable, os.path.join(GOLDEN, "check_questions.py"), out, "1.0"], timeout=1200)
    sys.exit(done.returncode)


CHECKS = {name[len("check_"):]: check for name, check in list(globals().items()) if name.startswith("check_")}
with tempfile.TemporaryDirectory() as place_for_all:
    CHECKS[sys.argv[1]](place_for_all)
