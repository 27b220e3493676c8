"""Times CTranslate2's generate_batch on a GPT-2; prints one JSON line.

    python bench_ctranslate2.py --model CT2_DIR --batch 16 --threads 2

To make a model from a Hugging Face directory, run this where transformers and torch are too:

    ct2-transformers-converter --model MODEL_DIR --output_dir CT2_DIR --quantization int8

CTranslate2 has no call for a single step, so this times greedy calls of generate_batch with fixed
lengths. The time of a step is the difference between calls of two lengths, divided by the
difference of the lengths, which cancels the prompt and the fixed cost of a call. With --batch 1, a
prefill is a call with the prompt and one new token. The keys are those of `whipsnake bench --json`.
"""

import argparse
import json
import random
import statistics
import time
from importlib.metadata import version

import ctranslate2

SHORT = 8  # Tokens of the shorter of the two calls.


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="a directory of CTranslate2's")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--generate-tokens", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    generator = ctranslate2.Generator(
        args.model, device="cpu", compute_type="int8", inter_threads=1, intra_threads=args.threads
    )
    with open(f"{args.model}/vocabulary.json", encoding="utf-8") as file:
        vocabulary = json.load(file)
    draw = random.Random(0)
    ordinary = vocabulary[300:40000]
    prompts = [
        [draw.choice(ordinary) for _ in range(args.prompt_tokens)] for _ in range(args.batch)
    ]

    def seconds(new_tokens):
        start = time.perf_counter()
        results = generator.generate_batch(
            prompts, max_length=new_tokens, min_length=new_tokens, sampling_topk=1,
            include_prompt_in_result=False, end_token=[],
        )
        taken = time.perf_counter() - start
        assert all(len(r.sequences_ids[0]) == new_tokens for r in results)
        return taken

    seconds(SHORT)  # Warm-up.
    prefills, steps = [], []
    for _ in range(args.repeat):
        first, short, long = seconds(1), seconds(SHORT), seconds(SHORT + args.generate_tokens)
        steps.append((long - short) / args.generate_tokens)
        prefills.append(first)
    step, prefill = statistics.median(steps), statistics.median(prefills)
    result = {
        "decode_tokens_per_second": args.batch / step,
        "time_per_output_token_ms": 1000 * step,
        "versions": {"ctranslate2": version("ctranslate2")},
    }
    if args.batch == 1:
        result["prefill_tokens_per_second"] = args.prompt_tokens / prefill
        result["time_to_first_token_ms"] = 1000 * prefill
    print(json.dumps(result))


if __name__ == "__main__":
    main()
