#!/usr/bin/env python3
"""essaim doctor over a cable of known delay and rate: the round trip and the throughput it tells are those of the cable.

And with eight machines: each is told apart, the slow, the absent and the one that refuses, in one run of bounded length."""
import json
import os
import subprocess
import sys
import tempfile
import time

import lan

ESSAIM, NODE, CABLE = (os.path.join(os.environ["ESSAIM_BUILD"], name) for name in ("essaim", "essaim-expert-node", "tests/cable"))
MODEL = os.path.join(os.environ["ESSAIM_SOURCE"], "models/tiny-r1")
DELAY_US, RATE_KBIT, FRAME_SHARE = 2000, 50000, 1448 / 1514  # of a full frame what TCP carries


def measure(here, there, folder):
    key = open(f"{folder}/there.key.pub", encoding="utf-8").read().strip()
    run = subprocess.run(here.command(ESSAIM, "doctor", "--json", "--keys", f"{folder}/here.key", "--peer", f"{there.address}:5720,{key}", "--save",
                                      f"{folder}/machines.json"), capture_output=True, text=True, timeout=100, check=False)
    if run.returncode:
        sys.exit(f"exit code {run.returncode}: {run.stdout}{run.stderr}")
    answer = json.loads(run.stdout)
    with open(f"{folder}/machines.json", encoding="utf-8") as file:
        return answer["links"][0], {f["id"].split(".")[-1]: f for f in answer["findings"] if f["id"].startswith("link.")}, json.load(file)["machines"]


def check(folder, complaints):
    here, there = lan.Host(1), lan.Host(2, CABLE)
    for name in ("here", "there"):
        subprocess.run([ESSAIM, "keygen", f"{folder}/{name}.key"], check=True, capture_output=True)
    server = subprocess.Popen(there.command(ESSAIM, "doctor", "--quick", "--serve", "--listen", f"{there.address}:5720", "--keys", f"{folder}/there.key",
                                            "--allow", f"{folder}/here.key.pub"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while "answers at" not in server.stderr.readline():
        if server.poll() is not None:
            sys.exit("the doctor that serves has ended")
    there.link(f"delay_us={DELAY_US} rate_kbit={RATE_KBIT}")
    link, findings, machines = measure(here, there, folder)
    wanted = {"round_trip_us": (2 * DELAY_US, 1.25), "network_us": (2 * DELAY_US, 1.25)}
    for way in ("there_gbit_per_s", "back_gbit_per_s"):
        wanted[way] = (RATE_KBIT * 1e-6 * FRAME_SHARE, 1.1)
    for name, (value, factor) in wanted.items():
        print(f"{name}: {link[name]:.4g}, the cable's {value:.4g}")
        if not value / factor <= link[name] <= value * factor:
            complaints.append(f"{name} is {link[name]}, the cable's {value}")
    for name in ("round_trip", "throughput"):  # what it costs depends on the machine's own speed too
        if findings[name]["state"] == "bad" or "tokens/s" not in findings[name].get("cost", ""):
            complaints.append(f"{name}: {findings[name]}")
    if machines[0].get("nic_gbit_per_s", 0) > 0.06 or not 3000 < machines[0].get("round_trip_us", 0) < 6000:
        complaints.append(f"saved: {machines[0]}")
    server.terminate()
    if server.wait(10):
        complaints.append(f"the doctor that serves ended with {server.returncode}")
    for host in (there, here):
        host.close()


def start_node(host, name, folder):
    subprocess.run([ESSAIM, "keygen", f"{folder}/{name}.key"], check=True, capture_output=True)
    allowed = f"{folder}/{'here' if name != 'n7' else 'n1'}.key.pub"
    reader, writer = os.pipe()
    node = subprocess.Popen(host.command(NODE, "--model", MODEL, "--part", "none", "--name", name, "--listen", "0.0.0.0:5700", "--threads", "1", "--keys",
                                         f"{folder}/{name}.key", "--allow", allowed, "--ready-fd", str(writer)), pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as ready:
        if not ready.readline():
            sys.exit(f"{name} has ended")
    return node


def check_eight(folder, complaints):
    """n1 has a slow cable, n7 does not know our key, n8 is switched off."""
    here, hosts = lan.Host(11), [lan.Host(12 + i, CABLE if i == 0 else None) for i in range(8)]
    subprocess.run([ESSAIM, "keygen", f"{folder}/n8.key"], check=True, capture_output=True)
    nodes = [start_node(host, f"n{i}", folder) for i, host in enumerate(hosts[:7], 1)]
    hosts[0].link(f"delay_us={DELAY_US} rate_kbit={RATE_KBIT}")
    with open(f"{folder}/nodes", "w", encoding="utf-8") as file:
        for i, host in enumerate(hosts, 1):
            with open(f"{folder}/n{i}.key.pub", encoding="utf-8") as key:
                print(f"{host.address}:5700 {key.read().strip()}", file=file)
    began = time.monotonic()
    run = subprocess.run(here.command(ESSAIM, "doctor", "--quick", "--nodes", f"{folder}/nodes", "--keys", f"{folder}/here.key", "--save",
                                      f"{folder}/eight.json"), capture_output=True, text=True, timeout=100, check=False)
    print(f"eight machines: {time.monotonic() - began:.1f} s")
    table = {line.split()[0]: line.split()[1:] for line in run.stdout[run.stdout.index("link to"):].splitlines()[1:9]}
    for i, host in enumerate(hosts, 1):
        told = [line.split() for line in run.stdout.splitlines() if f"link.{host.address}:5700." in line]
        bad = [words[1].rsplit(".", 1)[1] for words in told if words[0] == "bad"]
        if bad != (["reach"] if i > 6 else []) or any(words[0] == "ok" for words in told):
            complaints.append(f"n{i}: {told}")
        if table[f"{host.address}:5700"][:1] != ([f"n{i}"] if i <= 6 else ["not"]):
            complaints.append(f"n{i}: {table[f'{host.address}:5700']}")
    if float(table[f"{hosts[0].address}:5700"][1]) < 2 * DELAY_US:
        complaints.append(f"n1 is as near as that? {table}")
    if run.returncode != 3 or run.stderr.count("was not measured and is not in") != 2:
        complaints.append(f"exit code {run.returncode}: {run.stderr}")
    for node in nodes:
        node.terminate()
    if any(node.wait(20) for node in nodes):
        complaints.append("a node did not end well")
    for host in (here, *hosts):
        host.close()


def main():
    reason = lan.missing_rights()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(77)
    lan.enter()
    complaints = []
    with tempfile.TemporaryDirectory() as folder:
        check(folder, complaints)
        check_eight(folder, complaints)
    sys.exit("\n".join(complaints) or 0)


if __name__ == "__main__":
    main()
