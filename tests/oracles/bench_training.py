"""Times steps of training in PyTorch on the CPU; prints one JSON line per step.

    python bench_training.py --config tests/configs/gpt2-124m.json --mode bf16
    python bench_training.py --config tests/configs/mamba-130m.json --batch 4
    python bench_training.py --config tests/configs/gpt2-124m.json --products

A step is forward, backward and AdamW (PyTorch's fused one, the default of transformers' trainer)
with labels = inputs, random tokens, random weights and no dropout. Gradients are freed at the end
of a step. GPT-2's attention is PyTorch's scaled_dot_product_attention; Mamba is transformers' path
without kernels. The modes:

    fp32           everything in fp32
    bf16           forward in torch.autocast's bfloat16; weights, gradients and moments in fp32
    checkpointing  fp32; each block's forward is computed again in the backward pass
    chunked        fp32; the head and the loss are computed in chunks of 512 rows, and again in the
                   backward pass, so that the logits of all rows never exist at once

cpu_seconds is the processor time of all threads. Where other processes run at the same time, and
with OMP_WAIT_POLICY=passive, cpu_seconds / threads tells better than step_seconds how long a step
takes on an idle machine.

rss_growth_bytes is the process's peak resident memory so far, less its resident memory before the
model was built. Linux records the peak (VmHWM), and /proc/self/clear_refs resets it.

With --products, only the matrix products of such a step are timed: for each linear layer the
output, the input's gradient and the weight's gradient, and for GPT-2's attention the two products
of every head and their four gradients, without masks. Each product is timed alone, as the median of
--steps calls, and counted as often as it occurs: once per layer.
"""

import argparse
import contextlib
import json
import statistics
import time
from pathlib import Path

import torch
import torch.utils.checkpoint
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging


def resident_bytes(field):
    """Returns VmRSS, the resident memory, or VmHWM, its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {field}")


def reset_peak():
    Path("/proc/self/clear_refs").write_text("5")


def read_config(file):
    """Returns the config without dropout."""
    config = json.loads(file.read_text())
    return {key: 0.0 if key.endswith("_pdrop") else value for key, value in config.items()}


def load_model(config, mode):
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config)).float().train()
    if mode == "checkpointing":
        model.activation_checkpointing_enable({"use_reentrant": False})
    return model


def chunk_loss(head, hidden, targets):
    return torch.nn.functional.cross_entropy(head(hidden), targets, reduction="sum")


def chunked_loss(model, tokens):
    """Returns the loss of model(input_ids=tokens, labels=tokens)."""
    hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state[:, :-1]
    rows, targets = hidden.flatten(0, 1), tokens[:, 1:].flatten()
    losses = [
        torch.utils.checkpoint.checkpoint(
            chunk_loss, model.get_output_embeddings(), *chunk, use_reentrant=False)
        for chunk in zip(rows.split(512), targets.split(512))
    ]
    return sum(losses) / targets.numel()


def step_loss(model, mode, tokens):
    if mode == "chunked":
        return chunked_loss(model, tokens)
    return model(input_ids=tokens, labels=tokens, use_cache=False).loss


def measure_steps(args, config):
    """Yields the result of each step."""
    reset_peak()
    before = resident_bytes("VmRSS")
    model = load_model(config, args.mode)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    tokens = torch.randint(config["vocab_size"], (args.batch, args.length))
    for _ in range(args.steps):
        start, cpu_start = time.perf_counter(), time.process_time()
        autocast = torch.autocast("cpu", torch.bfloat16)
        with autocast if args.mode == "bf16" else contextlib.nullcontext():
            loss = step_loss(model, args.mode, tokens)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        yield {
            "mode": args.mode,
            "step_seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "loss": loss.item(),
            "rss_growth_bytes": resident_bytes("VmHWM") - before,
        }


def linear_layers(config):
    """Returns (inputs, outputs, how many) of the linear layers, with the head last."""
    V = config["vocab_size"]
    if config["model_type"] == "gpt2":
        d, layers = config["n_embd"], config["n_layer"]
        F = config.get("n_inner") or 4 * d
        sizes = [(d, 3 * d), (d, d), (d, F), (F, d)]
    else:
        d, layers = config["hidden_size"], config["num_hidden_layers"]
        E, N, R = config["intermediate_size"], config["state_size"], config["time_step_rank"]
        sizes = [(d, 2 * E), (E, R + 2 * N), (R, E), (E, d)]
    return [(*size, layers) for size in sizes] + [(d, V, 1)]


def median_seconds(product, a, b, repeats):
    def measure():
        start = time.perf_counter()
        product(a, b)
        return time.perf_counter() - start

    measure()  # Warm-up: threads, allocator, oneDNN's caches.
    return statistics.median(measure() for _ in range(repeats))


def linear_seconds(args, config, dtype):
    rows, total = args.batch * args.length, 0
    for inputs, outputs, count in linear_layers(config):
        x = torch.randn(rows, inputs, dtype=dtype)
        w = torch.randn(outputs, inputs, dtype=dtype)
        g = torch.randn(rows, outputs, dtype=dtype)
        for a, b in [(x, w.T), (g, w), (g.T, x)]:
            total += count * median_seconds(torch.matmul, a, b, args.steps)
    return total


def attention_seconds(args, config, dtype):
    if config["model_type"] != "gpt2":
        return 0
    heads, layers = config["n_head"], config["n_layer"]
    q, g = torch.randn(2, args.batch, heads, args.length, config["n_embd"] // heads, dtype=dtype)
    p = torch.randn(args.batch, heads, args.length, args.length, dtype=dtype)
    # scores = q k', y = p v; then of v, p, q and k.
    pairs = [(q, g.mT), (p, q), (p.mT, g), (g, q.mT), (p, q), (p.mT, q)]
    return layers * sum(median_seconds(torch.matmul, a, b, args.steps) for a, b in pairs)


def measure_products(args, config):
    """Yields the seconds of a step's products, for each type."""
    for dtype in [torch.float32, torch.bfloat16]:
        linear = linear_seconds(args, config, dtype)
        attention = attention_seconds(args, config, dtype)
        flops = sum(6 * m * n * count for m, n, count in linear_layers(config))
        flops *= args.batch * args.length
        yield {
            "mode": "products",
            "type": str(dtype).removeprefix("torch."),
            "step_seconds": linear + attention,
            "linear_seconds": linear,
            "attention_seconds": attention,
            "linear_gflops_per_second": flops / linear / 1e9,
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--config", type=Path, required=True, help="a config.json")
    parser.add_argument("--mode", choices=["fp32", "bf16", "checkpointing", "chunked"],
                        default="fp32")
    parser.add_argument("--products", action="store_true", help="only the matrix products")
    parser.add_argument("--steps", type=int, default=3, help="the first one is a warm-up")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    logging.set_verbosity_error()
    measure = measure_products if args.products else measure_steps
    circumstances = {
        "model": args.config.stem, "batch": args.batch, "length": args.length,
        "threads": args.threads, "torch": torch.__version__,
    }
    for result in measure(args, read_config(args.config)):
        print(json.dumps(result | circumstances), flush=True)


if __name__ == "__main__":
    main()
