#!/usr/bin/env python3
"""ask.py waits|health|question [PORT]: is the coordinator there, if only waiting for nodes; is it ready; does it answer a sum that tiny-r1 knows."""
import json
import sys
import urllib.error
import urllib.request

port = sys.argv[2] if len(sys.argv) > 2 else "18080"
base = f"http://127.0.0.1:{port}"

if sys.argv[1] == "waits":
    try:
        urllib.request.urlopen(f"{base}/health", timeout=5).close()
    except urllib.error.HTTPError as error:
        sys.exit(0 if b"waiting for nodes" in error.read() else 1)
    sys.exit(0)

if sys.argv[1] == "health":
    with urllib.request.urlopen(f"{base}/health", timeout=5) as reply:
        sys.exit(0 if reply.status == 200 else 1)

question = {"model": "first", "temperature": 0, "messages": [{"role": "user", "content": "Add 19 and 23."}]}
request = urllib.request.Request(f"{base}/v1/chat/completions", json.dumps(question).encode(), {"content-type": "application/json"})
with urllib.request.urlopen(request, timeout=60) as reply:
    content = json.load(reply)["choices"][0]["message"]["content"]
if "42" not in content:
    sys.exit(f"answered {content!r}")
