#!/usr/bin/env python3
"""Writes tests/weights/gguf: small (whole models of architecture deepseek2 in each of the layouts and key conventions that files have),
text (tokenizers) and corpus (broken files, each beside the one line that it must give). Run it after adding a case: python3 tests/weights/make_gguf.py
"""
import copy
import pathlib
import random
import shutil
import struct

HERE = pathlib.Path(__file__).parent / "gguf"
U32, I32, F32, BOOL, TEXT, ARRAY, U16, U64 = 4, 5, 6, 7, 8, 9, 2, 10
PACK = {U32: "<I", I32: "<i", F32: "<f", BOOL: "<?", U16: "<H", U64: "<Q"}
TYPES = "F32, F16, Q4_0, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, IQ4_NL, BF16"
T_F32, T_F16, T_Q8_0, T_Q4_1, T_Q4_K = 0, 1, 8, 3, 12
HIDDEN, HEADS, ROPE, VOCAB, EXPERTS = 32, 2, 4, 4, 4
# Blocks of 32 fit the rows of small; the corpus does with less.
NOPE = V = LATENT = Q_LORA = WIDTH = 32
VALUES = {}


def use_width(width):
    """Sets the sizes of all models made after this."""
    global NOPE, V, LATENT, Q_LORA, WIDTH
    NOPE = V = LATENT = Q_LORA = WIDTH = width
    VALUES.update({
        "general.architecture": (TEXT, "deepseek2"),
        "deepseek2.context_length": (U32, 64), "deepseek2.embedding_length": (U32, HIDDEN), "deepseek2.block_count": (U32, 2),
        "deepseek2.feed_forward_length": (U32, WIDTH), "deepseek2.attention.head_count": (U32, HEADS),
        "deepseek2.attention.head_count_kv": (U32, HEADS), "deepseek2.attention.layer_norm_rms_epsilon": (F32, 1e-6),
        "deepseek2.attention.q_lora_rank": (U32, Q_LORA), "deepseek2.attention.kv_lora_rank": (U32, LATENT),
        "deepseek2.attention.key_length": (U32, NOPE + ROPE), "deepseek2.attention.value_length": (U32, V),
        "deepseek2.rope.dimension_count": (U32, ROPE), "deepseek2.rope.freq_base": (F32, 10000.0),
        "deepseek2.rope.scaling.type": (TEXT, "yarn"), "deepseek2.rope.scaling.factor": (F32, 4.0),
        "deepseek2.rope.scaling.original_context_length": (U32, 16), "deepseek2.rope.scaling.yarn_log_multiplier": (F32, 0.1),
        "deepseek2.leading_dense_block_count": (U32, 1), "deepseek2.expert_count": (U32, EXPERTS),
        "deepseek2.expert_used_count": (U32, 2), "deepseek2.expert_feed_forward_length": (U32, WIDTH),
        "deepseek2.expert_shared_count": (U32, 1), "deepseek2.expert_weights_scale": (F32, 2.5),
        "deepseek2.expert_weights_norm": (BOOL, True), "deepseek2.expert_gating_func": (U32, 2),
        "deepseek2.expert_group_count": (U32, 2), "deepseek2.expert_group_used_count": (U32, 1),
        "tokenizer.ggml.bos_token_id": (U32, 0), "tokenizer.ggml.eos_token_id": (U32, 1),
    })


def text(s):
    s = s.encode()
    return struct.pack("<Q", len(s)) + s


def value(kind, v):
    if kind == TEXT:
        return text(v)
    if kind == ARRAY:
        return struct.pack("<IQ", v[0], len(v[1])) + b"".join(value(v[0], item) for item in v[1])
    return struct.pack(PACK[kind], v)


def encode(kind, numbers):
    """numbers, of rows that 32 divides, as a tensor's bytes."""
    if kind == T_F32:
        return struct.pack(f"<{len(numbers)}f", *numbers)
    if kind == T_F16:
        return struct.pack(f"<{len(numbers)}e", *numbers)
    out = b""
    for at in range(0, len(numbers), 32):
        block = numbers[at:at + 32]
        d = struct.unpack("<e", struct.pack("<e", max(map(abs, block)) / 127))[0]
        codes = [max(-127, min(127, round(n / d))) if d else 0 for n in block]
        out += struct.pack("<e32b", d, *codes)
    return out


