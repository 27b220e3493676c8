"""Writes small random GPT-2 model directories and their logits from transformers.

    python gpt2_goldens.py ../goldens/gpt2

Each case is a folder in the form that mamba_goldens.py describes. The logits are those of
transformers' GPT2LMHeadModel, in fp32 on the stored weights, on the CPU, with plain ("eager")
attention. A classifier's logits are [1, labels], of the last position. CRReLU is the one in
crrelu.py.

Every case is also computed by the equations below, in numpy and fp64. The run fails if logits
differ from those of transformers by more than 1e-5 of the largest value.
"""

import argparse
import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2ForSequenceClassification, GPT2LMHeadModel
from transformers.utils import logging

import crrelu  # noqa: F401 - registers the activation
from golden_files import describe, write_goldens, write_weights

LENGTHS = [1, 2, 5, 17, 40]
TOLERANCE = 1e-5  # Relative to the largest value.


@dataclass
class Case:
    name: str
    config: dict
    prefix: str = "transformer."
    stored: torch.dtype = torch.float32
    shards: int = 1
    buffers: bool = False  # attn.bias and attn.masked_bias, as in old checkpoints


def gpt2(activation="gelu_new", d=18, heads=3, layers=2, vocab=64, **others):
    """Returns a config.json. A key with the value None is left out, so that its default applies."""
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": vocab,
        "n_positions": 48,
        "n_embd": d,
        "n_layer": layers,
        "n_head": heads,
        "activation_function": activation,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "layer_norm_epsilon": 1e-05,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    } | others
    return {key: value for key, value in config.items() if value is not None}


CASES = [
    Case(name, gpt2(name))
    for name in ["relu", "leaky_relu", "gelu", "gelu_new", "quick_gelu", "silu", "mish", "crrelu"]
] + [
    Case("unprefixed", gpt2(d=20, heads=1, n_inner=33), prefix="", buffers=True),
    Case("sharded", gpt2("crrelu", tie_word_embeddings=False), shards=2),
    Case("unscaled", gpt2("crrelu", d=16, heads=4, scale_attn_weights=False)),
    Case("inverse_layer", gpt2(d=26, heads=2, layers=3, scale_attn_by_inverse_layer_idx=True,
                               layer_norm_epsilon=0.01)),
    Case("bf16", gpt2("crrelu"), stored=torch.bfloat16),
    Case("f16", gpt2("crrelu"), stored=torch.float16),
    Case("classifier", gpt2("crrelu", architectures=["GPT2ForSequenceClassification"],
                            id2label={"0": "a", "1": "b", "2": "c"},
                            label2id={"a": 0, "b": 1, "c": 2})),
]


def is_classifier(case):
    return "Classification" in case.config["architectures"][0]


def random_weights(case, rng):
    """Returns random weights that give activations and logits of magnitude one and more."""
    c, p = case.config, case.prefix
    d, V = c["n_embd"], c["vocab_size"]
    F = c.get("n_inner") or 4 * d

    def normal(std, *size):
        return std * rng.standard_normal(size)

    weights = {f"{p}wte.weight": normal(1, V, d), f"{p}wpe.weight": normal(0.5, 48, d)}
    for i in range(c["n_layer"]):
        h = f"{p}h.{i}."
        for norm in ["ln_1", "ln_2"]:
            weights[h + norm + ".weight"] = 1 + normal(0.3, d)
            weights[h + norm + ".bias"] = normal(0.3, d)
        for name, rows, cols in [("attn.c_attn", d, 3 * d), ("attn.c_proj", d, d),
                                 ("mlp.c_fc", d, F), ("mlp.c_proj", F, d)]:
            weights[h + name + ".weight"] = normal(1.2 / rows**0.5, rows, cols)
            weights[h + name + ".bias"] = normal(0.3, cols)
        if c["activation_function"] == "crrelu":
            weights[h + "mlp.act.lr"] = np.array([(-1) ** i * (0.3 + 0.4 * i)])
        if case.buffers:
            weights[h + "attn.bias"] = np.tril(np.ones((48, 48)))[None, None]
            weights[h + "attn.masked_bias"] = np.array(-1e4)
    weights[f"{p}ln_f.weight"] = 1 + normal(0.3, d)
    weights[f"{p}ln_f.bias"] = normal(0.3, d)
    if is_classifier(case):
        weights["score.weight"] = normal(1, 3, d)
    elif not c.get("tie_word_embeddings", True):
        weights["lm_head.weight"] = normal(1, V, d)

    def stored(name, w):
        kept = name.endswith(".lr")  # An epsilon is never rounded.
        return torch.from_numpy(np.asarray(w)).to(torch.float32 if kept else case.stored)

    return {name: stored(name, w).contiguous() for name, w in weights.items()}


