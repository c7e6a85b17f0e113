"""The golden set's kept questions, asked through essaim-coordinator's lines."""
import json
import os
import subprocess
import sys

from essaim_score import BUILD, GOLDEN


def kept_questions():
    with open(os.path.join(GOLDEN, "tiny-r1", "tiny-r1-questions.jsonl"), encoding="utf-8") as file:
        return [question for question in map(json.loads, file) if question["keep"]]


def ask(model, questions):
    """An answer to each, greedy: {"reasoning", "content", "done"}; or the end of this program with what went wrong."""
    requests = "".join(json.dumps({"id": i, "messages": [{"role": "user", "content": question["question"]}]}) + "\n"
                       for i, question in enumerate(questions))
    done = subprocess.run([os.path.join(BUILD, "essaim-coordinator"), "--model", model, "--lines"], input=requests,
                          capture_output=True, text=True, timeout=1200)
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
    return answers


def is_right(question, content):
    return content.strip() == question["answer"].strip()
