#!/usr/bin/env python3
"""What the doctor says of the machines in machines/: each file holds a machine's /proc and /sys, and what is to be found in them.
The doctor and deploy/host/essaim-host-tuning read the same settings as well or badly set."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

BUILD, SOURCE = pathlib.Path(os.environ["ESSAIM_BUILD"]), pathlib.Path(os.environ["ESSAIM_SOURCE"])
TUNING = SOURCE / "deploy/host/essaim-host-tuning"


def unpack(text, root):
    """Makes the machine's files below root; gives what is expected of them."""
    expected = []
    for part in text.split("\n== ")[1:]:
        name, content = part.split("\n", 1)
        if name == "expected":
            expected = content.splitlines()
            continue
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.replace("\\x1b", "\x1b") + "\n", encoding="utf-8")
    return expected


def compare(name, root, expected):
    run = subprocess.run([BUILD / "essaim", "doctor", "--root", root, "--json"], capture_output=True, text=True, check=False)
    if run.returncode not in (0, 3):
        return [f"{name}: exit code {run.returncode}: {run.stderr}"]
    findings = {f["id"]: f for f in json.loads(run.stdout)["findings"]}
    complaints = []
    for line in expected:
        key, state, value = line.split(" ", 2)
        found = findings.get(key)
        if found is None or found["state"] != state or not found["value"].startswith(value):
            complaints.append(f"{name}: expected \"{line}\", found {found}")
    for found in findings.values():
        if found["state"] in ("warn", "bad") and not (found.get("mend") and found.get("cost")) and not found["id"].startswith("card."):
            complaints.append(f"{name}: {found['id']} does not say what it costs and how to mend it")
        if any(ord(c) < 32 or ord(c) > 126 for c in found["value"]):
            complaints.append(f"{name}: {found['id']} prints what it read")
    bad = any(f["state"] == "bad" for f in findings.values())
    if run.returncode != (3 if bad else 0):
        complaints.append(f"{name}: exit code {run.returncode}")
    return complaints + compare_tuning(name, root, findings)


def compare_tuning(name, root, findings):
    """The script's opinion of every setting is the doctor's; governors, one line a core there, are one finding here."""
    said = subprocess.run([TUNING, "check"], env={**os.environ, "ESSAIM_ROOT": str(root)}, capture_output=True, text=True, check=False).stdout
    complaints, settings, governors = [], set(), set()
    for line in said.splitlines():
        word, path = line.split()[:2]
        if "scaling_governor" in path:
            governors.add(word == "ok")
            continue
        setting = path.removeprefix("/proc/sys/").replace("/", ".") if path.startswith("/proc") else path.split("/")[-2]
        settings.add(f"setting.{setting}")
        found = findings.get(f"setting.{setting}")
        if found is None or (found["state"] == "ok") != (word == "ok"):
            complaints.append(f"{name}: essaim-host-tuning says \"{line}\", the doctor {found}")
    for key in findings:
        if key.startswith("setting.") and key not in settings:
            complaints.append(f"{name}: essaim-host-tuning does not know {key}")
    if governors and (findings["cpu.governor"]["state"] == "ok") != (governors == {True}):
        complaints.append(f"{name}: essaim-host-tuning and the doctor differ about governors")
    return complaints


def main():
    complaints = []
    files = sorted((SOURCE / "tests/doctor/machines").glob("*.txt"))
    if len(files) < 4:
        sys.exit(f"only {len(files)} machines found")
    for file in files:
        with tempfile.TemporaryDirectory() as folder:
            expected = unpack(file.read_text(encoding="utf-8"), pathlib.Path(folder))
            complaints += compare(file.stem, folder, expected) if expected else [f"{file}: expects nothing"]
    sys.exit("\n".join(complaints) or 0)


if __name__ == "__main__":
    main()
