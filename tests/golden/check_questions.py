"""The kept questions of the golden set are answered rightly, through essaim-coordinator's lines: all of them, or the share that a
quantised model, given as MODEL SHARE, has to reach."""
import json
import os
import subprocess
import sys

from essaim_score import BUILD, GOLDEN, TINY

model, share = (sys.argv[1], float(sys.argv[2])) if len(sys.argv) > 1 else (TINY, 1.0)
with open(os.path.join(GOLDEN, "tiny-r1", "tiny-r1-questions.jsonl"), encoding="utf-8") as file:
    questions = [question for question in map(json.loads, file) if question["keep"]]

requests = "".join(json.dumps({"id": i, "messages": [{"role": "user", "content": question["question"]}]}) + "\n"
                   for i, question in enumerate(questions))
done = subprocess.run([os.path.join(BUILD, "essaim-coordinator"), "--model", model, "--lines"], input=requests, capture_output=True,
                      text=True, timeout=1200)
if done.returncode != 0:
    sys.exit(f"essaim-coordinator ended with {done.returncode}: {done.stderr}")

answers = [{"reasoning": "", "content": "", "done": None} for _ in questions]
for event in map(json.loads, done.stdout.splitlines()):
    if "error" in event:
        sys.exit(f"question {event['id']}: {event['error']}")
    if event["id"] is None:
        continue
    answer = answers[event["id"]]
    for part in ("reasoning", "content"):
        answer[part] += event.get(part, "")
    answer["done"] = event.get("done", answer["done"])

wrong = 0
for question, answer in zip(questions, answers, strict=True):
    if answer["content"].strip() != question["answer"].strip():
        wrong += 1
        print(f"{question['question']!r}: {answer['content']!r}, wanted {question['answer']!r}")
    if answer["done"]["finish"] != "stop":
        sys.exit(f"{question['question']!r}: finished by {answer['done']['finish']}")
tokens = sum(answer["done"]["completion_tokens"] for answer in answers)
seconds = sum(answer["done"]["decode_seconds"] for answer in answers)
print(f"{len(questions) - wrong} of {len(questions)} right, {tokens} tokens, {tokens / seconds:.0f} tokens/s")
sys.exit(1 if len(questions) - wrong < share * len(questions) else 0)
