"""Checks a demo model's reference.json against transformers, in fp32 on the stored weights.

    python check_demo.py MODEL_DIR --text EVALUATION.txt

The model is a Mamba or a GPT-2, the latter with CRReLU or another activation. Compares the greedy
continuations, the best logits of their first step, and the loss over windows of the text as
`whipsnake evaluate` defines it. Exits 1 if something differs.
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM
from transformers.utils import logging

import crrelu  # noqa: F401: registers the activation with transformers


def greedy(model, prompt, count):
    """Returns `count` greedy tokens, and the logits of the first step."""
    key = "cache_params" if model.config.model_type == "mamba" else "past_key_values"
    first, tokens, cache, step = None, [], None, prompt
    for _ in range(count):
        output = model(torch.tensor([step]), **{key: cache}, use_cache=True, logits_to_keep=1)
        cache, logits = output[key], output.logits[0, -1]
        first = logits if first is None else first
        step = [int(logits.argmax())]
        tokens += step
    return tokens, first


def check_greedy(model, tokenizer, case):
    prompt, expected = tokenizer.encode(case["prompt"]).ids, case["token_ids"]
    tokens, first = greedy(model, case["prompt_ids"], len(expected))
    error = max(abs(float(first[i]) - value) for i, value in case["first_logits_top8"])
    text = tokenizer.decode(tokens, skip_special_tokens=False)
    same = [prompt == case["prompt_ids"], tokens == expected, text == case["text"]]
    print(f"{case['prompt']!r}: prompt ids, tokens, text same: {same}; logits within {error:.1e}")
    return all(same) and error < 1e-4


def evaluate(model, ids, window, batch=8):
    """Returns the mean loss in nats over the predicted tokens of non-overlapping windows, and
    their number."""
    windows = [ids[i : i + window] for i in range(0, len(ids), window)]
    whole = [w for w in windows if len(w) == window]
    batches = [whole[i : i + batch] for i in range(0, len(whole), batch)]
    batches += [[w] for w in windows if 1 < len(w) < window]
    total, predicted = 0.0, 0
    for rows in batches:
        rows = torch.tensor(rows)
        logits = model(rows, use_cache=False).logits[:, :-1].flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(logits, rows[:, 1:].flatten(), reduction="none")
        total += float(loss.double().sum())
        predicted += loss.numel()
    return total / predicted, predicted


def check_loss(model, tokenizer, text, reference):
    ids = tokenizer.encode(text).ids
    nll, predicted = evaluate(model, ids, reference["window"])
    print(
        f"tokens {len(ids)} (reference {reference['tokens']}), "
        f"predicted {predicted} ({reference['predicted']}), nll {nll:.9f} ({reference['nll']:.9f})"
    )
    same = (len(ids), predicted) == (reference["tokens"], reference["predicted"])
    return same and abs(nll - reference["nll"]) < 1e-5


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--text", type=Path, required=True, help="the evaluation text")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    reference = json.loads((args.model / "reference.json").read_text())
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    with torch.inference_mode():
        good = [check_greedy(model, tokenizer, case) for case in reference["greedy"]]
        text = args.text.read_bytes().decode()
        good.append(check_loss(model, tokenizer, text, reference["evaluation"]))
    raise SystemExit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
