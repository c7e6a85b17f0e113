#!/usr/bin/env python3
"""Every command that `./dev help` lists can be chosen, and every function that does one is there."""
import pathlib
import re
import sys


def main():
    text = (pathlib.Path(sys.argv[1]) / "dev").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\./dev ([a-z-]+)", text, re.MULTILINE))
    chosen = {word for words in re.findall(r"^([a-z| -]+)\)", text, re.MULTILINE) for word in words.split(" | ")}
    missing = set(re.findall(r"\bdo_\w+", text)) - set(re.findall(r"^(\w+)\(\) \{", text, re.MULTILINE))
    problems = [f"./dev {word} is listed and cannot be chosen" for word in sorted(listed - chosen)]
    problems += [f"dev: there is no function {name}" for name in sorted(missing)]
    if len(listed) < 10:
        problems.append("./dev help lists hardly anything: is this the file?")
    sys.exit("\n".join(problems) or 0)


if __name__ == "__main__":
    main()
