"""Writes tests/golden/llama_cpp: small random models as llama.cpp's quantiser writes them, and its own logits for them. Run it with the folder
of npm's @node-llama-cpp/linux-x64 that holds libllama, after choosing other types: make_llama_goldens.py FOLDER"""
import json
import os
import subprocess
import sys
import tempfile

from essaim_score import ESSAIM, GOLDEN, TINY
from llama_cpp import Library

OUT = os.path.join(GOLDEN, "llama_cpp")
# Every token takes every expert: random scores are too close for two programs to choose alike.
SIZES = {"hidden_size": 256, "intermediate_size": 256, "moe_intermediate_size": 64, "num_hidden_layers": 2, "num_nextn_predict_layers": 0,
         "n_routed_experts": 4, "num_experts_per_tok": 4, "n_group": 1, "topk_group": 1, "num_attention_heads": 2,
         "num_key_value_heads": 2, "q_lora_rank": 64, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16,
         "v_head_dim": 32, "vocab_size": 288}

with open(os.path.join(TINY, "config.json"), encoding="utf-8") as file:
    config = json.load(file)
config.update(SIZES)
os.makedirs(OUT, exist_ok=True)
tokens = [(7 * i * i + 3 * i) % SIZES["vocab_size"] for i in range(24)]
with open(os.path.join(OUT, "tokens.json"), "w", encoding="utf-8") as file:
    json.dump(tokens, file)
library = Library(sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    subprocess.run([ESSAIM, "synth", "--quiet", "--config", file.name, "--layout", "gguf", "--format", "bf16", "--out", folder],
                   check=True, stdout=subprocess.DEVNULL)
    for form in ("q5_k_m", "iq4_nl"):
        path = os.path.join(OUT, form + ".gguf")
        library.quantise(os.path.join(folder, "model.gguf"), path, form)
        with library.open(path, context=64) as model, open(os.path.join(OUT, form + ".f32"), "wb") as file:
            model.logits(tokens).tofile(file)
