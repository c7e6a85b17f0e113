#!/usr/bin/env python3
"""Our time for one expert's feed-forward over that of llama.cpp and ik_llama.cpp, in turns on this machine: ./dev peers.

--llama is the folder of llama.cpp's libraries as the npm package @node-llama-cpp/linux-x64 packs them (its bins/linux-x64), --ik the folder
of the libggml.so that a build of ik_llama.cpp made (build/ggml/src). Their functions are called as they are, through ctypes: a graph of gate
and up, SwiGLU and down, whose ids are all the same expert, another of --experts each pass so that none is in a cache. The time of a run is
its quickest pass, a figure the median over --turns. Each peer runs in a process of its own.
"""
import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time

ESSAIM = os.path.join(os.environ.get("ESSAIM_BUILD", "build/release"), "essaim")
HIDDEN, INTERMEDIATE = 7168, 2048
F32, I32 = 0, 26
TYPES = {"q8_0": 8, "q4_0": 2, "q5_0": 6, "q5_1": 7, "q4_k": 12, "q5_k": 13, "q6_k": 14}
IK_INTERLEAVED = {"q8_0": 208, "q4_k": 212}  # its q8_0_r8 and q4_k_r4
SILU = 10  # ggml_unary_op
PASS_SECONDS, PASSES_MIN = 0.7, 7
POINTER, SIZE, LONG, INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64, ctypes.c_int


class InitParams(ctypes.Structure):
    _fields_ = [("mem_size", SIZE), ("mem_buffer", POINTER), ("no_alloc", ctypes.c_bool)]


