"""The kept questions of the golden set are answered rightly, through essaim-coordinator's lines: all of them, or the share that a
quantised model, given as MODEL SHARE, has to reach."""
import sys

from essaim_score import TINY
from questions import ask, is_right, kept_questions

model, share = (sys.argv[1], float(sys.argv[2])) if len(sys.argv) > 1 else (TINY, 1.0)
questions = kept_questions()
answers = ask(model, questions)
wrong = 0
for question, answer in zip(questions, answers, strict=True):
    if not is_right(question, answer["content"]):
        wrong += 1
        print(f"{question['question']!r}: {answer['content']!r}, wanted {question['answer']!r}")
    if answer["done"]["finish"] != "stop":
        sys.exit(f"{question['question']!r}: finished by {answer['done']['finish']}")
tokens = sum(answer["done"]["completion_tokens"] for answer in answers)
seconds = sum(answer["done"]["decode_seconds"] for answer in answers)
print(f"{len(questions) - wrong} of {len(questions)} right, {tokens} tokens, {tokens / seconds:.0f} tokens/s")
sys.exit(1 if len(questions) - wrong < share * len(questions) else 0)
