"""llama.cpp's own library, as npm's @node-llama-cpp/linux-x64 packs it, driven for `./dev accuracy --peer FOLDER`: quantise a GGUF, logits of
token ids, greedy answers. Structures are passed by value, so their layouts belong to one release: RELEASE, of package 3.22.1."""
import array
import ctypes as c
import json
import os

RELEASE = "v0.5.0"
FTYPES = {"f16": 1, "q4_0": 2, "q5_0": 8, "q5_1": 9, "q4_k_m": 15, "q5_k_m": 17, "q6_k": 18, "iq4_nl": 25, "bf16": 32}


class Opaque(c.Structure):
    """llama_model_params: taken as the library gives it."""
    _fields_ = [("words", c.c_uint64 * 10)]


class Context(c.Structure):
    _fields_ = [("n_ctx", c.c_uint32), ("n_batch", c.c_uint32), ("n_ubatch", c.c_uint32), ("n_seq_max", c.c_uint32),
                ("unused", c.c_uint32 * 3), ("threads", c.c_int32), ("threads_batch", c.c_int32), ("rest", c.c_uint32 * 31)]


class Batch(c.Structure):
    _fields_ = [("n_tokens", c.c_int32), ("token", c.POINTER(c.c_int32)), ("embd", c.c_void_p), ("pos", c.POINTER(c.c_int32)),
                ("n_seq_id", c.POINTER(c.c_int32)), ("seq_id", c.POINTER(c.POINTER(c.c_int32))), ("logits", c.POINTER(c.c_int8))]


class Quantise(c.Structure):
    _fields_ = [("threads", c.c_int32), ("ftype", c.c_int32), ("output_type", c.c_int32), ("embedding_type", c.c_int32),
                ("allow_requantize", c.c_bool), ("rest", c.c_uint8 * 47)]


LOG = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)


class Library:
    def __init__(self, folder, threads=1):
        self.folder, self.threads, self.said = os.path.abspath(folder), threads, []
        with open(os.path.join(folder, "_nlcBuildMetadata.json"), encoding="utf-8") as file:
            release = json.load(file)["buildOptions"]["llamaCpp"]["release"]
        if release != RELEASE:
            raise SystemExit(f"{folder}: llama.cpp {release}; this program knows the structures of {RELEASE}")
        for name in ("libggml-base.so", f"libggml.{RELEASE}.so"):
            self.ggml = c.CDLL(os.path.join(self.folder, name), mode=c.RTLD_GLOBAL)
        self.llama = c.CDLL(os.path.join(self.folder, f"libllama.{RELEASE}.so"), mode=c.RTLD_GLOBAL)
        self.log = LOG(lambda level, text, _: self.said.append(text.decode(errors="replace")))
        for name, result, arguments in [
                ("llama_log_set", None, [LOG, c.c_void_p]),
                ("llama_model_default_params", Opaque, []), ("llama_context_default_params", Context, []),
                ("llama_model_quantize_default_params", Quantise, []),
                ("llama_model_load_from_file", c.c_void_p, [c.c_char_p, Opaque]), ("llama_model_free", None, [c.c_void_p]),
                ("llama_init_from_model", c.c_void_p, [c.c_void_p, Context]), ("llama_free", None, [c.c_void_p]),
                ("llama_model_get_vocab", c.c_void_p, [c.c_void_p]), ("llama_vocab_n_tokens", c.c_int32, [c.c_void_p]),
                ("llama_vocab_is_eog", c.c_bool, [c.c_void_p, c.c_int32]),
                ("llama_get_memory", c.c_void_p, [c.c_void_p]), ("llama_memory_clear", None, [c.c_void_p, c.c_bool]),
                ("llama_batch_init", Batch, [c.c_int32, c.c_int32, c.c_int32]), ("llama_batch_free", None, [Batch]),
                ("llama_decode", c.c_int32, [c.c_void_p, Batch]), ("llama_get_logits_ith", c.POINTER(c.c_float), [c.c_void_p, c.c_int32]),
                ("llama_detokenize", c.c_int32, [c.c_void_p, c.POINTER(c.c_int32), c.c_int32, c.c_char_p, c.c_int32, c.c_bool, c.c_bool]),
                ("llama_model_quantize", c.c_uint32, [c.c_char_p, c.c_char_p, c.POINTER(Quantise)])]:
            function = getattr(self.llama, name)
            function.restype, function.argtypes = result, arguments
        self.llama.llama_log_set(self.log, None)
        self.ggml.ggml_backend_load_all_from_path(self.folder.encode())

    def quantise(self, source, target, ftype):
        """Writes target with llama.cpp's quantiser, from any GGUF."""
        how = self.llama.llama_model_quantize_default_params()
        how.threads, how.ftype, how.allow_requantize = self.threads, FTYPES[ftype], True
        if self.llama.llama_model_quantize(source.encode(), target.encode(), c.byref(how)) != 0:
            raise SystemExit(f"{source} as {ftype}: {''.join(self.said[-5:])}")

    def open(self, path, context=2048):
        return Model(self, path, context)


class Model:
    def __init__(self, library, path, context):
        self.api, self.path = library.llama, path
        self.model = self.api.llama_model_load_from_file(path.encode(), self.api.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"llama.cpp does not open {path}: {''.join(library.said[-5:])}")
        how = self.api.llama_context_default_params()
        how.n_ctx = how.n_batch = how.n_ubatch = context
        how.threads = how.threads_batch = library.threads
        self.context = self.api.llama_init_from_model(self.model, how)
        if not self.context:
            raise SystemExit(f"llama.cpp makes no context for {path}: {''.join(library.said[-5:])}")
        self.vocab = self.api.llama_model_get_vocab(self.model)
        self.width = self.api.llama_vocab_n_tokens(self.vocab)
        self.batch = self.api.llama_batch_init(context, 0, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.api.llama_batch_free(self.batch)
        self.api.llama_free(self.context)
        self.api.llama_model_free(self.model)

    def decode(self, tokens, first, all_logits):
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, first + i, 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = all_logits or i == len(tokens) - 1
        if self.api.llama_decode(self.context, batch) != 0:
            raise SystemExit(f"{self.path}: llama_decode failed at position {first}")

    def logits(self, tokens):
        """[len(tokens) * vocabulary] floats: the logits after each token."""
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)
        self.decode(tokens, 0, True)
        values = array.array("f")
        for i in range(len(tokens)):
            values.extend(self.api.llama_get_logits_ith(self.context, i)[:self.width])
        return values

    def answer(self, prompt, limit=512):
        """What greedy choice says after prompt: token ids, without the one that ends it."""
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)
        said, new, at = [], prompt, 0
        while len(said) < limit:
            self.decode(new, at, False)
            row = self.api.llama_get_logits_ith(self.context, len(new) - 1)[:self.width]
            at, best = at + len(new), row.index(max(row))
            if self.api.llama_vocab_is_eog(self.vocab, best):
                break
            said.append(best)
            new = [best]
        return said

    def text(self, tokens):
        room = c.create_string_buffer(16 * len(tokens) + 64)
        size = self.api.llama_detokenize(self.vocab, (c.c_int32 * len(tokens))(*tokens), len(tokens), room, len(room), False, True)
        return room.raw[:max(size, 0)].decode(errors="replace")
