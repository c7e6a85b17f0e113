#!/usr/bin/env python3
"""essaim doctor over a cable of known delay and rate: the round trip and the throughput it tells are those of the cable."""
import json
import os
import subprocess
import sys
import tempfile

import lan

ESSAIM, CABLE = (os.path.join(os.environ["ESSAIM_BUILD"], name) for name in ("essaim", "tests/cable"))
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


def main():
    reason = lan.missing_rights()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(77)
    lan.enter()
    complaints = []
    with tempfile.TemporaryDirectory() as folder:
        check(folder, complaints)
    sys.exit("\n".join(complaints) or 0)


if __name__ == "__main__":
    main()
