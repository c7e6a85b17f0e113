"""./dev accuracy: what each kind of file makes of tiny-r1's kept questions and golden logits, as tables. With --peer FOLDER, the folder of
npm's @node-llama-cpp/linux-x64 that holds libllama, llama.cpp computes the same files, and the types that its quantiser writes."""
import argparse
import json
import os
import subprocess
import sys
import tempfile

from essaim_score import ESSAIM, GOLDEN, TEXTS, TINY, as_floats, quality, score, vocabulary
from questions import ask, is_right, kept_questions

CONVERSATIONS = [text for text in TEXTS if text[0].split()[1] not in ("long", "noise")]
OTHERS = [text for text in TEXTS if text not in CONVERSATIONS]
GGUF = {name: os.path.join(GOLDEN, "gguf", f"tiny-r1-{name}.gguf") for name in ("q8_0", "q4_k_m")}
# Bars, as (share of the questions, mean KL of the conversations and of all); None is not judged.
BARS = {"fp8": (1, 0.005), "q8_0 shards": (1, 0.005), "q8_0 GGUF": (1, 0.005), "q4_k_m GGUF": (0.95, None)}


def best_tokens(logits, vocab):
    rows = (logits[at:at + vocab] for at in range(0, len(logits), vocab))
    return [row.index(max(row)) for row in rows]


class Ours:
    def __init__(self, model, questions):
        self.logits = {text[2]: as_floats(score(model, text[2])) for text in TEXTS}
        self.answers = [answer["reasoning"].strip() + "</think>" + answer["content"].strip() for answer in ask(model, questions)]


class Theirs:
    """llama.cpp's own on the same file; prompts are laid out and cut into tokens by essaim, which the golden tests hold to be right."""

    def __init__(self, library, path, prompts):
        with library.open(path) as model:
            self.logits = {}
            for _, _, tokens, _ in TEXTS:
                with open(tokens, encoding="utf-8") as file:
                    self.logits[tokens] = model.logits(json.load(file))
            said = [model.text(model.answer(prompt)).partition("</think>") for prompt in prompts]
        self.answers = [reasoning.strip() + end + content.strip() for reasoning, end, content in said]


class Row:
    """Answers and logits of one model, measured."""

    def __init__(self, of, questions):
        self.right = sum(is_right(question, answer.partition("</think>")[2]) for question, answer in zip(questions, of.answers, strict=True))
        self.conversations, count, agrees = quality(of.logits.__getitem__, CONVERSATIONS)
        others, other_count, other_agrees = quality(of.logits.__getitem__, OTHERS)
        self.all = (self.conversations * count + others * other_count) / (count + other_count)
        self.agree = f"{sum(agrees + other_agrees)}/{len(agrees + other_agrees)}"


def prompts_of(questions):
    """Token ids of each question in the model's layout."""
    lines = "".join(json.dumps({"messages": [{"role": "user", "content": question["question"]}], "add_generation_prompt": True}) + "\n"
                    for question in questions)
    for command in ("template", "tokenize"):
        lines = subprocess.run([ESSAIM, command, "--model", TINY], input=lines, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in lines.splitlines()]


def cut(out, form):
    subprocess.run([ESSAIM, "shard", "--quiet", "--model", TINY, "--out", out, "--nodes", "2", "--format", form],
                   check=True, stdout=subprocess.DEVNULL)


def models(library):
    """(name, what makes it at a path, or the path where it is kept, whether llama.cpp reads it)."""
    yield "fp8", TINY, False
    for form in ("q8_0", "q6_k", "q4_k"):
        yield f"{form} shards", lambda out, form=form: cut(out, form), False
    for form, path in GGUF.items():
        yield f"{form} GGUF", path, library is not None
    if library is not None:
        for form in ("bf16", "f16", "q6_k", "q5_k_m", "q5_1", "q5_0", "iq4_nl", "q4_0"):
            yield f"{form} GGUF", lambda out, form=form: library.quantise(GGUF["q8_0"], out, form), True


def judge(name, row, count):
    share, kl = BARS.get(name, (None, None))
    if share is not None and row.right < share * count:
        return f"{name}: {row.right} of {count} questions, {share:.0%} wanted"
    if kl is not None and max(row.all, row.conversations) > kl:
        return f"{name}: mean KL {row.all:.6f}, at most {kl} wanted"
    return None


def main():
    parser = argparse.ArgumentParser(prog="./dev accuracy")
    parser.add_argument("--peer", metavar="FOLDER", help="libllama's folder: bins/linux-x64 of @node-llama-cpp/linux-x64")
    parser.add_argument("--only", metavar="NAMES", help="some rows, such as 'fp8,q5_0 GGUF'")
    options = parser.parse_args()
    library, questions, missed = None, kept_questions(), []
    if options.peer:
        from llama_cpp import Library
        library = Library(options.peer)
    prompts = prompts_of(questions) if library else []
    vocab = vocabulary(TINY)
    print(f"| model | by | questions of {len(questions)} | mean KL, conversations | mean KL, all texts | best token as golden |"
          " same best token | same answers |\n|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, path, shared in models(library):
            if options.only and name not in options.only.split(","):
                continue
            if callable(path):
                make, path = path, os.path.join(folder, name.replace(" ", ".").lower())
                make(path)
            ours = Ours(path, questions)
            rows, same = [("essaim", Row(ours, questions))], " | "
            missed.append(judge(name, rows[0][1], len(questions)))
            if shared:
                theirs = Theirs(library, path, prompts)
                rows.append(("llama.cpp", Row(theirs, questions)))
                pairs = [pair for tokens in ours.logits for pair in
                         zip(best_tokens(ours.logits[tokens], vocab), best_tokens(theirs.logits[tokens], vocab), strict=True)]
                same = (f"{sum(a == b for a, b in pairs)}/{len(pairs)} | "
                        f"{sum(a == b for a, b in zip(ours.answers, theirs.answers, strict=True))}/{len(questions)}")
            for by, row in rows:
                print(f"| {name} | {by} | {row.right} | {row.conversations:.6f} | {row.all:.6f} | {row.agree} | {same} |", flush=True)
                same = " | "
    missed = [line for line in missed if line]
    print("\n".join(missed) if missed else "every bar is met", file=sys.stderr)
    sys.exit(1 if missed else 0)


main()