class Peer:
    """One library: its functions, found by name wherever they stand, and a backend of so many threads."""

    def __init__(self, folder, is_ik, threads):
        names = sorted(name for name in os.listdir(folder) if name.startswith("libggml") and ".so" in name)
        if not names:
            sys.exit("no libggml*.so")
        # The base first: the others are linked against it, and look for it where the system does.
        wanted = sorted((name for name in names if name.startswith(("libggml-base.", "libggml."))), key=lambda name: "base" not in name)
        self.libraries = [ctypes.CDLL(os.path.join(folder, name), mode=ctypes.RTLD_GLOBAL | os.RTLD_LAZY) for name in wanted]
        if is_ik:
            self.backend = self.call("ggml_backend_cpu_init", POINTER) or sys.exit("no backend for this processor")
            self.call("ggml_backend_cpu_set_n_threads", None, POINTER(self.backend), INT(threads))
        else:
            self.call("ggml_backend_load_all_from_path", None, ctypes.c_char_p(folder.encode()))
            self.backend = self.call("ggml_backend_init_by_type", POINTER, INT(0), None) or sys.exit("no backend for this processor")
            device = self.call("ggml_backend_get_device", POINTER, POINTER(self.backend))
            registry = self.call("ggml_backend_dev_backend_reg", POINTER, POINTER(device))
            setter = self.call("ggml_backend_reg_get_proc_address", POINTER, POINTER(registry), b"ggml_backend_set_n_threads")
            ctypes.CFUNCTYPE(None, POINTER, INT)(setter)(self.backend, threads)
        self.context = self.call("ggml_init", POINTER, InitParams(64 << 20, None, True))

    def call(self, name, result, *arguments):
        for library in self.libraries:
            if hasattr(library, name):
                function = getattr(library, name)
                function.restype = result
                return function(*arguments)
        sys.exit(f"the library has no {name}")

    def tensor(self, kind, *dims):
        return POINTER(self.call(f"ggml_new_tensor_{len(dims)}d", POINTER, POINTER(self.context), INT(kind), *map(LONG, dims)))

    def made(self, name, *arguments):
        return POINTER(self.call(name, POINTER, POINTER(self.context), *arguments))

    def fill(self, tensor, kind, cols, rows, count):
        """The same eight random rows of a type, again and again, in each of count matrices."""
        bytes_each = self.call("ggml_nbytes", SIZE, tensor) // count
        values = (ctypes.c_float * (8 * cols))(*(((i * 2654435761 >> 8) % 2001) / 1000 - 1 for i in range(8 * cols)))
        eight = ctypes.create_string_buffer(bytes_each // rows * 8)
        self.call("ggml_quantize_chunk", SIZE, INT(kind), values, eight, LONG(0), LONG(8), LONG(cols), None, None)
        matrix = eight.raw * (rows // 8)
        for i in range(count):
            self.call("ggml_backend_tensor_set", None, tensor, matrix, SIZE(bytes_each * i), SIZE(len(matrix)))


def time_peer(folder, is_ik, kind, experts, rows_list, threads):
    """{rows: the quickest pass in ms}."""
    peer = Peer(folder, is_ik, threads)
    gate, up = (peer.tensor(kind, HIDDEN, INTERMEDIATE, experts) for _ in range(2))
    down = peer.tensor(kind, INTERMEDIATE, HIDDEN, experts)
    graphs = []
    for rows in rows_list:
        x, ids = peer.tensor(F32, HIDDEN, 1, rows), peer.tensor(I32, 1, rows)
        if is_ik:
            h = peer.made("ggml_moe_up_gate", up, gate, x, ids, INT(SILU))
        else:
            h = peer.made("ggml_swiglu_split", peer.made("ggml_mul_mat_id", gate, x, ids), peer.made("ggml_mul_mat_id", up, x, ids))
        y = peer.made("ggml_mul_mat_id", down, h, ids)
        graph = peer.made("ggml_new_graph")
        peer.call("ggml_build_forward_expand", None, graph, y)
        graphs.append((rows, x, ids, graph))
    if not peer.call("ggml_backend_alloc_ctx_tensors", POINTER, POINTER(peer.context), POINTER(peer.backend)):
        sys.exit("no memory for the experts")
    for tensor, cols, count in ((gate, HIDDEN, INTERMEDIATE), (up, HIDDEN, INTERMEDIATE), (down, INTERMEDIATE, HIDDEN)):
        peer.fill(tensor, kind, cols, count, experts)
    best = {}
    for rows, x, ids, graph in graphs:
        values = (ctypes.c_float * (HIDDEN * rows))(*((i * 40503 % 997) / 500 - 1 for i in range(HIDDEN * rows)))
        peer.call("ggml_backend_tensor_set", None, x, values, SIZE(0), SIZE(ctypes.sizeof(values)))
        passes, end = [], time.monotonic() + PASS_SECONDS
        while len(passes) < PASSES_MIN or time.monotonic() < end:
            chosen = (ctypes.c_int32 * rows)(*([len(passes) % experts] * rows))
            peer.call("ggml_backend_tensor_set", None, ids, chosen, SIZE(0), SIZE(ctypes.sizeof(chosen)))
            start = time.perf_counter()
            if peer.call("ggml_backend_graph_compute", INT, POINTER(peer.backend), graph) != 0:
                sys.exit("the graph was not computed")
            passes.append(time.perf_counter() - start)
        best[rows] = min(passes[1:]) * 1e3
    return best


def run_peer(values, folder, is_ik, kind):
    command = [sys.executable, __file__, "--one", json.dumps([folder, is_ik, kind, values.experts, values.rows, values.threads])]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=600,
                          env=dict(os.environ, LD_LIBRARY_PATH=folder))
    if done.returncode != 0:
        sys.exit(f"{folder}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f'ended with {done.returncode}'}")
    return {int(rows): ms for rows, ms in json.loads(done.stdout.splitlines()[-1]).items()}


def run_ours(values, form):
    best = {}
    for rows in values.rows:
        command = [ESSAIM, "bench", "expert", "--experts", values.experts, "--threads", values.threads, "--rows", rows, "--format", form,
                   "--seconds", 1, "--json"]
        best[rows] = json.loads(subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout)["best_ms_per_pass"]
    return best


def numbers(text):
    return [int(word) for word in text.split(",")]


def main():
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(time_peer(*json.loads(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(prog="./dev peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama", metavar="FOLDER", help="of llama.cpp's libraries")
    parser.add_argument("--ik", metavar="FOLDER", help="of ik_llama.cpp's libggml.so")
    parser.add_argument("--formats", default="q8_0,q4_k", type=lambda text: text.split(","), help=f"of {', '.join(TYPES)} (default q8_0,q4_k)")
    parser.add_argument("--rows", default="1,4,8,64", type=numbers, help="rows in a pass (default 1,4,8,64)")
    parser.add_argument("--threads", default=os.cpu_count(), type=int, help="threads of each (default: one for each processor)")
    parser.add_argument("--experts", default=16, type=int, help="experts to go through (default 16)")
    parser.add_argument("--turns", default=3, type=int, help="how often all run, one after the other (default 3)")
    values = parser.parse_args()
    unknown = [form for form in values.formats if form not in TYPES]
    if unknown or not (values.llama or values.ik):
        parser.error(f"{unknown[0]}: not among {', '.join(TYPES)}" if unknown else "--llama, --ik or both are needed")
    for form in values.formats:
        ways = {"ours": lambda form=form: run_ours(values, form)}
        if values.llama:
            ways["llama.cpp"] = lambda form=form: run_peer(values, os.path.abspath(values.llama), False, TYPES[form])
        if values.ik:
            ways["ik"] = lambda form=form: run_peer(values, os.path.abspath(values.ik), True, TYPES[form])
        if values.ik and form in IK_INTERLEAVED:
            ways["ik r4"] = lambda form=form: run_peer(values, os.path.abspath(values.ik), True, IK_INTERLEAVED[form])
        taken = {name: [] for name in ways}
        for _ in range(values.turns):
            for name, way in ways.items():
                taken[name].append(way())
        peers = [name for name in ways if name != "ours"]
        print("| " + " | ".join(["format", "rows", *(f"{name}, ms" for name in ways), *(f"over {name}" for name in peers)]) + " |")
        print("|" + "---|" * (2 + len(ways) + len(peers)))
        for rows in values.rows:
            ms = {name: statistics.median(turn[rows] for turn in turns) for name, turns in taken.items()}
            print("| " + " | ".join([form, str(rows), *(f"{ms[name]:.2f}" for name in ways), *(f"{ms['ours'] / ms[name]:.2f}" for name in peers)]) + " |",
                  flush=True)


if __name__ == "__main__":
    main()
