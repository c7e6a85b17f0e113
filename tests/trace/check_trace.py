"""A trace of real steps: its shape by the published format, every stage and node in it, and times that add up."""
import json
import os
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "http"))
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))
from check_logs import Node  # noqa: E402
from serving import BUILD, REAL, Server, expect, run_checks  # noqa: E402

ESSAIM = os.path.join(BUILD, "essaim")
with open(os.path.join(os.path.dirname(__file__), "chrome_trace.schema.json"), encoding="utf-8") as schema_file:
    SCHEMA = json.load(schema_file)
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float)}
QUESTION = {"max_tokens": 12, "temperature": 0, "messages": [{"role": "user", "content": "Add 15 and 27."}]}


def fits(value, schema):
    """None, or what is wrong: as much of JSON Schema as ours uses."""
    if "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    if "oneOf" in schema:
        wrong = [fits(value, s) for s in schema["oneOf"]]
        return None if wrong.count(None) == 1 else f"{value}: {wrong}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{value} is not one of {schema['enum']}"
    if "type" in schema and (not isinstance(value, TYPES[schema["type"]]) or isinstance(value, bool)):
        return f"{value} is no {schema['type']}"
    if "minimum" in schema and value < schema["minimum"]:
        return f"{value} is below {schema['minimum']}"
    if isinstance(value, dict):
        known = schema.get("properties", {})
        missing = [k for k in schema.get("required", []) if k not in value]
        odd = [k for k in value if k not in known] if schema.get("additionalProperties", True) is False else []
        wrong = [w for k, v in value.items() if k in known and (w := fits(v, known[k]))]
        return f"{value}: missing {missing}, unknown {odd}, {wrong}" if missing or odd or wrong else None
    if isinstance(value, list):
        return next((w for v in value if (w := fits(v, schema.get("items", {})))), None)
    return None


def check_nesting(events):
    """Spans of one thread are apart or one within the other: the viewer shows nothing else rightly."""
    open_ends = {}
    for e in events:
        ends = open_ends.setdefault((e["pid"], e["tid"]), [])
        while ends and ends[-1] <= e["ts"] + 0.0005:
            ends.pop()
        expect(not ends or e["ts"] + e["dur"] <= ends[-1] + 0.0015, "spans cross", e, ends)
        ends.append(e["ts"] + e["dur"])


def trace(server, *options, code=0):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "trace.json")
        done = subprocess.run([ESSAIM, "trace", "--url", server.url, "--out", path, *options], capture_output=True, text=True,
                              timeout=60, check=False)
        expect(done.returncode == code, done)
        if code:
            return done.stderr, None
        with open(path, encoding="utf-8") as file:
            return done.stdout, json.load(file)


def check_shape():
    """every stage, layer and node is in the trace, nested as the viewer wants it, and the stages make up the step"""
    with Node("--part", "1/2", "--name", "n1") as n1, Node("--part", "2/2", "--name", "n2") as n2:
        with Server("--node", n1.control, "--node", n2.control, program=REAL) as s:
            expect(s.ask("POST", "/v1/chat/completions", QUESTION)[0] == 200, "an answer")
            said, found = trace(s)
            expect(fits(found, SCHEMA) is None, fits(found, SCHEMA))
            expect(fits({"traceEvents": [{"ph": "X"}], "displayTimeUnit": "ms"}, SCHEMA), "the schema refuses something")
            names = {(e["pid"], e["tid"]): e["args"]["name"] for e in found["traceEvents"] if e["ph"] == "M"}
            expect({names[1, 0], names[2, 0], names[3, 0]} == {"coordinator", "node n1", "node n2"}, names)
            events = [e for e in found["traceEvents"] if e["ph"] == "X"]
            expect([e["ts"] for e in events if e["pid"] == 1] == sorted(e["ts"] for e in events if e["pid"] == 1), "in order")
            check_nesting(events)
            stages = {names[1, e["tid"]] for e in events if e["pid"] == 1}
            expect(stages == {"step", "embed", "attention", "router", "dispatch", "shared", "wait", "dense", "combine", "head", "sampling"},
                   stages)
            for e in events:
                expect(e["pid"] != 1 or e["name"] == names[1, e["tid"]], e)
            for process in (2, 3):
                calls = [e for e in events if e["pid"] == process and e["name"] == "call"]
                computed = [e for e in events if e["pid"] == process and e["name"] == "compute"]
                expect({e["args"]["layer"] for e in calls} == {1, 2, 3} and len(calls) == len(computed), process, len(calls))
                expect(0 < sum(e["dur"] for e in computed) < sum(e["dur"] for e in calls), "computing takes time")
            steps = [e for e in events if e["name"] == "step"]
            expect(len(steps) == 12 and steps[0]["args"]["rows"] > 5 and steps[-1]["args"] == {"step": 12, "rows": 1, "answers": 1}, steps)
            parts = sum(e["dur"] for e in events if e["pid"] == 1 and e["name"] != "step")
            whole = sum(e["dur"] for e in steps)
            expect(0.8 * whole < parts <= whole * 1.001, "stages do not make up the steps:", parts, whole)
            for word in ("12 steps of ", "attention", "node n1", "node n2", "layer "):
                expect(word in said, said)
            s.stop()


def check_recording():
    """a recording holds what happens while it goes on, and only that; keys are asked for"""
    with tempfile.TemporaryDirectory() as folder:
        keys = os.path.join(folder, "keys")
        with open(os.open(keys, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
            file.write("alice sk-alice-0000\n")
        with Server("--api-keys", keys, program=REAL) as s:
            own = {"x-api-key": "sk-alice-0000"}
            expect(s.ask("POST", "/v1/chat/completions", QUESTION, own)[0] == 200, "before")
            expect(s.ask("GET", "/cluster/trace")[0] == 401 and "HTTP 401" in trace(s, code=1)[0], "a key")
            for bad in ("-1", "x", "99999999999999999999", ""):
                expect(s.ask("GET", f"/cluster/trace?after={bad}", headers=own)[0] == 400, bad)
            timer = threading.Timer(0.3, s.ask, ("POST", "/v1/chat/completions", {**QUESTION, "max_tokens": 3}, own))
            timer.start()
            said, found = trace(s, "--seconds", "1.5", "--api-key", "sk-alice-0000")
            timer.join()
            steps = [e for e in found["traceEvents"] if e["name"] == "step"]
            expect([e["args"]["step"] for e in steps] == [13, 14, 15] and "3 steps of" in said, said, steps)
            s.stop()


if __name__ == "__main__":
    run_checks([check_shape, check_recording])
