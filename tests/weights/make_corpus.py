#!/usr/bin/env python3
"""Writes tests/weights/corpus (one folder a case: a broken model and the one line that it must give) and
tests/weights/small (whole models that differ in one thing).

Every case starts from a whole model small enough to be committed. Run it after adding a case:
    python3 tests/weights/make_corpus.py
"""
import copy
import json
import pathlib
import shutil
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"
SMALL = pathlib.Path(__file__).parent / "small"

CONFIG = {
    "model_type": "deepseek_v3", "bos_token_id": 0, "eos_token_id": 1, "vocab_size": 4, "hidden_size": 4,
    "intermediate_size": 4, "moe_intermediate_size": 4, "num_hidden_layers": 2, "first_k_dense_replace": 1,
    "moe_layer_freq": 1, "num_nextn_predict_layers": 0, "n_routed_experts": 4, "n_shared_experts": 1,
    "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "topk_method": "noaux_tc", "scoring_func": "sigmoid",
    "norm_topk_prob": True, "routed_scaling_factor": 2.5, "hidden_act": "silu", "num_attention_heads": 2,
    "num_key_value_heads": 2, "q_lora_rank": 2, "kv_lora_rank": 2, "qk_nope_head_dim": 2, "qk_rope_head_dim": 2,
    "v_head_dim": 2, "rms_norm_eps": 1e-6, "rope_theta": 10000, "max_position_embeddings": 64,
    "rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 16, "beta_fast": 32,
                     "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0},
    "quantization_config": {"fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]},
}

ONES = {"F8_E4M3": b"\x38", "BF16": b"\x80\x3f", "F16": b"\x00\x3c", "F32": b"\x00\x00\x80\x3f"}


def product(shape):
    out = 1
    for n in shape:
        out *= n
    return out


def blocks(n):
    return (n + 127) // 128


def tensors(c=None):
    """{name: [dtype, shape, bytes]} of the whole model of config c, every value 1."""
    c = c or CONFIG
    out = {}
    hidden, heads, nope, rope, v = (c[k] for k in ("hidden_size", "num_attention_heads", "qk_nope_head_dim",
                                                   "qk_rope_head_dim", "v_head_dim"))

    def add(name, dtype, *shape):
        out[name] = [dtype, list(shape), ONES[dtype] * product(shape)]

    def fp8(name, rows, cols):
        add(name + ".weight", "F8_E4M3", rows, cols)
        add(name + ".weight_scale_inv", "F32", blocks(rows), blocks(cols))

    def ffn(prefix, width):
        fp8(prefix + "gate_proj", width, hidden)
        fp8(prefix + "up_proj", width, hidden)
        fp8(prefix + "down_proj", hidden, width)

    add("model.embed_tokens.weight", "BF16", c["vocab_size"], hidden)
    if not c.get("tie_word_embeddings"):
        add("lm_head.weight", "BF16", c["vocab_size"], hidden)
    add("model.norm.weight", "BF16", hidden)
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        add(at + "input_layernorm.weight", "BF16", hidden)
        add(at + "post_attention_layernorm.weight", "BF16", hidden)
        if c["q_lora_rank"] is None:
            fp8(at + "self_attn.q_proj", heads * (nope + rope), hidden)
        else:
            fp8(at + "self_attn.q_a_proj", c["q_lora_rank"], hidden)
            add(at + "self_attn.q_a_layernorm.weight", "BF16", c["q_lora_rank"])
            fp8(at + "self_attn.q_b_proj", heads * (nope + rope), c["q_lora_rank"])
        fp8(at + "self_attn.kv_a_proj_with_mqa", c["kv_lora_rank"] + rope, hidden)
        add(at + "self_attn.kv_a_layernorm.weight", "BF16", c["kv_lora_rank"])
        fp8(at + "self_attn.kv_b_proj", heads * (nope + v), c["kv_lora_rank"])
        fp8(at + "self_attn.o_proj", hidden, heads * v)
        if c["n_routed_experts"] is None or layer < c["first_k_dense_replace"]:
            ffn(at + "mlp.", c["intermediate_size"])
            continue
        add(at + "mlp.gate.weight", "F16", c["n_routed_experts"], hidden)
        if c["topk_method"] == "noaux_tc":
            add(at + "mlp.gate.e_score_correction_bias", "F32", c["n_routed_experts"])
        if c["n_shared_experts"]:
            ffn(at + "mlp.shared_experts.", c["n_shared_experts"] * c["moe_intermediate_size"])
        for expert in range(c["n_routed_experts"]):
            ffn(at + f"mlp.experts.{expert}.", c["moe_intermediate_size"])
    return out


def file_of(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def safetensors(parts):
    header, data = {}, b""
    for name, (dtype, shape, content) in parts.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    return file_of(header, data)


def case(name, expected, config=None, files=None):
    """config None: the good one; bytes: as they are. files None: the good weights."""
    folder = CORPUS / name
    folder.mkdir(parents=True)
    (folder / "expected_error.txt").write_text(f"{name}{expected}\n")
    if config is None:
        config = CONFIG
    if config is not False:
        text = config if isinstance(config, bytes) else (json.dumps(config, indent=1) + "\n").encode()
        (folder / "config.json").write_bytes(text)
    for file, content in (files or {}).items():
        text = content if isinstance(content, bytes) else (json.dumps(content, indent=1) + "\n").encode()
        (folder / file).write_bytes(text)


def config_case(name, expected, **changes):
    """changes: key=value; key=... (Ellipsis) drops it; a dict goes into the object that is there."""
    config = copy.deepcopy(CONFIG)
    for key, value in changes.items():
        if value is ...:
            del config[key]
        elif isinstance(value, dict) and isinstance(config.get(key), dict):
            config[key] = {k: v for k, v in {**config[key], **value}.items() if v is not ...}
        else:
            config[key] = value
    case("config-" + name, "/config.json: " + expected, config)


def configs():
    case("config-absent", "/config.json: No such file or directory", config=False)
    case("config-empty", "/config.json: line 1, column 0: '[' or '{' expected near end of file", config=b"")
    case("config-list", "/config.json: not a JSON object", config=b"[1]")
    case("config-cut", "/config.json: line 1, column 19: string or '}' expected near end of file",
         config=b'{"vocab_size": 320,')
    case("config-duplicate", "/config.json: line 1, column 29: duplicate object key near '\"vocab_size\"'",
         config=b'{"vocab_size":1, "vocab_size":2}')
    case("config-nul", "/config.json: line 1, column 23: \\u0000 is not allowed without JSON_ALLOW_NUL "
         "near '\"\\u0000\"'",
         config=b'{"model_type": "\\u0000"}')
    case("config-deep", "/config.json: line 1, column 2053: maximum parsing depth reached near '['",
         config=b'{"a":' + b"[" * 4000)
    case("config-number-too-big", "/config.json: line 1, column 33: too big integer near '9223372036854775808'",
         config=b'{"vocab_size":9223372036854775808}')
    for key in ("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                "num_attention_heads", "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim",
                "v_head_dim", "max_position_embeddings", "rms_norm_eps", "rope_theta", "n_routed_experts",
                "n_shared_experts", "num_experts_per_tok", "first_k_dense_replace", "moe_intermediate_size", "n_group",
                "topk_group", "norm_topk_prob", "routed_scaling_factor", "bos_token_id", "eos_token_id"):
        config_case(f"no-{key}", f"{key}: missing", **{key: ...})
    config_case("hidden-zero", "hidden_size: 0 is not between 1 and 1048576", hidden_size=0)
    config_case("hidden-negative", "hidden_size: -4 is not between 1 and 1048576", hidden_size=-4)
    config_case("hidden-text", "hidden_size: not an integer", hidden_size="4")
    config_case("hidden-fraction", "hidden_size: not an integer", hidden_size=4.5)
    config_case("layers-absurd", "num_hidden_layers: 1000000000 is not between 1 and 1024",
                num_hidden_layers=1000000000)
    config_case("model-type", 'model_type: "llama" is not supported', model_type="llama")
    config_case("model-type-number", "model_type: not a string", model_type=3)
    config_case("rope-odd", "qk_rope_head_dim: 3 is odd", qk_rope_head_dim=3)
    config_case("eps-zero", "rms_norm_eps: 0 is not between 1e-20 and 1", rms_norm_eps=0)
    config_case("eps-text", "rms_norm_eps: not a number", rms_norm_eps="1e-6")
    config_case("heads-too-wide", "num_attention_heads: 4096 heads of 4096 + 4096 + 2 values: more than 16777216 in a row",
                num_attention_heads=4096, qk_nope_head_dim=4096, qk_rope_head_dim=4096)
    config_case("kv-heads", "num_key_value_heads: 1 with num_attention_heads 2: latent attention has as many",
                num_key_value_heads=1)
    config_case("dense-layers", "first_k_dense_replace: 3 is not between 0 and 2", first_k_dense_replace=3)
    config_case("experts-too-many", "n_routed_experts: 4097 is not between 0 and 4096", n_routed_experts=4097)
    config_case("groups-do-not-divide", "n_group: 3 does not divide n_routed_experts 4", n_group=3)
    config_case("groups-of-one", "n_group: 4 leaves one expert a group: noaux_tc ranks groups by their two best",
                n_group=4)
    config_case("groups-kept", "topk_group: 3 is more than n_group 2", topk_group=3)
    config_case("experts-per-token", "num_experts_per_tok: 3 is more than the 2 experts of the groups kept",
                num_experts_per_tok=3)
    config_case("experts-per-token-many", "num_experts_per_tok: 65 is not between 1 and 64", num_experts_per_tok=65)
    config_case("shared-too-wide", "n_shared_experts: 256 times moe_intermediate_size 1048576 is more than 1048576",
                n_shared_experts=256, moe_intermediate_size=1 << 20)
    config_case("scoring-func", 'scoring_func: "tanh" is not supported', scoring_func="tanh")
    config_case("topk-method", 'topk_method: "random" is not supported', topk_method="random")
    config_case("norm-topk", "norm_topk_prob: neither true nor false", norm_topk_prob=1)
    config_case("activation", 'hidden_act: "gelu" is not supported', hidden_act="gelu")
    config_case("attention-bias", "attention_bias: true is not supported", attention_bias=True)
    config_case("rope-parameters", "rope_parameters: not supported: rope_theta and rope_scaling are",
                rope_parameters={"rope_type": "default"})
    config_case("rope-interleave", "rope_interleave: false is not supported", rope_interleave=False)
    config_case("rope-scaling-list", "rope_scaling: not an object", rope_scaling=[1])
    config_case("rope-type", 'rope_scaling.type: "linear" is not supported', rope_scaling={"type": "linear"})
    config_case("rope-no-type", "rope_scaling.type: missing", rope_scaling={"type": ...})
    config_case("yarn-no-factor", "rope_scaling.factor: missing", rope_scaling={"factor": ...})
    config_case("yarn-factor", "rope_scaling.factor: 0.5 is not between 1 and 1e+06", rope_scaling={"factor": 0.5})
    config_case("yarn-beta", "rope_scaling.beta_fast: 1 is less than beta_slow 2",
                rope_scaling={"beta_fast": 1, "beta_slow": 2})
    config_case("quant-method", 'quantization_config.quant_method: "awq" is not supported',
                quantization_config={"quant_method": "awq"})
    config_case("quant-fmt", 'quantization_config.fmt: "e5m2" is not supported', quantization_config={"fmt": "e5m2"})
    config_case("quant-block", "quantization_config.weight_block_size: only [128, 128] is supported",
                quantization_config={"weight_block_size": [1, 128]})
    config_case("quant-no-block", "quantization_config.weight_block_size: missing",
                quantization_config={"weight_block_size": ...})
    config_case("bos-beyond-vocab", "bos_token_id: 4 is not between 0 and 3", bos_token_id=4)
    config_case("eos-beyond-vocab", "eos_token_id: 7 is not between 0 and 3", eos_token_id=[1, 7])
    config_case("eos-none", "eos_token_id: 0 ids: not between 1 and 8", eos_token_id=[])
    case("generation-eos", "/generation_config.json: eos_token_id: 9 is not between 0 and 3",
         files={"generation_config.json": {"eos_token_id": 9}})
    case("generation-cut", "/generation_config.json: line 1, column 1: string or '}' expected near end of file",
         files={"generation_config.json": b"{"})


def headers():
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}

    def single(name, expected, content):
        case("file-" + name, "/model.safetensors: " + expected, files={"model.safetensors": content})

    def entry(name, expected, data=8, **changes):
        single(name, "a: " + expected, file_of({"a": {**one, **changes}}, bytes(data)))

    single("empty", "0 bytes: too short for a safetensors header", b"")
    single("short", "7 bytes: too short for a safetensors header", bytes(7))
    single("header-longer-than-file", "header length 100, but only 2 bytes follow", struct.pack("<Q", 100) + b"{}")
    single("header-length-2-63", "header length 9223372036854775808, but only 2 bytes follow",
           struct.pack("<Q", 1 << 63) + b"{}")
    single("header-not-json", "line 1, column 3: '[' or '{' expected near 'xyz'", file_of(b"xyz"))
    single("header-duplicate", "line 1, column 11: duplicate object key near '\"a\"'", file_of(b'{"a":{},"a":{}}'))
    single("header-deep", "line 1, column 2053: maximum parsing depth reached near '['",
           file_of(b'{"a":' + b"[" * 4000))
    single("entry-not-object", "a: not an object", file_of({"a": 1}))
    entry("no-dtype", "dtype: not a string", dtype=None)
    entry("long-dtype", "dtype: too long a name", dtype="F" * 16)
    entry("shape-text", "shape: not an array", shape="2")
    entry("shape-negative", "shape: not made of integers from 0 up", shape=[-2])
    entry("shape-overflow", "shape: the product is too large", shape=[1 << 40, 1 << 40])
    entry("shape-bits-overflow", "data_offsets: 8 bytes for 4611686018427387904 elements of F32", shape=[1 << 62])
    entry("shape-dims", "shape: 9 dimensions, at most 8 are supported", shape=[1] * 9)
    entry("offsets-three", "data_offsets: not two integers", data_offsets=[0, 1, 2])
    entry("offsets-out-of-range", "data_offsets: [0, 16] is not within the file's 8 bytes of data",
          data_offsets=[0, 16])
    entry("offsets-backwards", "data_offsets: [8, 0] is not within the file's 8 bytes of data", data_offsets=[8, 0])
    entry("offsets-negative", "data_offsets: [-8, 0] is not within the file's 8 bytes of data", data_offsets=[-8, 0])
    entry("wrong-product", "data_offsets: 8 bytes for 3 elements of F32", shape=[3])
    entry("overlap", "data_offsets: overlaps another tensor")
    folder = CORPUS / "file-overlap"
    (folder / "model.safetensors").write_bytes(file_of({"b": one, "a": {**one, "data_offsets": [4, 12]}}, bytes(12)))
    entry("gap", "data_offsets: bytes before it belong to no tensor", data=12, data_offsets=[4, 12])
    single("trailing", "the last 4 bytes belong to no tensor", file_of({"a": one}, bytes(12)))
    whole = safetensors(tensors())
    single("truncated", "model.layers.1.mlp.experts.3.down_proj.weight_scale_inv: "
           "data_offsets: [708, 712] is not within the file's 711 bytes of data", whole[:-1])


def indexes():
    index = "model.safetensors.index.json"
    part = file_of({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4))

    def indexed(name, where, content, **files):
        case("index-" + name, where, files={index: content, **{k + ".safetensors": v for k, v in files.items()}})

    case("weights-absent", ": holds neither model.safetensors nor model.safetensors.index.json")
    indexed("no-weight-map", f"/{index}: weight_map: missing", {"metadata": {}})
    indexed("weight-map-list", f"/{index}: weight_map: not an object", {"weight_map": []})
    indexed("file-missing", "/two.safetensors: No such file or directory",
            {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}, one=part)
    indexed("path", f"/{index}: weight_map: a: not a plain file name", {"weight_map": {"a": "../one.safetensors"}})
    indexed("dots", f"/{index}: weight_map: a: not a plain file name", {"weight_map": {"a": ".."}})
    indexed("no-name", f"/{index}: weight_map: a: not a plain file name", {"weight_map": {"a": ""}})
    indexed("number", f"/{index}: weight_map: a: not a plain file name", {"weight_map": {"a": 1}})
    indexed("tensor-not-in-file", f"/one.safetensors: b: not in this file, where index-tensor-not-in-file/{index} "
            "says it is", {"weight_map": {"a": "one.safetensors", "b": "one.safetensors"}}, one=part)
    indexed("empty", f"/{index}: model.embed_tokens.weight: missing", {"weight_map": {}})


def models():
    def broken(name, expected, change, config=None):
        parts = tensors()
        change(parts)
        case("model-" + name, "/model.safetensors: " + expected, config, {"model.safetensors": safetensors(parts)})

    def drop(name):
        return lambda parts: parts.pop(name)

    def put(name, dtype, shape, content=None):
        def change(parts):
            parts[name] = [dtype, shape, content or ONES[dtype] * product(shape)]
        return change

    def poke(name, index, code):
        def change(parts):
            data = bytearray(parts[name][2])
            data[index * len(code):(index + 1) * len(code)] = code
            parts[name][2] = bytes(data)
        return change

    attention = "model.layers.1.self_attn."
    expert = "model.layers.1.mlp.experts.2.up_proj.weight"
    broken("no-tensor", attention + "o_proj.weight: missing", drop(attention + "o_proj.weight"))
    broken("no-scale", attention + "o_proj.weight_scale_inv: missing", drop(attention + "o_proj.weight_scale_inv"))
    broken("no-head", "lm_head.weight: missing", drop("lm_head.weight"))
    bias = "model.layers.1.mlp.gate.e_score_correction_bias"
    broken("no-bias", bias + ": missing", drop(bias))
    broken("vocabulary", "model.embed_tokens.weight: shape is [3, 4], but config.json makes it [4, 4]",
           put("model.embed_tokens.weight", "BF16", [3, 4]))
    broken("norm-shape", "model.norm.weight: shape is [4, 1], but config.json makes it [4]",
           put("model.norm.weight", "BF16", [4, 1]))
    broken("scale-shape", attention + "o_proj.weight_scale_inv: shape is [2, 1], but config.json makes it [1, 1]",
           put(attention + "o_proj.weight_scale_inv", "F32", [2, 1]))
    broken("scale-type", attention + "o_proj.weight_scale_inv: type BF16: scales are F32",
           put(attention + "o_proj.weight_scale_inv", "BF16", [1, 1]))
    broken("scale-nan", attention + "o_proj.weight_scale_inv: [0, 0] is nan: not a scale",
           poke(attention + "o_proj.weight_scale_inv", 0, b"\x00\x00\xc0\x7f"))
    broken("scale-too-large", attention + "o_proj.weight_scale_inv: [0, 0] is 3.38953e+38: not a scale",
           poke(attention + "o_proj.weight_scale_inv", 0, b"\x00\x00\x7f\x7f"))
    broken("type", "lm_head.weight: type I16 is not supported, but F8_E4M3, BF16, F16, F32 are", put("lm_head.weight", "I16", [4, 4], bytes(32)))
    broken("type-unknown", "lm_head.weight: type Q9 is not supported, but F8_E4M3, BF16, F16, F32 are", put("lm_head.weight", "Q9", [4, 4], bytes(5)))
    broken("norm-type", "model.norm.weight: type F8_E4M3 is not supported here, but F32, F16, BF16 are",
           put("model.norm.weight", "F8_E4M3", [4]))
    broken("nan-fp8", expert + ": [2, 1] is NaN or infinite", poke(expert, 9, b"\xff"))
    broken("nan-bf16", "lm_head.weight: [3, 3] is NaN or infinite", poke("lm_head.weight", 15, b"\xc0\x7f"))
    broken("infinite-norm", "model.norm.weight: [1] is NaN or infinite", poke("model.norm.weight", 1, b"\x80\xff"))
    gate = "model.layers.1.mlp.gate.weight"
    broken("infinite-f16", gate + ": [0, 1] is NaN or infinite", poke(gate, 1, b"\x00\x7c"))
    broken("nan-f32", bias + ": [3] is NaN or infinite", poke(bias, 3, b"\x01\x00\x80\x7f"))


def small(name, parts=None, cuts=1, **changes):
    """A whole model: the usual one with changes to its config, its tensors dealt to as many files as cuts says."""
    folder = SMALL / name
    folder.mkdir(parents=True)
    config = {**CONFIG, **changes}
    parts = parts or tensors(config)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    if cuts == 1:
        (folder / "model.safetensors").write_bytes(safetensors(parts))
        return
    weight_map = {}
    for cut in range(cuts):
        file = f"model-{cut + 1:05}-of-{cuts:05}.safetensors"
        mine = dict(list(parts.items())[cut::cuts])
        (folder / file).write_bytes(safetensors(mine))
        weight_map.update({tensor: file for tensor in mine})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}, indent=1) + "\n")


