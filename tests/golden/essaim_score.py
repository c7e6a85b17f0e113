"""What the golden and integration tests share: running `essaim score`, and measuring logits against logits."""
import array
import json
import math
import os
import subprocess
import sys
import tempfile

BUILD = os.environ["ESSAIM_BUILD"]
SOURCE = os.environ["ESSAIM_SOURCE"]
ESSAIM = os.path.join(BUILD, "essaim")
GOLDEN = os.path.join(SOURCE, "tests", "golden")
TINY = os.path.join(SOURCE, "models", "tiny-r1")

# Every golden: (name, model folder, token ids, reference logits).
TEXTS = [("tiny-r1 " + text, TINY, os.path.join(GOLDEN, "tiny-r1", f"tiny-r1-{text}.tokens.json"),
          os.path.join(GOLDEN, "tiny-r1", f"tiny-r1-{text}.f32"))
         for text in ("addition", "letters", "long", "noise", "several", "two-turns")]
FAMILY = [(model, os.path.join(GOLDEN, model), os.path.join(GOLDEN, model, "logits.tokens.json"),
           os.path.join(GOLDEN, model, "logits.f32")) for model in ("odd-v3", "wide-v3", "lite-v2")]


def read_floats(path):
    values = array.array("f")
    with open(path, "rb") as file:
        values.frombytes(file.read())
    if sys.byteorder == "big":
        values.byteswap()
    return values


def score(model, tokens, *options):
    """The bytes that `essaim score` writes, or the end of this test with what it said."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "logits.f32")
        command = [ESSAIM, "score", "--model", model, "--tokens", tokens, "--logits", out, "--quiet", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\nexit code {done.returncode}: {done.stderr}")
        with open(out, "rb") as file:
            return file.read()


def as_floats(raw):
    values = array.array("f")
    values.frombytes(raw)
    return values


def relative_error(found, wanted):
    """Frobenius norm of the difference over that of the reference."""
    difference = math.fsum((a - b) ** 2 for a, b in zip(found, wanted, strict=True))
    return math.sqrt(difference / math.fsum(b * b for b in wanted))


def log_softmax(row):
    top = max(row)
    total = math.log(math.fsum(math.exp(value - top) for value in row)) + top
    return [value - total for value in row]


def compare(found, wanted, vocab):
    """(mean KL divergence from the reference, [top-1 agrees?] where the reference's margin is above 0.1)."""
    divergence, agreements = [], []
    for at in range(0, len(wanted), vocab):
        reference, row = wanted[at:at + vocab], found[at:at + vocab]
        p, q = log_softmax(reference), log_softmax(row)
        divergence.append(math.fsum(math.exp(a) * (a - b) for a, b in zip(p, q)))
        best = reference.index(max(reference))
        if reference[best] - max(reference[:best] + reference[best + 1:]) > 0.1:
            agreements.append(row.index(max(row)) == best)
    return math.fsum(divergence) / len(divergence), agreements


def quality(logits_of, texts=TEXTS):
    """(mean KL divergence over all positions of texts, how many these are, [top-1 agrees?]) of what logits_of says of each file of ids."""
    vocab, divergence, positions, agreements = vocabulary(TINY), 0.0, 0, []
    for _, _, tokens, golden in texts:
        wanted = read_floats(golden)
        kl, agrees = compare(logits_of(tokens), wanted, vocab)
        divergence += kl * (len(wanted) // vocab)
        positions += len(wanted) // vocab
        agreements += agrees
    return divergence / positions, positions, agreements


def vocabulary(model):
    with open(os.path.join(model, "config.json"), encoding="utf-8") as file:
        return json.load(file)["vocab_size"]
