"""Times llama.cpp's decode call on a GGUF file; prints one JSON line.

    python bench_llama.py --model FILE.gguf --batch 8 --threads 2
    python bench_llama.py --model FILE.gguf --logits 5,17,3

This times llama_decode and the wait for its result, with the low-level bindings and without
sampling. With --batch 1, it runs a prompt in one batch with the logits of its last position
(prefill), then one token per call. With --batch B, each call runs one token of each of B sequences.
A thread pool is attached to the context, as llama.cpp's own programs do; otherwise llama.cpp would
start threads in every call. The keys are those of `whipsnake bench --json`.
"""

import argparse
import contextlib
import ctypes
import json
import os
import random
import statistics
import time
from importlib.metadata import version
from pathlib import Path

import llama_cpp

MAX_THREADS = 512  # GGML_MAX_N_THREADS


class ThreadpoolParams(ctypes.Structure):  # ggml_threadpool_params
    _fields_ = [
        ("cpumask", ctypes.c_bool * MAX_THREADS),
        ("n_threads", ctypes.c_int),
        ("prio", ctypes.c_int),
        ("poll", ctypes.c_uint32),
        ("strict_cpu", ctypes.c_bool),
        ("paused", ctypes.c_bool),
    ]


def attach_threadpool(context, threads):
    """Attaches a thread pool through ctypes, because the bindings lack these calls."""
    libraries = Path(llama_cpp.__file__).with_name("lib")
    base = ctypes.CDLL(str(libraries / "libggml-base.so"))
    cpu = ctypes.CDLL(str(libraries / "libggml-cpu.so"))
    llama = ctypes.CDLL(str(libraries / "libllama.so"))
    base.ggml_threadpool_params_default.argtypes = [ctypes.c_int]
    base.ggml_threadpool_params_default.restype = ThreadpoolParams
    cpu.ggml_threadpool_new.argtypes = [ctypes.POINTER(ThreadpoolParams)]
    cpu.ggml_threadpool_new.restype = ctypes.c_void_p
    llama.llama_attach_threadpool.argtypes = [ctypes.c_void_p] * 3
    llama.llama_attach_threadpool.restype = None
    params = base.ggml_threadpool_params_default(threads)
    assert params.n_threads == threads, "ggml_threadpool_params has another layout"
    pool = cpu.ggml_threadpool_new(ctypes.byref(params))
    assert pool
    llama.llama_attach_threadpool(context, pool, pool)


@contextlib.contextmanager
def quiet():
    """Discards what llama.cpp writes to stderr."""
    kept = os.dup(2)
    with open(os.devnull, "w") as null:
        os.dup2(null.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class Session:
    """A context for `sequences` sequences at once."""

    def __init__(self, path, sequences, tokens, threads):
        with quiet():
            llama_cpp.llama_backend_init()
            self.model = llama_cpp.llama_model_load_from_file(
                str(path).encode(), llama_cpp.llama_model_default_params()
            )
            if not self.model:
                raise SystemExit(f"{path}: llama.cpp does not load it")
            params = llama_cpp.llama_context_default_params()
            params.n_ctx = tokens * sequences
            params.n_batch = params.n_ubatch = max(512, tokens, sequences)
            params.n_seq_max = sequences
            params.n_threads = params.n_threads_batch = threads
            self.context = llama_cpp.llama_init_from_model(self.model, params)
            if not self.context:
                raise SystemExit(f"{path}: llama.cpp makes no context")
            attach_threadpool(self.context, threads)
        vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(vocabulary)
        self.batch = llama_cpp.llama_batch_init(params.n_batch, 0, 1)

    def clear(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def decode(self, entries):
        """Decodes (token, position, sequence, whether to give logits) entries; returns seconds."""
        batch = self.batch
        batch.n_tokens = len(entries)
        for i, (token, position, sequence, logits) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, logits
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        start = time.perf_counter()
        status = llama_cpp.llama_decode(self.context, batch)
        llama_cpp.llama_synchronize(self.context)
        seconds = time.perf_counter() - start
        if status != 0:
            raise SystemExit(f"llama_decode returned {status}")
        return seconds

    def logits(self, index):
        values = llama_cpp.llama_get_logits_ith(self.context, index)
        return values[: self.vocabulary]

    def prefill(self, tokens):
        last = len(tokens) - 1
        return self.decode([(token, i, 0, i == last) for i, token in enumerate(tokens)])


def measure(session, prompt, sequences, steps, draw):
    """Returns the seconds of a prefill (None if there is no prompt) and of a mean step."""
    session.clear()
    prefill = session.prefill(prompt) if prompt else None
    begin = len(prompt)
    if sequences > 1:  # Starts every sequence, untimed.
        session.decode([(draw(), 0, s, True) for s in range(sequences)])
        begin = 1
    times = [
        session.decode([(draw(), begin + i, s, True) for s in range(sequences)])
        for i in range(steps)
    ]
    return prefill, statistics.mean(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--prompt-tokens", type=int, default=512, help="for a batch of 1")
    parser.add_argument("--generate-tokens", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--logits", help="ids with commas: prints the best five after each instead")
    args = parser.parse_args()

    generator = random.Random(0)
    tokens = args.prompt_tokens + args.generate_tokens + 1
    session = Session(args.model, args.batch, tokens, args.threads)
    if args.logits:
        ids = [int(token) for token in args.logits.split(",")]
        session.decode([(token, i, 0, True) for i, token in enumerate(ids)])
        for i in range(len(ids)):
            values = session.logits(i)
            best = sorted(range(len(values)), key=values.__getitem__)[:-6:-1]
            print(json.dumps([[token, values[token]] for token in best]))
        return

    draw = lambda: generator.randrange(session.vocabulary)
    prompt = [draw() for _ in range(args.prompt_tokens)] if args.batch == 1 else []
    measure(session, prompt, args.batch, 8, draw)  # Warm-up: pages, threads.
    runs = [
        measure(session, prompt, args.batch, args.generate_tokens, draw)
        for _ in range(args.repeat)
    ]
    prefills, steps = zip(*runs)
    step = statistics.median(steps)
    result = {
        "decode_tokens_per_second": args.batch / step,
        "time_per_output_token_ms": 1000 * step,
        "versions": {"llama-cpp-python": version("llama-cpp-python")},
        "system": llama_cpp.llama_print_system_info().decode(),
    }
    if prompt:
        prefill = statistics.median(prefills)
        result["prefill_tokens_per_second"] = len(prompt) / prefill
        result["time_to_first_token_ms"] = 1000 * prefill
    print(json.dumps(result))


if __name__ == "__main__":
    main()