# --- The equations of GPT-2 and of CRReLU (arXiv 2405.12954), in fp64 -----------------------------

erf = np.vectorize(math.erf)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def activation(name, x, epsilon):
    return {
        "relu": lambda: np.maximum(x, 0),
        "leaky_relu": lambda: np.where(x > 0, x, 0.01 * x),
        "gelu": lambda: x / 2 * (1 + erf(x / 2**0.5)),
        "gelu_new": lambda: x / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))),
        "quick_gelu": lambda: x * sigmoid(1.702 * x),
        "silu": lambda: x * sigmoid(x),
        "mish": lambda: x * np.tanh(np.log1p(np.exp(x))),
        "crrelu": lambda: np.maximum(x, 0) + epsilon * x * np.exp(-x * x / 2),
    }[name]()


def layer_norm(x, w, b, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    return w * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) + b


def attention(q, k, v, scale):
    scores = q @ k.T * scale
    scores[np.triu_indices(len(q), 1)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


def equations(case, weights, tokens):
    c = case.config
    w = {name.removeprefix(case.prefix): t.double().numpy() for name, t in weights.items()}
    d, heads = c["n_embd"], c["n_head"]
    D, epsilon = d // heads, c["layer_norm_epsilon"]
    h = w["wte.weight"][tokens] + w["wpe.weight"][: len(tokens)]
    for i in range(c["n_layer"]):
        def linear(name, x):
            return x @ w[f"h.{i}.{name}.weight"] + w[f"h.{i}.{name}.bias"]  # noqa: B023

        def norm(name, x):
            return layer_norm(x, w[f"h.{i}.{name}.weight"], w[f"h.{i}.{name}.bias"], epsilon)  # noqa: B023

        scale = D**-0.5 if c.get("scale_attn_weights", True) else 1
        if c.get("scale_attn_by_inverse_layer_idx"):
            scale /= i + 1
        q, k, v = np.split(linear("attn.c_attn", norm("ln_1", h)), 3, axis=-1)
        y = [attention(*(m[:, j * D : (j + 1) * D] for m in (q, k, v)), scale) for j in range(heads)]
        h = h + linear("attn.c_proj", np.concatenate(y, axis=-1))
        inner = linear("mlp.c_fc", norm("ln_2", h))
        inner = activation(c["activation_function"], inner, w.get(f"h.{i}.mlp.act.lr"))
        h = h + linear("mlp.c_proj", inner)
    h = layer_norm(h, w["ln_f.weight"], w["ln_f.bias"], epsilon)
    if is_classifier(case):
        return h[-1:] @ w["score.weight"].T
    return h @ w.get("lm_head.weight", w["wte.weight"]).T


def run_oracle(case, model, tokens):
    with torch.inference_mode():
        logits = model(torch.tensor([tokens])).logits
    return (logits if is_classifier(case) else logits[0]).numpy()


def write_case(root, number, case):
    """Writes one folder; returns its worst relative error and the typical spread of its logits."""
    directory = root / case.name
    directory.mkdir(parents=True)
    rng = np.random.default_rng([20240520, number])
    (directory / "config.json").write_text(json.dumps(case.config, indent=1) + "\n")
    weights = random_weights(case, rng)
    write_weights(directory, weights, case.shards)

    kind = GPT2ForSequenceClassification if is_classifier(case) else GPT2LMHeadModel
    model = kind.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    sequences, tensors, errors, spread = [], {}, [], []
    for length in LENGTHS:
        # Not 0, which a classifier would take for padding.
        tokens = rng.integers(1, case.config["vocab_size"], length).tolist()
        logits, own = run_oracle(case, model, tokens), equations(case, weights, tokens)
        errors.append(float(np.abs(own - logits).max() / np.abs(own).max()))
        spread.append(float(logits.std()))
        positions = [length - 1] if is_classifier(case) else list(range(length))
        sequences.append(describe(tokens, positions, logits))
        tensors[f"logits.{length}"] = logits
    write_goldens(directory, sequences, tensors)
    return max(errors), float(np.median(spread))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder to write; an old one is replaced")
    root = parser.parse_args().out
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if root.exists():
        shutil.rmtree(root)

    print(f"{'case':18} {'spread':>7} {'vs fp64':>9}   (relative errors)")
    failed = []
    for number, case in enumerate(CASES):
        error, spread = write_case(root, number, case)
        print(f"{case.name:18} {spread:7.2f} {error:9.1e}")
        if error > TOLERANCE:
            failed.append(case.name)
    if failed:
        raise SystemExit(f"transformers and the equations differ by over {TOLERANCE}: {failed}")


if __name__ == "__main__":
    main()
