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


def machines(folder, names, experts_gb=1):
    path = folder / "machines.json"
    path.write_text(json.dumps({"machines": [
        {"name": name, "memory_gb": 4, "experts_gb": experts_gb, "cores": 2, "read_gb_per_s": 10, "rack": f"r{i % 2}"}
        for i, name in enumerate(names)]}))
    return path


def held(document):
    return {name: sum(r[2] for r in ranges) for name, ranges in document["nodes"].items()}


def check_plan_apply_show(folder):
    registry, first = folder / "registry", folder / "first.json"
    plan = ["plan", "--model", MODEL, "--mode", "stripe", "--copies", "2"]
    text = placement(*plan, "--machines", machines(folder, ["a", "b", "c", "d"]), "--out", first)
    assert "epoch 1.1: stripe, 2 copies" in text and "from nothing" in text, text
    assert "there is no registry here" in placement("apply", first, "--registry", registry, ok=False) and not registry.exists()
    assert "epoch 1.1 is valid" in placement("apply", first, "--registry", registry, "--create")
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


def check_nodes_are_not_taken_away_unawares(folder):
    """node: what only one has is not removed without a word, who is dead is not called ready, and nothing is made where there is nothing."""
    registry, document = folder / "registry", folder / "p.json"
    at = ["--registry", registry]
    for words in (["node", "list"], ["node", "add", "a", "127.0.0.1:1"], ["node", "remove", "a"], ["revoke", "a"]):
        assert f"{registry}: there is no registry here" in run(*words, *at, ok=False) and not registry.exists(), words
    run("keygen", folder / "key")
    assert f"{registry}: there is no registry here" in run("token", "--keys", folder / "key", *at, ok=False) and not registry.exists()
    run("node", "add", "a", "127.0.0.1:1", *at, "--create")
    run("node", "add", "b", "127.0.0.1:2", *at)
    placement("plan", "--model", MODEL, "--mode", "stripe", "--machines", machines(folder, ["a", "b", "c"]), "--out", document)
    placement("apply", document, *at)
    mine = held(json.loads(document.read_text()))
    said = run("node", "remove", "a", *at, ok=False)
    assert f"a has the only copy of {mine['a']} of {sum(mine.values())} experts" in said and "essaim drain" in said and "--force" in said, said
    assert said.count("\n") == 1, said
    # c is named by the placement and not there; a and b were put in and never met
    nodes = {node["name"]: node for node in json.loads(run("node", "list", "--json", *at))["nodes"]}
    assert {name: node["state"] for name, node in nodes.items()} == {"a": "joining", "b": "joining", "c": "lost"}, nodes
    assert "not met yet" in run("node", "list", *at)
    assert nodes["c"]["registered"] is False and nodes["a"]["registered"] and nodes["a"]["seen"] is None
    assert f"a is removed; it had the only copy of {mine['a']} of" in run("node", "remove", "a", *at, "--force")
    assert "no node is called a" in run("node", "remove", "a", *at, ok=False)
    # what others have too goes without a word, and so does what nobody places
    placement("plan", "--model", MODEL, "--copies", "2", *at, "--machines", machines(folder, ["b", "c"]), "--out", document)
    placement("apply", document, *at)
    run("node", "add", "c", "127.0.0.1:3", *at)
    assert run("node", "remove", "c", *at) == "c is removed\n"
    assert "has the only copy of" in run("node", "remove", "b", *at, ok=False)
    assert "--force goes with remove" in run("node", "list", *at, "--force", ok=False)


def check_one_form_for_both_planners(folder):
    """The file that `essaim plan` reads places experts too: the coordinator gets none, hosts are shared, memory is kept."""
    path = folder / "machines.json"
    figures = {"memory_gb": 8, "cores": 4, "read_gb_per_s": 20}
    path.write_text(json.dumps({"machines": [{"name": "head", "role": "coordinator", **figures}, {"name": "n", "count": 2, **figures},
                                             {"name": "twin", "count": 2, "host": "box", **figures}]}))
    assert json.loads(run("plan", "--machines", path, "--model", MODEL, "--format", "bf16", "--json"))["fits"]
    counts = held(json.loads(placement("plan", "--model", MODEL, "--machines", path, "--json")))
    assert sorted(counts) == ["n-1", "n-2", "twin-1", "twin-2"], counts
    assert counts["n-1"] > 1.8 * counts["twin-1"], counts


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
    small = machines(folder, ["a", "b"], experts_gb=1e-6)
    assert "copy of all experts need" in complaint("plan", "--model", MODEL, "--machines", small)
    good = machines(folder, ["a", "b"])
    assert "there are only 2" in complaint("plan", "--model", MODEL, "--machines", good, "--copies", "3")
    assert "have 1 chunks of 256 columns" in complaint(
        "plan", "--model", MODEL, "--machines", good, "--mode", "slice", "--slices", "2")
    assert "show, plan or apply" in complaint("shout")
    nowhere = folder / "no-registry"
    assert "there is no registry here" in complaint("show", "--registry", nowhere) and not nowhere.exists()
    assert "--machines FILE, --registry FOLDER or --etcd URL" in complaint("plan", "--model", MODEL)
    good.write_text('{"machines": [\n{"name": "a", "memory": 1, "bandwidth": 2}]}')
    assert f'{good}: line 2: machine a: write memory_gb, in 10^9 bytes in place of "memory"' in complaint(
        "plan", "--model", MODEL, "--machines", good)
    good.write_text('{"name": "head", "role": "coordinator", "memory_gb": 4, "cores": 2, "read_gb_per_s": 10}')
    assert "none is left for experts" in complaint("plan", "--model", MODEL, "--machines", good)
    done = subprocess.run([ESSAIM, "plan", "--machines", good], capture_output=True, text=True)
    assert done.returncode == 1 and "it does not fit: the coordinator needs" in done.stdout and not done.stderr, done
    done = subprocess.run([ESSAIM, "plan", "--machines", good, "--json"], capture_output=True, text=True)
    assert done.returncode == 1 and json.loads(done.stdout)["why"] in done.stderr, done
    broken = folder / "broken.json"
    broken.write_text('{"format": "essaim-placement", "version": 9}')
    assert "version: this build reads up to 2" in complaint("show", broken)


def main():
    for check in (check_plan_apply_show, check_nodes_are_not_taken_away_unawares, check_one_form_for_both_planners,
                  check_shards_give_checksums, check_refusals):
        with tempfile.TemporaryDirectory() as folder:
            check(pathlib.Path(folder))


if __name__ == "__main__":
    main()
