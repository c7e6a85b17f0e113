#!/usr/bin/env python3
"""Every message that docs/troubleshooting.md quotes is one that a program prints: its fixed words stand in a source in that order."""
import pathlib
import re
import sys

PAGE = "docs/troubleshooting.md"
HEADING = re.compile(r"^#+ `(.+)`$", re.M)


def literals(source):
    """Every string of the sources, neighbours joined as the compiler does."""
    strings = []
    for folder in ("core", "coordinator", "expert-node", "cli"):
        for path in sorted((source / folder).rglob("*.[ch]")):
            text = path.read_text(encoding="utf-8")
            for run in re.finditer(r'"(?:[^"\\\n]|\\.)*"(?:\s*(?:PRI[udx]64\s*)?"(?:[^"\\\n]|\\.)*")*', text):
                pieces = re.findall(r'"((?:[^"\\\n]|\\.)*)"|(PRI[udx]64)', run[0])
                strings.append("".join(piece or "u" for piece, _ in pieces).replace('\\"', '"').replace("%%", "%"))
    return strings


def main():
    source = pathlib.Path(sys.argv[1])
    strings = literals(source)
    messages = HEADING.findall((source / PAGE).read_text(encoding="utf-8"))
    if len(messages) < 15:
        sys.exit(f"{PAGE}: only {len(messages)} messages: is this the page?")
    complaints = []
    for message in messages:
        # "…" stands for what differs from case to case; a conversion of the source's string does.
        words = [re.escape(w.strip(" :")) for w in message.split("…") if w.strip(" :")]
        pattern = re.compile(".*".join(words))
        plain = [re.sub(r"%[-+ #0-9.*]*(?:[hlz]*[diuxXsfgc])", "", s) for s in strings]
        if not any(pattern.search(s) or pattern.search(p) for s, p in zip(strings, plain)):
            complaints.append(f"{PAGE}: no source prints \"{message}\"")
    print("\n".join(complaints) or f"{len(messages)} messages are real")
    sys.exit(1 if complaints else 0)


main()
