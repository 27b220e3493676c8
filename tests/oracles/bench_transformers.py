"""Times transformers' MambaForCausalLM in fp32 on the CPU; prints one JSON line.

    python bench_transformers.py --model DIR --threads 2
    python bench_transformers.py --config tests/configs/mamba-130m.json --random

Prefill is one call on the whole prompt. It fills the cache and computes the logits of the last
position only, which is all that generation needs. Decode is one call per token on that cache, with
given tokens: no sampling and no generate() around it. The model runs in eager mode, the default of
`pip install`: the fused kernels that transformers can use are for GPUs.

Each repeat is a prefill and G decode steps. time_to_first_token_ms is the median prefill;
time_per_output_token_ms is the median over repeats of the mean step. The rates are their inverses.
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import numpy
import torch
import transformers
from transformers import MambaConfig, MambaForCausalLM


def load_model(args):
    if args.model:
        return MambaForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    torch.manual_seed(args.seed)
    return MambaForCausalLM(MambaConfig(**json.loads(args.config.read_text()))).float().eval()


def measure(model, prompt, continuation):
    """Returns seconds of a prefill of `prompt` [1, P] and of a mean step of `continuation` [G]."""
    start = time.perf_counter()
    output = model(prompt, use_cache=True, logits_to_keep=1)
    prefill = time.perf_counter() - start

    start = time.perf_counter()
    for token in continuation:
        output = model(token, cache_params=output.cache_params, use_cache=True, logits_to_keep=1)
    return prefill, (time.perf_counter() - start) / len(continuation)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", type=Path, help="a model directory")
    source.add_argument("--config", type=Path, help="a config.json; needs --random")
    parser.add_argument("--random", action="store_true", help="random weights of that config")
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--generate-tokens", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if bool(args.config) != args.random:
        parser.error("--config and --random go together")

    torch.set_num_threads(args.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = load_model(args)
    generator = torch.Generator().manual_seed(args.seed)
    ids = torch.randint(
        model.config.vocab_size, (args.prompt_tokens + args.generate_tokens,), generator=generator
    )
    prompt = ids[: args.prompt_tokens][None]
    continuation = ids[args.prompt_tokens :].reshape(-1, 1, 1)

    with torch.inference_mode():
        measure(model, prompt, continuation[:8])  # Warm-up: threads, allocator, oneDNN's caches.
        runs = [measure(model, prompt, continuation) for _ in range(args.repeat)]
    prefill, step = (statistics.median(times) for times in zip(*runs))
    print(
        json.dumps({
            "prefill_tokens_per_second": args.prompt_tokens / prefill,
            "decode_tokens_per_second": 1 / step,
            "time_to_first_token_ms": 1000 * prefill,
            "time_per_output_token_ms": 1000 * step,
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "numpy": numpy.__version__,
            },
        })
    )


if __name__ == "__main__":
    main()
