"""Files that llama.cpp's quantiser wrote give the logits that llama.cpp computed from them, but for how both round rows to 8 bits."""
import os
import sys

from essaim_score import GOLDEN, as_floats, read_floats, relative_error, score

LIMIT = 0.06
FOLDER = os.path.join(GOLDEN, "llama_cpp")

for form in ("q5_k_m", "iq4_nl"):
    found = as_floats(score(os.path.join(FOLDER, form + ".gguf"), os.path.join(FOLDER, "tokens.json")))
    error = relative_error(found, read_floats(os.path.join(FOLDER, form + ".f32")))
    print(f"{form:8} relative error {error:.4f}")
    if error > LIMIT:
        sys.exit(f"{form}: relative error {error:.4f} is above {LIMIT}")