def numbers(name, count):
    rng = random.Random(name)
    return [rng.randint(-512, 512) / 4096 for _ in range(count)]


def tensors(kind=T_F32, kv="whole", kv_kind=None):
    """[name, dims as files have them, type, bytes], with values that depend on the name alone."""
    out = []

    def add(name, *dims, as_kind=None, given=None):
        count = 1
        for n in dims:
            count *= n
        as_kind = kind if as_kind is None else as_kind
        out.append([name, list(dims), as_kind, encode(as_kind, given or numbers(name, count))])

    add("token_embd.weight", HIDDEN, VOCAB)
    add("output.weight", HIDDEN, VOCAB)
    add("output_norm.weight", HIDDEN, as_kind=T_F32)
    for layer in range(2):
        at = f"blk.{layer}."
        for name, size in (("attn_norm", HIDDEN), ("ffn_norm", HIDDEN), ("attn_q_a_norm", Q_LORA), ("attn_kv_a_norm", LATENT)):
            add(f"{at}{name}.weight", size, as_kind=T_F32)
        add(at + "attn_q_a.weight", HIDDEN, Q_LORA)
        add(at + "attn_q_b.weight", Q_LORA, HEADS * (NOPE + ROPE))
        add(at + "attn_kv_a_mqa.weight", HIDDEN, LATENT + ROPE)
        add(at + "attn_output.weight", HEADS * V, HIDDEN)
        whole = numbers(at + "attn_kv_b.weight", HEADS * (NOPE + V) * LATENT)
        if kv == "whole":
            add(at + "attn_kv_b.weight", LATENT, HEADS * (NOPE + V), given=whole, as_kind=kv_kind)
        else:
            rows = [whole[i * LATENT:(i + 1) * LATENT] for i in range(HEADS * (NOPE + V))]
            keys = [rows[h * (NOPE + V) + i][c] for h in range(HEADS) for c in range(LATENT) for i in range(NOPE)]
            values = [x for h in range(HEADS) for i in range(V) for x in rows[h * (NOPE + V) + NOPE + i]]
            deep = kv == "deep"
            add(at + "attn_k_b.weight", *([NOPE, LATENT, HEADS] if deep else [NOPE, LATENT * HEADS]), given=keys)
            add(at + "attn_v_b.weight", *([LATENT, V, HEADS] if deep else [LATENT, V * HEADS]), given=values)
        if layer == 0:
            for name, dims in (("gate", (HIDDEN, WIDTH)), ("up", (HIDDEN, WIDTH)), ("down", (WIDTH, HIDDEN))):
                add(f"{at}ffn_{name}.weight", *dims)
            continue
        add(at + "ffn_gate_inp.weight", HIDDEN, EXPERTS, as_kind=T_F32)
        add(at + "exp_probs_b.bias", EXPERTS, as_kind=T_F32)
        for name, dims in (("gate", (HIDDEN, WIDTH)), ("up", (HIDDEN, WIDTH)), ("down", (WIDTH, HIDDEN))):
            add(f"{at}ffn_{name}_exps.weight", *dims, EXPERTS)
            add(f"{at}ffn_{name}_shexp.weight", *dims)
    return out


