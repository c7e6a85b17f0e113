"""essaim-coordinator's JSON lines are what docs/coordinator-lines.md says, and no line of input ends it."""
import json
import os
import signal
import subprocess
import sys
import time

BUILD, SOURCE = os.environ["ESSAIM_BUILD"], os.environ["ESSAIM_SOURCE"]
TINY = os.path.join(SOURCE, "models", "tiny-r1")
ASK = [{"role": "user", "content": "Add 15 and 27."}]

# (a line, the status and a part of the message of its error line)
BAD = [
    ("{", "invalid", "not JSON"),
    ("[1]", "invalid", "not a JSON object"),
    ('{"id": 1, "id": 2}', "invalid", "not JSON"),
    ('{"id": 5}', "invalid", "messages: not an array"),
    ('{"id": 5, "messages": [{"role": "nobody", "content": "x"}]}', None, "nobody"),
    (json.dumps({"id": 5, "messages": ASK, "temperature": -1}), "invalid", "temperature"),
    (json.dumps({"id": 5, "messages": ASK, "top_p": 0}), "invalid", "top_p"),
    (json.dumps({"id": 5, "messages": ASK, "max_tokens": "many"}), "invalid", "max_tokens"),
    (json.dumps({"id": 5, "messages": [{"role": "user", "content": "word " * 4000}]}), "invalid", "context"),
]


class Coordinator:
    def __init__(self):
        self.process = subprocess.Popen([os.path.join(BUILD, "essaim-coordinator"), "--model", TINY, "--lines"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def next(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"the coordinator ended: {self.process.stderr.read()}")
        return json.loads(line)

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self, request):
        """All events of one request; the last is done or error."""
        self.say(json.dumps(request))
        events = [self.next()]
        while "done" not in events[-1] and "error" not in events[-1]:
            events.append(self.next())
        return events


def expect(holds, what):
    if not holds:
        sys.exit(f"wrong: {what}")


def check_ready(coordinator):
    ready = coordinator.next()
    expect(ready["id"] is None and ready["ready"]["nodes"] == 0 and ready["ready"]["context"] > 0, ready)


def check_bad_lines(coordinator):
    for line, status, message in BAD:
        coordinator.say(line)
        event = coordinator.next()
        expect("error" in event, f"{line[:80]}: {event}")
        expect(status in (None, event["error"]["status"]) and message in event["error"]["message"], f"{line[:80]}: {event}")
        expect(event["id"] == (5 if '"id": 5' in line else None), f"{line[:80]}: {event}")


def check_answers(coordinator):
    coordinator.say("")  # an empty line is no request
    for identity in (7, "seven", None, {"a": [1]}):
        events = coordinator.answer({"id": identity, "messages": ASK})
        expect(all(event["id"] == identity for event in events), events[0])
        done = events[-1]["done"]
        expect(done["finish"] == "stop" and done["completion_tokens"] > 0, done)
        expect("".join(event.get("content", "") for event in events).endswith("= 42"), events)
        expect(any("reasoning" in event for event in events), "no reasoning")
    expect(done["cached_tokens"] == done["prompt_tokens"] - 1, done)
    done = coordinator.answer({"id": 1, "messages": ASK, "max_tokens": 3})[-1]["done"]
    expect(done["finish"] == "length" and done["completion_tokens"] == 3, done)


def check_signals(coordinator):
    """SIGINT cuts an answer short and, from a pipe, nothing else; SIGTERM ends the program."""
    coordinator.say(json.dumps({"id": 9, "messages": ASK, "temperature": 5, "seed": 3}))
    coordinator.next()
    coordinator.process.send_signal(signal.SIGINT)
    event = coordinator.next()
    while "done" not in event:
        event = coordinator.next()
    expect(event["done"]["finish"] == "cancelled", event)
    check_answers(coordinator)
    coordinator.process.send_signal(signal.SIGINT)  # for the answer that just ended
    time.sleep(0.3)
    check_answers(coordinator)
    coordinator.process.send_signal(signal.SIGTERM)
    expect(coordinator.process.wait(20) == 0, coordinator.process.returncode)


def check_end():
    coordinator = Coordinator()
    check_ready(coordinator)
    coordinator.process.stdin.close()
    expect(coordinator.process.wait(20) == 0, coordinator.process.returncode)


subject = Coordinator()
check_ready(subject)
check_bad_lines(subject)
check_answers(subject)
check_signals(subject)
check_end()
