"""Whatever a request says, exactly one line ends its answer, and every line is whole JSON."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

BUILD, SOURCE = os.environ["ESSAIM_BUILD"], os.environ["ESSAIM_SOURCE"]
TINY = os.path.join(SOURCE, "models", "tiny-r1")

QUESTION = [{"role": "user", "content": "Add 1 and 2."}]
REQUESTS = [
    {"messages": QUESTION, "max_tokens": 2},
    {"messages": [{"role": "user", "content": "\0"}], "max_tokens": 2},
    {"messages": [{"role": "a" * 38 + "\u00e9", "content": ""}]},  # an error that quotes a piece of a name
    {"messages": [{"role": "a" * 39 + "\u00e9", "content": ""}]},  # that piece ends inside a character
    {"messages": [{"role": "\u009b31m", "content": ""}]},
    {"messages": QUESTION, "temperature": "hot"},
    {"messages": []},
]


def answers(model, requests):
    """The lines of a coordinator that is given these requests."""
    lines = [json.dumps({"id": number, **request}, ensure_ascii=False) for number, request in enumerate(requests)]
    done = subprocess.run([os.path.join(BUILD, "essaim-coordinator"), "--model", model, "--context", "64", "--lines"],
                          input="".join(line + "\n" for line in lines).encode(), stdout=subprocess.PIPE, timeout=100, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_every_request_ends():
    first, *rest = answers(TINY, REQUESTS)
    if first["ready"]["model"] != TINY:
        sys.exit(f"ready: {first}")
    for number, request in enumerate(REQUESTS):
        ends = [line for line in rest if line["id"] == number and ("done" in line or "error" in line)]
        if len(ends) != 1:
            sys.exit(f"request {number}, {request}: {len(ends)} ends")
        print(f"request {number}: {ends[0]}")


def check_a_folder_that_is_no_text():
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(os.fsencode(folder), b"model-\xff")
        shutil.copytree(os.fsencode(TINY), model)
        ready = answers(model, [])[0]
        if ready["ready"]["model"] is not None:
            sys.exit(f"ready: {ready}")
        print(f"a folder whose path is not UTF-8: {ready}")


check_every_request_ends()
check_a_folder_that_is_no_text()
