#!/usr/bin/env python3
"""Every relative link and anchor of the Markdown files leads somewhere; every page is reachable; headings are in order."""
import pathlib
import re
import subprocess
import sys

root = pathlib.Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def text_of(path):
    """A page without its code."""
    text = re.sub(r"^(```|~~~).*?^\1", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
    text = re.sub(r"^(?: {4}|\t).*$", "", text, flags=re.M)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(path):
    found = set()
    for heading in re.findall(r"^#+ +(.*)$", path.read_text(encoding="utf-8"), flags=re.M):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).lower()).replace(" ", "-")
        found.add(slug)
    return found


def check(path, complaints):
    name = path.relative_to(root)
    text = text_of(path)
    for match in LINK.finditer(text):
        target = match.group(1) or match.group(2)
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists():
            complaints.append(f"{name}: {target} leads nowhere")
        elif anchor and there.suffix == ".md" and anchor not in anchors(there):
            complaints.append(f"{name}: {target}: no such heading")
    levels = [len(h) for h in re.findall(r"^(#+) ", text, flags=re.M)]
    if levels[:1] != [1] or levels.count(1) != 1:
        complaints.append(f"{name}: begins with one title")
    if any(b > a + 1 for a, b in zip(levels, levels[1:])):
        complaints.append(f"{name}: a heading skips a level")
    if re.search(r"[ \t]+$", path.read_text(encoding="utf-8"), flags=re.M):
        complaints.append(f"{name}: spaces at a line's end")


def main():
    tracked = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard", "*.md"], check=True, capture_output=True, text=True).stdout.split()
    complaints = []
    for name in tracked:
        if not name.startswith("tests/") and (root / name).exists():
            check(root / name, complaints)
    print("\n".join(complaints), end="\n" if complaints else "")
    sys.exit(1 if complaints else 0)


main()