def header(values, listed, version=3, alignment=32):
    out = b"GGUF" + struct.pack("<IQQ", version, len(listed), len(values))
    for key, (kind, v) in values.items():
        out += text(key) + struct.pack("<I", kind) + (v if isinstance(v, bytes) else value(kind, v))
    offset = 0
    for name, dims, kind, data in listed:
        out += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims) + struct.pack("<IQ", kind, offset)
        offset += -(-len(data) // alignment) * alignment
    return out


def padded(data, alignment=32):
    return data + bytes(-len(data) % alignment)


def gguf(values, listed, version=3, alignment=32):
    out = padded(header(values, listed, version, alignment), alignment)
    return out + b"".join(padded(data, alignment) for _, _, _, data in listed)


def without(values, *keys):
    return {k: v for k, v in values.items() if not any(k.endswith(key) for key in keys)}


def with_(values, **changes):
    """changes: the key's end, with __ for a dot."""
    out = copy.deepcopy(values)
    for end, v in changes.items():
        end = end.replace("__", ".")
        out[next((k for k in out if k.endswith(end)), end if "." in end else "deepseek2." + end)] = v
    return out


def split(values, listed, count):
    size = -(-len(listed) // count)
    for i in range(count):
        mine = dict(values) if i == 0 else {}
        mine["split.no"], mine["split.count"] = (U16, i), (U16, count)
        yield f"-{i + 1:05}-of-{count:05}.gguf", gguf(mine, listed[i * size:(i + 1) * size])


def small():
    out = {"plain": gguf(VALUES, tensors()), "halves": gguf(VALUES, tensors(T_F16), version=2)}
    mla = with_(VALUES, head_count_kv=(U32, 1), attention__key_length=(U32, LATENT + ROPE), attention__value_length=(U32, LATENT))
    mla["deepseek2.attention.key_length_mla"], mla["deepseek2.attention.value_length_mla"] = (U32, NOPE + ROPE), (U32, V)
    out["deep-heads"] = gguf(mla, tensors(kv="deep"))
    out["flat-heads"] = gguf(mla, tensors(kv="flat"))
    out["q8-latent"] = gguf(VALUES, tensors(kv_kind=T_Q8_0))
    out["q8-heads"] = gguf(mla, tensors(T_Q8_0, kv="deep"))
    aligned = {**VALUES, "general.alignment": (U32, 128), "some.nest": (ARRAY, (ARRAY, [(U32, [1, 2]), (TEXT, ["a"])]))}
    out["aligned"] = gguf(aligned, tensors(), alignment=128)
    for end, data in split(VALUES, tensors(), 3):
        out["parts" + end[:-5]] = data
    v2 = without(VALUES, "gating_func", "group_count", "group_used_count", "weights_norm", "q_lora_rank", "weights_scale")
    v2 = with_(v2, yarn_log_multiplier=(F32, 0.0707))
    listed = [t for t in tensors() if "attn_q_" not in t[0] and "exp_probs" not in t[0] and t[0] != "output.weight"]
    rows = HEADS * (NOPE + ROPE)
    listed += [[f"blk.{i}.attn_q.weight", [HIDDEN, rows], T_F32, encode(T_F32, numbers(f"q{i}", HIDDEN * rows))] for i in range(2)]
    out["v2"] = gguf(v2, listed)
    v3 = with_(without(VALUES, "group_count", "group_used_count"), expert_count=(U32, 256), expert_used_count=(U32, 8),
               block_count=(U32, 3))
    v3["deepseek2.nextn_predict_layers"] = (U32, 1)
    named = [t for t in tensors() if t[0] in ("token_embd.weight", "output.weight", "blk.1.exp_probs_b.bias")]
    out["v3-before-groups"] = gguf(v3, named)
    return out


def tensor_info(data, name):
    """Where name's count of dimensions stands in a file's bytes."""
    return data.index(text(name)) + len(text(name))


def patched(data, at, new):
    return data[:at] + new + data[at + len(new):]


def corpus():
    whole, listed = gguf(VALUES, tensors()), tensors()
    q_a = tensor_info(whole, "blk.0.attn_q_a.weight")
    u64 = lambda n: struct.pack("<Q", n)

    def changed(**changes):
        return gguf(with_(VALUES, **changes), listed)

    def missing(name):
        return gguf(VALUES, [t for t in listed if t[0] != name])

    def lacks(key):
        return gguf(without(VALUES, key), listed)

    bad_q8 = [t if t[0] != "output.weight" else [t[0], t[1], T_Q8_0, b"\x00\x7e" + bytes(32) + bytes(34 * 3)] for t in listed]
    nan = [t if t[0] != "blk.1.ffn_up_exps.weight" else [*t[:3], t[3][:-4] + b"\x00\x00\xc0\x7f"] for t in listed]
    q4_1 = [t if t[0] != "output.weight" else [t[0], t[1], T_Q4_1, bytes(80)] for t in listed]
    q8_norm = [t if t[0] != "output_norm.weight" else [t[0], t[1], T_Q8_0, bytes(34)] for t in listed]
    deep = struct.pack("<I", ARRAY) + u64(1)
    cut = whole[:-32]
    return {
        "empty": (b"", "does not begin with GGUF"),
        "not-gguf": (b"GGML" + whole[4:], "does not begin with GGUF"),
        "cut-version": (whole[:6], "version: the file ends within it, at byte 6"),
        "version-1": (patched(whole, 4, struct.pack("<I", 1)), "version: 1 is neither 2 nor 3"),
        "big-endian": (patched(whole, 4, struct.pack(">I", 3)), "version: a big-endian file is not supported"),
        "too-many-tensors": (patched(whole, 8, u64(2 ** 60)), f"{2 ** 60} tensors: more than the file holds, or than 1048576"),
        "too-many-values": (patched(whole, 16, u64(2 ** 61)), f"{2 ** 61} metadata values: more than the file holds, or than 65536"),
        "long-key": (patched(whole, 24, u64(2 ** 63)), f"a metadata key: the file ends within it, at byte {len(whole)}"),
        "empty-key": (gguf({**VALUES, "": (U32, 1)}, listed), "a metadata key: 0 bytes, not 1 to 255 that are not 0"),
        "nul-in-key": (gguf({**VALUES, "a\0b": (U32, 1)}, listed), "a metadata key: 3 bytes, not 1 to 255 that are not 0"),
        "value-type": (gguf({**VALUES, "odd": (13, b"")}, listed), "odd: type 13 is none of GGUF's"),
        "item-type": (gguf({**VALUES, "odd": (ARRAY, struct.pack("<IQ", 99, 1))}, listed), "odd: type 99 is none of GGUF's"),
        "bool-of-two": (gguf({**VALUES, "odd": (BOOL, b"\2")}, listed), "odd: 2 is neither true nor false"),
        "huge-number": (gguf({**VALUES, "odd": (U64, 2 ** 63)}, listed), f"odd: {2 ** 63} is too large a number"),
        "array-count": (gguf({**VALUES, "odd": (ARRAY, struct.pack("<IQ", U32, 2 ** 62))}, listed),
                        f"odd: {2 ** 62} items do not fit the file"),
        "text-array-count": (gguf({"odd": (ARRAY, struct.pack("<IQ", TEXT, 2 ** 62) + u64(2 ** 40))}, []),
                             "odd: the file ends within it, at byte 64"),
        "deep-arrays": (gguf({"odd": (ARRAY, deep * 5)}, []), "odd: arrays within arrays, more than 4 deep"),
        "key-twice": (patched(gguf({**VALUES, "deepseek2.block_counx": (U32, 2)}, listed),
                              gguf({**VALUES, "deepseek2.block_counx": (U32, 2)}, listed).index(b"block_counx"), b"block_count"),
                      "deepseek2.block_count: stands twice in the metadata"),
        "tensor-twice": (gguf(VALUES, listed + listed[:1]), "token_embd.weight: stands twice in the file"),
        "tensor-overlaps": (patched(whole, q_a + 24, u64(0)), "blk.0.attn_q_a.weight: overlaps token_embd.weight"),
        "tensor-dims": (patched(whole, q_a, struct.pack("<I", 5)), "blk.0.attn_q_a.weight: 5 dimensions, at most 4 are allowed"),
        "tensor-size": (patched(whole, q_a + 4, u64(2 ** 40) * 2), "blk.0.attn_q_a.weight: its size is too large a product"),
        "tensor-type": (patched(whole, q_a + 20, struct.pack("<I", 77)), "blk.0.attn_q_a.weight: type 77 is not known: " + TYPES + " are supported"),
        "tensor-type-of-old": (patched(whole, q_a + 20, struct.pack("<I", 4)), "blk.0.attn_q_a.weight: type 4 is not known: " + TYPES + " are supported"),
        "tensor-block": (patched(whole, q_a + 20, struct.pack("<I", T_Q4_K)),
                         "blk.0.attn_q_a.weight: rows of 32 are no multiple of the 256 in a block of Q4_K"),
        "tensor-offset": (patched(whole, q_a + 24, u64(2 ** 40)), "blk.0.attn_q_a.weight: 512 bytes at offset "
                          f"{2 ** 40} are not within the file's {len(whole) - len(padded(header(VALUES, listed)))} bytes of data"),
        "tensor-unaligned": (patched(whole, q_a + 24, u64(4)), "blk.0.attn_q_a.weight: offset 4 is no multiple of 32"),
        "cut-data": (cut, f"blk.1.ffn_down_shexp.weight: 512 bytes at offset "
                     f"{sum(len(padded(t[3])) for t in listed[:-1])} are not within the file's "
                     f"{len(cut) - len(padded(header(VALUES, listed)))} bytes of data"),
        "alignment": (gguf({**VALUES, "general.alignment": (U32, 48)}, listed), "general.alignment: not a power of two up to 1048576"),
        "no-architecture": (lacks("architecture"), "general.architecture: missing"),
        "other-architecture": (changed(architecture=(TEXT, "llama")),
                               "general.architecture: \"llama\" is not supported, only deepseek2"),
        "no-embedding": (missing("token_embd.weight"), "token_embd.weight: missing"),
        "vocabulary": (gguf({**VALUES, "deepseek2.vocab_size": (U32, 5)}, listed),
                       "deepseek2.vocab_size: 5, but token_embd.weight has 4 rows"),
        "no-layers": (lacks("block_count"), "deepseek2.block_count: missing"),
        "layers-as-text": (changed(block_count=(TEXT, "2")), "deepseek2.block_count: not an integer"),
        "no-heads": (changed(attention__head_count=(U32, 0)), "deepseek2.attention.head_count: 0 is not between 1 and 4096"),
        "eps-as-integer": (changed(layer_norm_rms_epsilon=(U32, 1)),
                           "deepseek2.attention.layer_norm_rms_epsilon: not a floating-point number"),
        "one-kv-head": (changed(head_count_kv=(U32, 1)), "deepseek2.attention.key_length_mla: missing"),
        "odd-rope": (changed(dimension_count=(U32, 3)), "deepseek2.rope.dimension_count: 3 is odd"),
        "no-nope": (changed(dimension_count=(U32, 8)),
                    "deepseek2.attention.key_length: 8 leaves no 1 to 4096 values beside the 8 rotary ones"),
        "gating": (changed(expert_gating_func=(U32, 3)), "deepseek2.expert_gating_func: 3 is neither softmax (1) nor sigmoid (2)"),
        "groups": (changed(expert_group_count=(U32, 3)), "deepseek2.expert_group_count: 3 does not divide expert_count 4"),
        "groups-used": (changed(group_used_count=(U32, 3)),
                        "deepseek2.expert_group_used_count: 3 is not between 1 and expert_group_count 2"),
        "too-many-used": (changed(expert_used_count=(U32, 3)),
                          "deepseek2.expert_used_count: 3 is more than the 2 experts of the groups kept"),
        "norm-as-number": (changed(expert_weights_norm=(U32, 1)), "deepseek2.expert_weights_norm: neither true nor false"),
        "linear-rope": (changed(scaling__type=(TEXT, "linear")), "deepseek2.rope.scaling.type: only yarn is supported"),
        "no-multiplier": (lacks("yarn_log_multiplier"), "deepseek2.rope.scaling.yarn_log_multiplier: missing"),
        "nan-factor": (changed(scaling__factor=(F32, float("nan"))), "deepseek2.rope.scaling.factor: nan is not between 1 and 1e+06"),
        "no-eos": (lacks("eos_token_id"), "tokenizer.ggml.eos_token_id: missing"),
        "eos-beyond": (changed(eos_token_id=(U32, 4)), "tokenizer.ggml.eos_token_id: 4 is not between 0 and 3"),
        "no-norm": (missing("blk.1.ffn_norm.weight"), "blk.1.ffn_norm.weight: missing"),
        "no-experts": (missing("blk.1.ffn_up_exps.weight"), "blk.1.ffn_up_exps.weight: missing"),
        "other-shape": (changed(attention__q_lora_rank=(U32, 64)),
                        "blk.0.attn_q_a.weight: shape is [4, 32], but the metadata makes it [64, 32]"),
        "other-experts": (changed(expert_count=(U32, 8)),
                          "blk.1.ffn_gate_inp.weight: shape is [4, 32], but the metadata makes it [8, 32]"),
        "q4_1": (gguf(VALUES, q4_1), "output.weight: type Q4_1 is not supported, but " + TYPES + " are"),
        "q8-norm": (gguf(VALUES, q8_norm), "output_norm.weight: type Q8_0 is not supported here, but F32, F16, BF16 are"),
        "nan": (gguf(VALUES, nan), "blk.1.ffn_up_exps.weight: [15, 31] is NaN or infinite"),
        "bad-scale": (gguf(VALUES, bad_q8), "output.weight: [0, 0] begins a block whose scale is NaN or infinite"),
        "split-by-name-only": (gguf({**VALUES, "split.count": (U16, 2), "split.no": (U16, 0)}, listed),
                               "is part 1 of 2 by its metadata, so its name has to end in -00001-of-00002.gguf"),
        "split-number": (gguf({**VALUES, "split.count": (U16, 2), "split.no": (U16, 2)}, listed), "split.no: 2 of 2 files"),
        "split-count-as-text": (gguf({**VALUES, "split.count": (TEXT, "2")}, listed), "split.count: not an integer from 0 up"),
        "alone-00001-of-00002": (next(split(VALUES, listed, 2))[1], None),
    }


def byte_characters():
    """The character that stands for each byte in byte-level tokens."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in shown]
    return [chr(b) if b in shown else chr(256 + hidden.index(b)) for b in range(256)]


def tokenizers():
    """Bytes, and digits that merge where a word holds them together."""
    tokens = byte_characters() + ["12", "123", "<eos>", "<think>", "[PAD260]"]
    values = {
        "general.architecture": (TEXT, "deepseek2"), "tokenizer.ggml.model": (TEXT, "gpt2"),
        "tokenizer.ggml.pre": (TEXT, "deepseek-v3"), "tokenizer.ggml.tokens": (ARRAY, (TEXT, tokens)),
        "tokenizer.ggml.token_type": (ARRAY, (I32, [1] * 258 + [3, 4, 5])),
        "tokenizer.ggml.merges": (ARRAY, (TEXT, ["1 2", "12 3"])),
        "tokenizer.ggml.bos_token_id": (U32, 258), "tokenizer.ggml.eos_token_id": (U32, 258),
    }
    out = {pre: {**values, "tokenizer.ggml.pre": (TEXT, pre)}
           for pre in ("deepseek-v3", "deepseek-llm", "deepseek-coder", "deepseek-r1-qwen", "llama-bpe")}
    out["other-model"] = {**values, "tokenizer.ggml.model": (TEXT, "llama")}
    out["short-types"] = {**values, "tokenizer.ggml.token_type": (ARRAY, (I32, [1] * 258))}
    out["byte-type"] = {**values, "tokenizer.ggml.token_type": (ARRAY, (I32, [1] * 257 + [6, 3, 4, 5]))}
    out["odd-merge"] = {**values, "tokenizer.ggml.merges": (ARRAY, (TEXT, ["1 2", "123"]))}
    out["eos-beyond"] = {**values, "tokenizer.ggml.eos_token_id": (U32, 261)}
    return {name: gguf(v, []) for name, v in out.items()}


def main():
    for folder in ("small", "corpus", "text"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
        (HERE / folder).mkdir(parents=True)
    use_width(32)
    for name, data in small().items():
        (HERE / "small" / f"{name}.gguf").write_bytes(data)
    for name, data in tokenizers().items():
        (HERE / "text" / f"{name}.gguf").write_bytes(data)
    use_width(4)
    for name, (data, error) in corpus().items():
        path = f"{name}.gguf"
        line = f"{path}: {error}" if error else "alone-00002-of-00002.gguf: No such file or directory"
        (HERE / "corpus" / path).write_bytes(data)
        (HERE / "corpus" / f"{name}.txt").write_text(line + "\n")


if __name__ == "__main__":
    main()
