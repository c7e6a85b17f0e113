#!/usr/bin/env python3
"""Every option that deploy/ and the pages give our programs exists; the table of ports, the firewall and the manifests name the same ports.

ESSAIM_BUILD names the folder of the programs.
"""
import functools
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ["ESSAIM_BUILD"])
# Files that hold options of one program and do not say which.
WHOSE = {"coordinator.env.j2": "essaim-coordinator", "expert-node.env.j2": "essaim-expert-node"}
PROGRAM = re.compile(r"\b(essaim-coordinator|essaim-expert-node)\b|(?<![\w-])essaim(?: +|\", *\")([a-z]+)\b")
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z0-9-]*)(?![\w-])")


@functools.lru_cache(None)
def options_of(program):
    """None for words that are no program of ours."""
    words = program.split()
    if not (BUILD / words[0]).is_file():
        sys.exit(f"{BUILD / words[0]} is missing: ./dev build")
    done = subprocess.run([BUILD / words[0], *words[1:], "--help"], capture_output=True, text=True, check=False)
    return set(OPTION.findall(done.stdout)) if done.returncode == 0 else None


def check_text(name, text, program, complaints):
    """Options belong to the program named last before them, on the way down the file."""
    words = sorted([(m.start(), "program", m.group(1) or f"essaim {m.group(2)}") for m in PROGRAM.finditer(text)] +
                   [(m.start(), "option", m.group(1)) for m in OPTION.finditer(text)])
    for _, kind, word in words:
        if kind == "program":
            program = word if options_of(word) is not None else program
        elif program and word not in options_of(program):
            complaints.append(f"{name}: {program} has no option {word}")


def check_options(complaints):
    for folder in ("examples", "container", "kubernetes", "ansible", "systemd"):
        for path in sorted((ROOT / "deploy" / folder).rglob("*")):
            if path.is_file() and path.suffix not in (".md", ".cfg"):
                check_text(path.relative_to(ROOT), re.sub(r"^\s*#.*$", "", path.read_text(encoding="utf-8"), flags=re.M), WHOSE.get(path.name), complaints)
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        # Commands stand on lines of their own; what follows two and more spaces is a remark.
        for line in re.findall(r"^ {4,}((?:sudo )?(?:[\w/]*/)?essaim[ -].*)$", path.read_text(encoding="utf-8"), flags=re.M):
            check_text(path.relative_to(ROOT), line.split("   ")[0], None, complaints)


def ports_of(text):
    return {int(port) for port in re.findall(r"\d+", text)}


def check_ports(complaints):
    rows = re.findall(r"^\| (\d+) \|[^|]*\|[^|]*\| ([^|]*) \|", (ROOT / "docs/ports.md").read_text(encoding="utf-8"), flags=re.M)
    table = {int(port): "clients" if "clients" in who or who == "the same" else "swarm" for port, who in rows}
    firewall = re.sub(r"#.*", "", (ROOT / "deploy/nftables/essaim.nft").read_text(encoding="utf-8"))
    accepted = {}
    for ports, family, who in re.findall(r"tcp dport \{([^}]*)\} (ip6?) saddr @(\w+?)[46] accept", firewall):
        for port in ports_of(ports):
            accepted.setdefault(port, set()).add((who, family))
    dropped = ports_of(re.search(r"tcp dport \{([^}]*)\} counter drop", firewall).group(1))
    if dropped != set(table):
        complaints.append(f"docs/ports.md has {sorted(table)}, the firewall drops {sorted(dropped)}")
    for port, who in table.items():
        if accepted.get(port) != {(who, "ip"), (who, "ip6")}:
            complaints.append(f"port {port} is for {who} in docs/ports.md; the firewall accepts {accepted.get(port)}")
    for file in ("container/Containerfile", "container/compose.yaml", "kubernetes/base/coordinator.yaml", "kubernetes/base/expert-node.yaml"):
        text = (ROOT / "deploy" / file).read_text(encoding="utf-8")
        named = {int(port) for port in re.findall(r"\b(?:containerPort: |0\.0\.0\.0:|port: |-port\", \"|EXPOSE )(\d{4})", text)}
        for port in sorted(named - set(table)):
            complaints.append(f"deploy/{file}: port {port} is not in docs/ports.md")


def main():
    complaints = []
    check_options(complaints)
    check_ports(complaints)
    print("\n".join(complaints), end="\n" if complaints else "")
    sys.exit(1 if complaints else 0)


main()
