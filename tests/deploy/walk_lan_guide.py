#!/usr/bin/env python3
"""walk_lan_guide.py PACKAGE.deb [PAGE …]: follows docs/lan-guide.md word by word on five machines (machines.py), head and node1 to node4, then
docs/operations.md in the same shells, with node5 as the machine that comes later.

The pages themselves are the script. In their indented blocks a line "NAME# COMMAND" is typed on that machine, "all#" on every one, "nodeN#" on each
node with its number for N; the lines that follow are what it answers, where … stands for anything and {N} for a number. What a command
answers beyond that, or otherwise, is a failure, and so is an exit code other than 0.
"""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import machines

NAMES = ["head", "node1", "node2", "node3", "node4"]
LATER = "node5"
PAGES = [os.path.join(machines.SOURCE, "docs", page) for page in ("lan-guide.md", "operations.md")]
PROMPT = re.compile(r"^ {4,}(head|node[1-5N]|all)# (.*)$")


class Session:
    """A root shell on a machine that goes on from command to command, as a person's does."""

    def __init__(self, machine):
        self.machine, self.count = machine, 0
        self.shell = subprocess.Popen(machine.command("/bin/bash", "--noprofile", "--norc"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, text=True)

    def type(self, command, seconds=120):
        """What it printed, and its exit code."""
        self.count += 1
        end = f"end-of-command-{self.count}"
        self.shell.stdin.write(f"{command}\nprintf '\\n%s %s\\n' {end} $?\n")
        self.shell.stdin.flush()
        lines, alarm = [], threading.Timer(seconds, self.shell.kill)
        alarm.start()
        for line in self.shell.stdout:
            if line.startswith(end):
                alarm.cancel()
                text = "".join(lines)
                return text[:-1] if text.endswith("\n") else text, int(line.split()[1])
            lines.append(line)
        sys.exit(f"{self.machine.name}# {command}\nnot over after {seconds} s: {''.join(lines)}")

    def close(self):
        self.shell.kill()
        self.shell.communicate()


def steps_of(text):
    """[(line number, machine, command, [expected lines])] of a page."""
    steps, open_step = [], None
    for number, line in enumerate(text.splitlines(), 1):
        found = PROMPT.match(line)
        if found:
            open_step = (number, found.group(1), found.group(2), [])
            steps.append(open_step)
        elif open_step and line.startswith("    "):
            open_step[3].append(line.strip())
        elif line.strip():
            open_step = None
    return steps


def matches(expected, said):
    """expected: the page's lines; said: what was printed."""
    pattern = re.escape(expected).replace("…", ".*").replace(re.escape("{N}"), r"[0-9.]+")
    said = "\n".join(line.strip() for line in said.splitlines() if line.strip())
    return re.fullmatch(pattern, said, flags=re.S) is not None


def take(page, session, name, number, where, command, expected):
    """One step on one machine; what is wrong with it, or None."""
    typed, answer = command, "\n".join(expected)
    if where == "nodeN":
        typed, answer = (re.sub(r"nodeN|(?<![A-Z{])N(?![A-Z}])", lambda m: m.group().replace("N", name[-1]), text) for text in (typed, answer))
    began = time.monotonic()
    said, code = session.type(typed)
    print(f"{name}# {typed}   ({time.monotonic() - began:.1f} s)", flush=True)
    if code or not matches(answer, said):
        return f"{os.path.basename(page)}:{number}: on {name}: exit code {code}; it said:\n{said}\nand the page:\n{answer}"
    return None


def walk(sessions, page):
    with open(page, encoding="utf-8") as file:
        steps = steps_of(file.read())
    if len(steps) < 10:
        sys.exit(f"{page}: {len(steps)} commands: that is no guide")
    for step in steps:
        where = step[1]
        names = NAMES if where == "all" else NAMES[1:] if where == "nodeN" else [where]
        with concurrent.futures.ThreadPoolExecutor(len(names)) as together:
            for why in together.map(lambda name: take(page, sessions[name], name, *step), names):
                if why:
                    sys.exit(why)
    return len(steps)


def prepare(lan, package):
    """What the pages say their reader has: the package on each machine, a later one on head, and a login from head to the others."""
    for machine in lan.machines.values():
        shutil.copy(package, machine.path("/root/"))
    head = lan["head"]
    with tempfile.TemporaryDirectory(prefix="essaim-later-") as folder:
        shutil.copy(machines.later_version(package, folder), head.path("/root/essaim_NEW.deb"))
    shutil.copy(os.path.join(machines.FOLDER, "ssh_key"), head.path("/root/.ssh/id_ed25519"))
    head.run(f"chmod 0600 .ssh/id_ed25519; ssh-keyscan -t ed25519 {' '.join([*NAMES[1:], LATER])} >.ssh/known_hosts 2>/dev/null")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    why = machines.missing_rights()
    if why:
        sys.exit(f"walk_lan_guide: {why}")
    package, pages, names = os.path.abspath(sys.argv[1]), sys.argv[2:] or PAGES, [*NAMES, LATER]
    with machines.Lan(names, package) as lan:
        prepare(lan, package)
        sessions = {name: Session(lan[name]) for name in names}
        try:
            count = sum(walk(sessions, page) for page in pages)
        finally:
            for session in sessions.values():
                session.close()
    print(f"ok: {count} commands of {len(pages)} page{'s' if len(pages) > 1 else ''}, on {len(names)} machines, answered as they say")


main()