def smalls():
    small("usual")
    small("cut-in-three", cuts=3)
    small("other-eos", eos_token_id=[2, 3])
    small("other-eps", rms_norm_eps=1e-5)
    parts = tensors()
    parts["model.norm.weight"][2] = b"\x81" + parts["model.norm.weight"][2][1:]
    small("other-weight", parts)
    small("tied", tie_word_embeddings=True)
    small("dense-only", n_routed_experts=None)
    small("full-query", q_lora_rank=None, rope_scaling=None)
    small("no-shared-expert", n_shared_experts=None)
    small("mtp-and-strangers", {**tensors(), "model.layers.2.enorm.weight": ["BF16", [4], ONES["BF16"] * 4],
                                "visual.patch": ["I64", [1], bytes(8)]}, num_nextn_predict_layers=1)
    # Heads of 90 rows, so that key and value parts cross the borders of scale blocks; every code and scale its own.
    borders = dict(num_attention_heads=3, num_key_value_heads=3, qk_nope_head_dim=50, v_head_dim=40, kv_lora_rank=130,
                   num_hidden_layers=1)
    parts = tensors({**CONFIG, **borders})
    kv_b = parts["model.layers.0.self_attn.kv_b_proj.weight"]
    kv_b[2] = bytes(code if code & 0x7f != 0x7f else 0 for code in (i * 37 % 251 for i in range(product(kv_b[1]))))
    scales = parts["model.layers.0.self_attn.kv_b_proj.weight_scale_inv"]
    scales[2] = struct.pack(f"<{product(scales[1])}f", *(0.5 + i for i in range(product(scales[1]))))
    small("borders", parts, **borders)


if __name__ == "__main__":
    shutil.rmtree(SMALL, ignore_errors=True)
    shutil.rmtree(CORPUS, ignore_errors=True)
    configs()
    headers()
    indexes()
    models()
    smalls()
    print(len(list(CORPUS.iterdir())), "cases")
