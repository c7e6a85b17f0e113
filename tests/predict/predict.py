#!/usr/bin/env python3
"""predict.py [--only 1,4] [--json FILE]: predicted beside measured tokens/s, for formats, node counts and links.

Synthetic models (made once, in build/predict) on two machines of one core each: the coordinator on this machine's first core, all nodes on
its second one. `essaim plan` knows of them what `essaim doctor --save` wrote on each core, with the very shards and over the very link, in
turns with what its answer is held against: the median step of `essaim score --step 1`, a decoding of one stream. Of some turns the quickest
count, on both sides. Needs root, and a machine that does nothing else; about six minutes. Exits with 1 when a prediction is more than 15 % off.
"""
import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.abspath(os.path.join(HERE, "..", ".."))
os.environ.setdefault("ESSAIM_SOURCE", SOURCE)
os.environ.setdefault("ESSAIM_BUILD", os.path.join(SOURCE, "build", "release"))
sys.path.insert(0, os.path.join(HERE, "..", "fault"))
import lan  # noqa: E402
from swarm import Process, program  # noqa: E402

MODELS = os.path.join(SOURCE, "build", "predict")
SHARDS, TOKENS, TURNS, WANTED = 4, 24, 3, 0.15
HIDDEN, INTERMEDIATE, VOCABULARY = 4096, 2048, 8192
SHAPE = {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": HIDDEN, "intermediate_size": 8192,
         "moe_intermediate_size": INTERMEDIATE, "num_hidden_layers": 4, "first_k_dense_replace": 1, "moe_layer_freq": 1, "num_attention_heads": 32,
         "num_key_value_heads": 32, "q_lora_rank": 1024, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
         "n_routed_experts": 24, "num_experts_per_tok": 6, "n_shared_experts": 1, "n_group": 4, "topk_group": 2, "scoring_func": "sigmoid",
         "topk_method": "noaux_tc", "norm_topk_prob": True, "routed_scaling_factor": 2.5, "vocab_size": VOCABULARY, "max_position_embeddings": 4096,
         "rope_theta": 10000, "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 1,
         "num_nextn_predict_layers": 0}
# A virtual cable's own speed, as good as none.
UNSHAPED = 40000
# Format, nodes, the coordinator's link: Mbit/s and delay each way in us.
CONFIGURATIONS = [("fp8", 1, UNSHAPED, 0), ("fp8", 4, UNSHAPED, 0), ("fp8", 2, 100, 0), ("q8_0", 1, 1000, 0), ("q8_0", 2, UNSHAPED, 0),
                  ("q8_0", 4, 100, 0), ("q8_0", 2, 1000, 1000), ("q4_k", 1, UNSHAPED, 0), ("q4_k", 2, 1000, 0), ("q4_k", 4, 100, 0),
                  ("q4_k", 4, 1000, 1000)]


def make_models():
    os.makedirs(MODELS, exist_ok=True)
    config = os.path.join(MODELS, "config.json")
    with open(config, "w", encoding="utf-8") as file:
        json.dump(SHAPE, file)
    for name in sorted({c[0] for c in CONFIGURATIONS}):
        if not os.path.exists(os.path.join(MODELS, name, "config.json")):
            subprocess.run([program("essaim"), "synth", "--config", config, "--out", os.path.join(MODELS, name), "--format", name, "--layout", "shards",
                            "--nodes", str(SHARDS)], check=True)


def shards(kind, first, end):
    """The expert shards first to end of a model, as a program's options."""
    return [word for i in range(first, end) for word in ("--shard", os.path.join(MODELS, kind, f"experts-{i + 1:02}-of-{SHARDS:02}.shard"))]


def products_per_s(machine, kind):
    """Bytes of weights a second that a saved machine multiplies with one row: the quickest of several is the least disturbed."""
    return machine["read_gb_per_s"] * machine["read_shares"][kind]


