#!/usr/bin/env python3
"""essaim doctor against an expert node with keys and a doctor that serves: findings, exit codes, and a file that essaim plan reads."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

BUILD, SOURCE = pathlib.Path(os.environ["ESSAIM_BUILD"]), pathlib.Path(os.environ["ESSAIM_SOURCE"])
MODEL = str(SOURCE / "models/tiny-r1")


def essaim(*words, code=0):
    run = subprocess.run([str(BUILD / "essaim"), *words], capture_output=True, text=True, timeout=60, check=False)
    if run.returncode != code:
        sys.exit(f"essaim {' '.join(words)}: exit code {run.returncode}, not {code}\n{run.stdout}{run.stderr}")
    return run.stdout


def start(words, said, stream):
    """A program that says a line when it can be used; gives it and the word behind `said` in that line."""
    process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while True:
        line = getattr(process, stream).readline()
        if said in line:
            return process, line.split(said)[1].split()[0].removeprefix("tcp://")
        if not line:
            sys.exit(f"{words[0]} ended: {process.communicate()}")


def main():
    os.chdir(sys.argv[1])
    os.mkdir("empty")
    for name in ("head", "node"):
        essaim("keygen", f"{name}.key")
    pathlib.Path("allow").write_text(pathlib.Path("head.key.pub").read_text(encoding="utf-8"), encoding="utf-8")
    node, at = start([BUILD / "essaim-expert-node", "--model", MODEL, "--listen", "127.0.0.1:0", "--keys", "node.key", "--allow", "allow",
                      "--threads", "1", "--name", "n1"], "control=", "stdout")
    helper, other = start([BUILD / "essaim", "doctor", "--quick", "--serve", "--listen", "127.0.0.1:0", "--name", "n2", "--keys", "node.key",
                           "--allow", "allow"], "answers at ", "stderr")
    try:
        key = pathlib.Path("node.key.pub").read_text(encoding="utf-8").strip()
        pathlib.Path("nodes").write_text(f"# both\n{at} {key}\n{other} {key}\n", encoding="utf-8")
        told = essaim("doctor", "--quick", "--json", "--shard", MODEL, "--nodes", "nodes", "--keys", "head.key", "--name", "head", "--save", "machines.json")
        answer = json.loads(told)
        findings = {f["id"]: f for f in answer["findings"]}
        assert [(link["name"], link["measured"]) for link in answer["links"]] == [("n1", True), ("n2", True)], answer["links"]
        for link in answer["links"]:
            assert 0 < link["round_trip_us"] < 1e5 and link["there_gbit_per_s"] > 0.01 and link["back_gbit_per_s"] > 0.01, link
        for wanted in ("memory.read", "cpu.int8", "cpu.float", "cpu.encrypt", "cpu.kernels", "memory.free", "limits.files", "disk.read"):
            assert wanted in findings, wanted
        assert findings[f"link.{at}.model"]["state"] == "ok", findings[f"link.{at}.model"]
        assert answer["bad"] == 0, [f for f in answer["findings"] if f["state"] == "bad"]
        secret = pathlib.Path("head.key").read_text(encoding="utf-8").strip()
        assert secret not in told and key not in told

        machines = json.loads(pathlib.Path("machines.json").read_text(encoding="utf-8"))["machines"]
        assert [m["name"] for m in machines] == ["head", "n2"] and machines[1]["host"] == "head", machines
        assert [m.get("role") for m in machines] == ["coordinator", None], machines
        assert "int8_gop_per_s" in machines[1] and "nic_gbit_per_s" not in machines[1], machines  # loopback is no cable
        plan = json.loads(essaim("plan", "--machines", "machines.json", "--model", MODEL, "--format", "bf16", "--json"))
        assert plan["fits"] and len(plan["machines"]) == 2, plan

        # Of shards it says what the kernels reach of this machine with them.
        essaim("shard", "--model", MODEL, "--out", "cut", "--nodes", "2", "--format", "q8_0", "--quiet")
        essaim("doctor", "--quick", "--shard", "cut/experts-01-of-02.shard", "--save", "one.json")
        one = json.loads(pathlib.Path("one.json").read_text(encoding="utf-8"))
        assert 0 < one["read_shares"]["q8_0"] <= 1, one
        # Of a model as small as this, 64 rows may take no longer than one on a loaded machine: then nothing is known of multiplying.
        assert 0 < one.get("multiply_shares", {"q8_0": 1})["q8_0"] <= 1, one

        # Nobody there, and one who does not know us: both are bad, each by its name.
        wrong = json.loads(essaim("doctor", "--quick", "--json", "--root", "empty", "--peer", "127.0.0.1:1", "--peer", f"{at},{key}", "--keys", "node.key", code=3))
        states = {f["id"]: f["value"] for f in wrong["findings"] if f["state"] == "bad"}
        assert sorted(states) == sorted(["link.127.0.0.1:1.reach", f"link.{at}.reach"]) and "--allow" in states[f"link.{at}.reach"], states
        essaim("doctor", "--serve", "--keys", "node.key", code=2)
    finally:
        for process in (node, helper):
            process.terminate()
            if process.wait(10) != 0:
                sys.exit(f"ended with {process.returncode}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sys.argv[1:] = [folder]
        main()
