#!/usr/bin/env python3
"""`essaim placement`: what plan prints, apply makes valid and show shows, and nothing is swapped that no longer follows."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

BUILD = pathlib.Path(os.environ["ESSAIM_BUILD"])
SOURCE = pathlib.Path(os.environ["ESSAIM_SOURCE"])
ESSAIM = BUILD / "essaim"
MODEL = SOURCE / "models/tiny-r1"


def run(*words, ok=True):
    done = subprocess.run([ESSAIM, *map(str, words)], capture_output=True, text=True, timeout=120)
    if (done.returncode == 0) != ok:
        sys.exit(f"essaim {' '.join(map(str, words))}: code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout if ok else done.stderr


def placement(*words, ok=True):
    return run("placement", *words, ok=ok)


def machines(folder, names, memory=10**9):
    path = folder / "machines.json"
    path.write_text(json.dumps({"machines": [
        {"name": name, "memory": memory, "bandwidth": 10**10, "rack": f"r{i % 2}"} for i, name in enumerate(names)]}))
    return path


def held(document):
    return {name: sum(r[2] for r in ranges) for name, ranges in document["nodes"].items()}


def check_plan_apply_show(folder):
    registry, first = folder / "registry", folder / "first.json"
    plan = ["plan", "--model", MODEL, "--mode", "stripe", "--copies", "2"]
    text = placement(*plan, "--machines", machines(folder, ["a", "b", "c", "d"]), "--out", first)
    assert "epoch 1.1: stripe, 2 copies" in text and "from nothing" in text, text
    assert "epoch 1.1 is valid" in placement("apply", first, "--registry", registry)
    document = json.loads(placement("show", "--json", "--registry", registry))
    assert document == json.loads(first.read_text()), "show is not what was applied"
    counts = held(document)
    assert len(counts) == 4 and max(counts.values()) - min(counts.values()) <= 1, counts
    assert "not there" in placement("show", "--registry", registry)
    # A second plan follows the first, moves only the newcomer's share, and is applied once.
    second = folder / "second.json"
    text = placement(*plan, "--registry", registry, "--machines", machines(folder, ["a", "b", "c", "d", "e"]), "--out", second)
    assert "epoch 1.2" in text and "from 1.1" in text, text
    now = json.loads(second.read_text())
    moved = sum(int(line.split()[1]) for line in text.split("from 1.1")[1].splitlines()[2:7])
    assert held(now)["e"] <= moved <= held(now)["e"] + 4, (moved, held(now), text)
    placement("apply", second, "--registry", registry)
    assert "epoch 1.2 is valid, not 1.1" in placement("apply", second, "--registry", registry, ok=False)
    assert "epoch 1.2 is valid, not 0.0" in placement("apply", first, "--registry", registry, ok=False)
    placement(*plan, "--registry", registry, "--machines", machines(folder, ["a", "b"]), "--new-generation", "--out", second)
    assert "epoch 2.1 is valid" in placement("apply", second, "--registry", registry, "--replaces", "1.2")


def check_shards_give_checksums(folder):
    shards, out = folder / "shards", folder / "p.json"
    run("shard", "--model", MODEL, "--out", shards, "--nodes", "2")
    placement("plan", "--model", shards, "--machines", machines(folder, ["a", "b"]), "--out", out)
    document = json.loads(out.read_text())
    assert sorted(document["sums"], key=int) == [str(layer) for layer in document["layers"]]
    assert "checksums of all experts" in placement("show", out)
    # The same model, cut or not, has the same fingerprint: a placement fits both.
    placement("plan", "--model", MODEL, out, "--machines", machines(folder, ["a", "b"]))


def check_refusals(folder):
    def complaint(*words):
        return placement(*words, ok=False)
    small = machines(folder, ["a", "b"], memory=1000)
    assert "copy of all experts need" in complaint("plan", "--model", MODEL, "--machines", small)
    good = machines(folder, ["a", "b"])
    assert "there are only 2" in complaint("plan", "--model", MODEL, "--machines", good, "--copies", "3")
    assert "have 1 chunks of 256 columns" in complaint(
        "plan", "--model", MODEL, "--machines", good, "--mode", "slice", "--slices", "2")
    assert "show, plan or apply" in complaint("shout")
    nowhere = folder / "no-registry"
    assert "there is no registry here" in complaint("show", "--registry", nowhere) and not nowhere.exists()
    assert "--machines FILE, --registry FOLDER or --etcd URL" in complaint("plan", "--model", MODEL)
    good.write_text('{"machines": [{"name": "a", "memory": 1, "colour": "red"}]}')
    assert "colour: not known" in complaint("plan", "--model", MODEL, "--machines", good)
    broken = folder / "broken.json"
    broken.write_text('{"format": "essaim-placement", "version": 9}')
    assert "version: this build reads up to 2" in complaint("show", broken)


def main():
    for check in (check_plan_apply_show, check_shards_give_checksums, check_refusals):
        with tempfile.TemporaryDirectory() as folder:
            check(pathlib.Path(folder))


if __name__ == "__main__":
    main()
