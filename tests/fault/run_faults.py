#!/usr/bin/env python3
"""Faults while requests flow, each with its figures: tests/fault/README.md says how to run and read it."""
import argparse
import json
import signal
import sys
import time

import capture
import lan


def all_cases():
    """(kind, case), by row; kind "quick": part of the short form, "full": of the long one."""
    import rows_disk
    import rows_fleet
    import rows_many
    import rows_nodes
    import rows_peers
    import rows_wire
    every = [*rows_nodes.cases(), *rows_peers.cases(), *rows_wire.cases(), *rows_many.cases(), *rows_fleet.cases(), *rows_disk.cases()]
    return sorted(every, key=lambda entry: first_row(entry[1]))


def first_row(case):
    return int(str(case.row).split(",", maxsplit=1)[0])


def rows_of(case):
    return {int(row) for row in str(case.row).split(",")}


def expected_answers():
    """Each prompt's answer from a swarm that nothing happens to."""
    from case import SINGLE
    from load import PROMPTS, ask
    from swarm import Swarm, folder
    with folder() as path:
        swarm = Swarm(path, SINGLE)
        try:
            return {prompt: ask(swarm.host.address, prompt) for prompt in PROMPTS}
        finally:
            swarm.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only the short form")
    parser.add_argument("--rows", default="", help="only these rows of the list, 1,3,5")
    parser.add_argument("--repeat", type=int, default=1, help="each this often")
    parser.add_argument("--markdown", action="store_true", help="a row of docs/faults.md for each, instead of lines for people")
    parser.add_argument("--json", help="write the figures to this file")
    args = parser.parse_args()
    problem = lan.missing_rights() or capture.missing()
    if problem:
        print(f"fault tests are skipped: {problem}")
        return 77
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that swarms end with us
    lan.enter()
    from case import Case, line_of, row_of
    if args.quick:
        Case.before, Case.after = 1.2, 1.0
    expected = expected_answers()
    rows = {int(row) for row in args.rows.split(",") if row}
    results = []
    for _ in range(args.repeat):
        for kind, case in all_cases():
            # What runs one after another in the short form, or for a shorter time, runs by itself in the long one.
            short_only = "," in str(case.row) or case.row == 0
            if (kind == "quick") != args.quick if short_only else args.quick and kind != "quick":
                continue
            if rows and not rows & rows_of(case):
                continue
            began = time.monotonic()
            results.append(case.run(expected))
            results[-1]["took_s"] = round(time.monotonic() - began, 1)
            print((row_of if args.markdown else line_of)(results[-1]), flush=True)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
    return 1 if any(result["problems"] for result in results) or not results else 0


if __name__ == "__main__":
    sys.exit(main())
