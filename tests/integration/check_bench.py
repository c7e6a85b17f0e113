#!/usr/bin/env python3
"""`essaim bench expert --shard` computes from a mapped shard, beside copies in anonymous memory, and refuses what is none."""
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.environ["ESSAIM_SOURCE"], "tests", "golden"))
from essaim_score import ESSAIM, TINY  # noqa: E402


def bench(*words):
    return subprocess.run([ESSAIM, "bench", "expert", "--experts", "4", "--seconds", "1", *words], capture_output=True, text=True, timeout=60)


with tempfile.TemporaryDirectory() as folder:
    cut = os.path.join(folder, "cut")
    subprocess.run([ESSAIM, "shard", "--model", TINY, "--out", cut, "--nodes", "2", "--format", "q8_0", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    shard = os.path.join(cut, "experts-02-of-02.shard")

    done = bench("--shard", shard, "--rows", "3", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    # tiny-r1: hidden 256, experts 128 wide; q8_0 takes 34 bytes for 32 weights.
    wanted = {"format": "q8_0", "hidden": 256, "intermediate": 128, "experts": 4, "rows": 3, "layer": 1, "bytes_per_pass": 3 * 256 * 128 * 34 // 32}
    assert {key: said[key] for key in wanted} == wanted, said
    assert said["passes"] >= 12 and 0 <= said["warm_share"] <= 1 and 0 <= said["huge_share"] <= 1, said
    ratio = said["ms_per_pass"] / said["anonymous_ms_per_pass"]
    assert abs(said["shard_over_anonymous"] - ratio) < 0.2 * ratio, said

    done = bench("--shard", shard, "--format", "q8_0")
    assert done.returncode == 2 and "leave out --format" in done.stderr, done.stderr
    for path, text in ((os.path.join(cut, "coordinator.shard"), "coordinator.shard"), (os.path.join(TINY, "config.json"), "no shard")):
        done = bench("--shard", path)
        assert done.returncode != 0 and text in done.stderr and done.stderr.count("\n") == 1, done.stderr