def predict(folder, kind, nodes, head, node):
    """The whole answer of `essaim plan` about machines as doctors saved them, its first speed. Nodes answer over the head's links."""
    link = {key: head[key] for key in ("nic_gbit_per_s", "round_trip_us")}
    machines = [{**head, "name": "head", "role": "coordinator"}]
    machines += [{**node, **link, "name": f"n{n + 1}", "host": "rack", "role": "experts"} for n in range(nodes)]
    path = os.path.join(folder, "machines.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"machines": machines}, file)
    done = subprocess.run([program("essaim"), "plan", "--model", os.path.join(MODELS, kind), "--format", kind, "--machines", path, "--mode", "group",
                           "--context", str(TOKENS // 2), "--streams", "1", "--json"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["speeds"][0]


class Bench:
    """The LAN: a coordinator's host behind a cable, a host for each node; keys and tokens in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.head = lan.Host(1, program("tests/cable"))
        self.hosts = [lan.Host(10 + n) for n in range(SHARDS)]
        for name in ("head", "node"):
            subprocess.run([program("essaim"), "keygen", self.path(f"{name}.key")], check=True, capture_output=True)
        with open(self.path("tokens.json"), "w", encoding="utf-8") as file:
            json.dump([(7919 * n) % VOCABULARY for n in range(TOKENS)], file)

    def path(self, name):
        return os.path.join(self.folder, name)

    def close(self):
        for host in (self.head, *self.hosts):
            host.close()

    def start_nodes(self, kind, nodes):
        each, started = SHARDS // nodes, []
        for n in range(nodes):
            held = shards(kind, n * each, (n + 1) * each)
            started.append(Process(self.hosts[n], ["taskset", "-c", "1", program("essaim-expert-node"), *held, "--listen", f"{self.hosts[n].address}:5700",
                                                   "--name", f"n{n + 1}", "--threads", "1", "--keys", self.path("node.key"), "--allow",
                                                   self.path("head.key.pub")], self.path(f"n{n}.log")))
        return started

    def addresses(self, nodes):
        with open(self.path("node.key.pub"), encoding="utf-8") as file:
            key = file.read().strip()
        return [f"{self.hosts[n].address}:5700,{key}" for n in range(nodes)]

    def doctor(self, host, core, *words):
        """What the doctor saves of a machine that is one core; its exit code says what it found, not whether it measured."""
        path = self.path(f"machine-{core}.json")
        if os.path.exists(path):
            os.unlink(path)
        done = subprocess.run(host.command("taskset", "-c", str(core), program("essaim"), "doctor", "--quick", "--name", f"core{core}", *words, "--save",
                                           path), capture_output=True, text=True, check=False)
        if done.returncode not in (0, 3):
            sys.exit(f"predict: the doctor: {done.stderr}")
        with open(path, encoding="utf-8") as file:
            return json.load(file)

    def head_machine(self, kind):
        """All nodes are behind the one link that is shaped: the first tells what it is."""
        return self.doctor(self.head, 0, "--shard", os.path.join(MODELS, kind, "coordinator.shard"), "--peer", self.addresses(1)[0], "--keys",
                           self.path("head.key"))

    def node_machine(self, kind):
        return self.doctor(self.hosts[0], 1, *shards(kind, 0, SHARDS))

    def stages_ms(self, kind, nodes):
        words = [word for address in self.addresses(nodes) for word in ("--node", address)]
        command = self.head.command("taskset", "-c", "0", program("essaim"), "score", "--model", os.path.join(MODELS, kind), *words, "--keys",
                                    self.path("head.key"), "--threads", "1", "--step", "1", "--tokens", self.path("tokens.json"), "--json", "--quiet")
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["stages_ms"]

    def run(self, number, turns):
        """One configuration: machines and steps measured in turns. The quickest of each: what a machine shared with others shows of one that is not."""
        kind, nodes, mbit, delay_us = CONFIGURATIONS[number - 1]
        self.head.link("" if mbit == UNSHAPED else f"rate_kbit={mbit * 1000} delay_us={delay_us}")
        running = self.start_nodes(kind, nodes)
        heads, rack, steps = [], [], []
        try:
            self.stages_ms(kind, nodes)  # the nodes' maps get their pages
            for _ in range(turns):
                heads.append(self.head_machine(kind))
                rack.append(self.node_machine(kind))
                steps.append(self.stages_ms(kind, nodes))
        finally:
            for process in running:
                process.kill()
        head, node = (max(machines, key=lambda machine: products_per_s(machine, kind)) for machines in (heads, rack))
        link = {"nic_gbit_per_s": max(m["nic_gbit_per_s"] for m in heads), "round_trip_us": statistics.median(m["round_trip_us"] for m in heads)}
        forecast = predict(self.folder, kind, nodes, {**head, **link}, node)
        stages = min(steps, key=lambda step: step["step"])
        return {"number": number, "format": kind, "nodes": nodes, "mbit_per_s": mbit, "delay_us": delay_us, **link, "predicted": forecast["tokens_per_s"],
                "measured": 1000 / stages["step"], "ratio": forecast["tokens_per_s"] * stages["step"] / 1000, "step": forecast["step"],
                "stages_ms": stages, "all_steps_ms": [step["step"] for step in steps], "heads": heads, "nodes_machine": rack}


def measure(chosen, turns):
    rows = []
    with tempfile.TemporaryDirectory(prefix="essaim-predict-") as folder:
        stage = Bench(folder)
        try:
            for number in chosen:
                rows.append(stage.run(number, turns))
                show(rows[-1])
        finally:
            stage.close()
    return rows


def show(row):
    link = "unshaped" if row["mbit_per_s"] == UNSHAPED else f"{row['mbit_per_s']} Mbit/s" + (f", {row['delay_us'] / 1000:g} ms" if row["delay_us"] else "")
    print(f"| {row['format']} | {row['nodes']} | {link} | {row['round_trip_us']:.0f} us | {row['predicted']:.2f} | {row['measured']:.2f} | {row['ratio']:.2f} |",
          flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="numbers of configurations, 1 to %d" % len(CONFIGURATIONS))
    parser.add_argument("--turns", type=int, default=TURNS, help="of measuring machines and steps, of which the quickest count; %(default)s")
    parser.add_argument("--json", help="write all figures there")
    parser.add_argument("--prepare", action="store_true", help="only make the models")
    options = parser.parse_args()
    chosen = [int(number) for number in options.only.split(",")] if options.only else range(1, len(CONFIGURATIONS) + 1)
    why = lan.missing_rights() or ("two cores are needed" if len(os.sched_getaffinity(0)) < 2 else None)
    if why:
        sys.exit(f"predict: {why}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("predict: ended"))  # so that what was started ends too
    make_models()
    if options.prepare:
        return
    os.sched_setaffinity(0, {0})  # the cable's work is the coordinator's side
    lan.enter()
    print("| format | nodes | link | round trip | predicted | measured | ratio |\n|---|---|---|---|---|---|---|")
    rows = measure(chosen, options.turns)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"when": time.strftime("%Y-%m-%d %H:%M"), "host": socket.gethostname(), "rows": rows}, file, indent=1)
    off = [row["number"] for row in rows if abs(row["ratio"] - 1) > WANTED]
    print(f"\nwithin 15 %: {len(rows) - len(off)} of {len(rows)}" + (f"; beyond: {off}" if off else ""))
    sys.exit(1 if off else 0)


main()
