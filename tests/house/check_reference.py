#!/usr/bin/env python3
"""The pages of docs/reference are what the programs say of their options; with --write they are written."""
import os
import pathlib
import subprocess
import sys

BUILD, SOURCE = pathlib.Path(os.environ["ESSAIM_BUILD"]), pathlib.Path(os.environ["ESSAIM_SOURCE"])
PROGRAMS = ("essaim", "essaim-coordinator", "essaim-expert-node")


def main():
    stale = []
    for program in PROGRAMS:
        said = subprocess.run([BUILD / program, "--help-markdown"], capture_output=True, text=True, check=True, timeout=60).stdout
        page = SOURCE / "docs" / "reference" / f"{program}.md"
        if sys.argv[1:] == ["--write"]:
            page.parent.mkdir(exist_ok=True)
            page.write_text(said, encoding="utf-8")
        elif not page.is_file() or page.read_text(encoding="utf-8") != said:
            stale.append(f"{page.relative_to(SOURCE)} is not what {program} says: ./dev reference writes it")
    print("\n".join(stale) or f"{len(PROGRAMS)} pages as the programs say")
    sys.exit(1 if stale else 0)


main()
