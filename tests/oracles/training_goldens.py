"""Writes small random models with their gradients, losses and weights after steps of training.

    python training_goldens.py ../goldens/training

Each case is a folder with an ordinary model (config.json and model.safetensors, fp32) and

    batch.json             "objective", "batches" (ten of them) and perhaps "label_smoothing"
    gradients.safetensors  the gradients of the loss of batch 0, by the parameters' names
    steps.json             "sgd" and "adamw", each with its settings and "losses" [10]
    sgd.safetensors        the weights after ten steps of SGD (not in every case)
    adamw.safetensors      the same for AdamW

Step i uses batch i; losses[i] is the loss before its update. There is no dropout, no schedule and
no clipping. AdamW's weight decay applies to the tensors that "decayed" lists: those with two or
more dimensions, except A_log. The gradient of a tied head is part of the embedding's. Sequences are
ragged, and each is computed alone: there is no padding. The objectives:

    causal          batch {"sequences"}: the mean of -ln p(next token) over all predicted tokens
    classification  {"sequences", "labels"}: logits at the last token; cross-entropy, mean over
                    sequences; the target is (1 - s) onehot + s / labels, where s is label_smoothing
    regression      the same with one label: the mean of (logit - label)^2
    dpo             {"pairs"} of "prompt", "chosen" and "rejected": the mean over pairs of
                    -ln sigmoid(beta delta), where delta is what the policy has gained on the
                    reference in ln p(chosen | prompt), less the same for rejected; the reference
                    is the initial model

A DPO case also has policy.safetensors, the weights after one step of SGD with
"policy_learning_rate" on batch 0, so that the policy is not the reference. Its gradients are those
at that policy, and "pairs" of steps.json are the values there, both for batch 0.

adamw_step holds one step of AdamW on given values: w, g, m and v before, m and v after, and w after
with and without weight decay.

Everything is computed in fp64 from the stored fp32 weights, so that the goldens have no rounding
errors of their own; tensors are rounded to fp32 when they are stored, and numbers in steps.json to
12 digits. GPT-2 is transformers' GPT2LMHeadModel in fp64. transformers' Mamba has operations that
are always in fp32, so the fp64 Mamba is the one below. The run fails if logits differ from those of
the numpy equations of gpt2_goldens.py and mamba_equations.py by more than 1e-12, or gradients from
those of transformers in fp32 by more than 1e-4, both of the largest value. It also prints by how
much ten steps in fp32 differ from the goldens, which says what tolerance a test needs.

Gradients of the bias of GPT-2's keys are zero but for rounding errors, because softmax ignores what
all scores of a row have in common. AdamW divides by their size, so this third of c_attn.bias is not
comparable in adamw.safetensors.
"""

import argparse
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.func import functional_call
from torch.nn.functional import cross_entropy, logsigmoid, mse_loss, silu, softplus
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    MambaConfig,
    MambaForCausalLM,
)
from transformers.activations import ACT2FN
from transformers.utils import logging

import crrelu
import gpt2_goldens
import mamba_equations
import mamba_goldens

STEPS = 10
ADAMW = {"learning_rate": 1e-3, "betas": [0.9, 0.999], "epsilon": 1e-8, "weight_decay": 0.01}
BETA = 0.1  # of DPO
POLICY_LEARNING_RATE = 1.0
EQUATIONS_TOLERANCE = 1e-12  # Tolerances are relative to the largest value.
GRADIENT_TOLERANCE = 1e-4


@dataclass
class Case:
    name: str
    config: dict
    objective: str = "causal"
    label_smoothing: float = 0.0
    sgd_learning_rate: float = 0.1
    weights_after: bool = False  # Stores the weights after the last step.
    prefix: str = "transformer."  # of GPT-2's names, for gpt2_goldens.py


def gpt2(activation="gelu_new", **others):
    return gpt2_goldens.gpt2(activation, d=16, heads=2, vocab=96, n_positions=64, **others)


def classifier(labels, **others):
    """Returns a config of sizes that are no multiples of vector lengths."""
    return gpt2_goldens.gpt2(
        "crrelu", d=18, heads=3, vocab=96, n_positions=64, n_inner=50,
        architectures=["GPT2ForSequenceClassification"],
        id2label={str(i): f"label {i}" for i in range(labels)},
        label2id={f"label {i}": i for i in range(labels)}, **others,
    )


def mamba(**others):
    return mamba_goldens.hf(16, 2, 96, state_size=8, time_step_rank=4, **others)


CASES = [
    Case(name, gpt2(name), weights_after=name in ["gelu_new", "crrelu"])
    for name in ["relu", "leaky_relu", "gelu", "gelu_new", "quick_gelu", "silu", "mish", "crrelu"]
] + [
    Case("classification", classifier(3), "classification"),
    Case("label_smoothing", classifier(3), "classification", label_smoothing=0.1),
    Case("regression", classifier(1, problem_type="regression"), "regression",
         sgd_learning_rate=0.01),
    Case("dpo", gpt2("crrelu"), "dpo"),
    Case("mamba", mamba(), weights_after=True),
    Case("mamba_untied", mamba(tie_word_embeddings=False), weights_after=True),
]


def is_mamba(case):
    return case.config["model_type"] == "mamba"


# --- Weights and batches --------------------------------------------------------------------------


def gpt2_weights(config, normal):
    d, F = config["n_embd"], config.get("n_inner") or 4 * config["n_embd"]
    weights = {
        "transformer.wte.weight": normal(0.3, config["vocab_size"], d),
        "transformer.wpe.weight": normal(0.3, config["n_positions"], d),
        "transformer.ln_f.weight": 1 + normal(0.2, d),
        "transformer.ln_f.bias": normal(0.2, d),
    }
    for i in range(config["n_layer"]):
        h = f"transformer.h.{i}."
        for norm in ["ln_1", "ln_2"]:
            weights[h + norm + ".weight"] = 1 + normal(0.2, d)
            weights[h + norm + ".bias"] = normal(0.2, d)
        for name, rows, columns in [("attn.c_attn", d, 3 * d), ("attn.c_proj", d, d),
                                    ("mlp.c_fc", d, F), ("mlp.c_proj", F, d)]:
            weights[h + name + ".weight"] = normal(rows**-0.5, rows, columns)
            weights[h + name + ".bias"] = normal(0.2, columns)
        if config["activation_function"] == "crrelu":
            weights[h + "mlp.act.lr"] = np.array([(-1) ** i * (0.3 + 0.4 * i)])
    if "id2label" in config:
        weights["score.weight"] = normal(0.5, len(config["id2label"]), d)
    return weights


def mamba_weights(config, normal):
    shape = mamba_equations.Shape(config)
    d, E, N, R, W = shape.d, shape.E, shape.N, shape.R, shape.W
    weights = {"backbone.embeddings.weight": normal(0.3, shape.V, d)}
    for i in range(shape.layers):
        mixer = {
            "in_proj.weight": normal(d**-0.5, 2 * E, d),
            "conv1d.weight": normal(0.6, E, 1, W),
            "conv1d.bias": normal(0.3, E),
            "x_proj.weight": normal(E**-0.5, R + 2 * N, E),
            "dt_proj.weight": normal(R**-0.5, E, R),
            "dt_proj.bias": normal(1.5, E) - 1,
            "A_log": np.log(np.arange(1, N + 1)) + normal(0.5, E, N),
            "D": 1 + normal(0.3, E),
            "out_proj.weight": normal(0.5 * E**-0.5, d, E),
        }
        weights[f"backbone.layers.{i}.norm.weight"] = 1 + normal(0.2, d)
        weights |= {f"backbone.layers.{i}.mixer.{name}": w for name, w in mixer.items()}
    weights["backbone.norm_f.weight"] = 1 + normal(0.2, d)
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = normal(0.3, shape.V, d)
    return weights


def random_weights(case, rng):
    """Returns random weights in fp32, larger than those that training starts from, so that
    gradients are well conditioned."""

    def normal(std, *size):
        return std * rng.standard_normal(size)

    weights = (mamba_weights if is_mamba(case) else gpt2_weights)(case.config, normal)
    return {name: torch.from_numpy(w).float().contiguous() for name, w in weights.items()}


def random_batch(case, number, rng):
    def tokens(length):  # Not 0, which a classifier would take for padding.
        return rng.integers(1, case.config["vocab_size"], length).tolist()

    if case.objective == "dpo":
        return {"pairs": [
            {"prompt": tokens(p), "chosen": tokens(c), "rejected": tokens(r)}
            for p, c, r in rng.integers(1, 20, (3, 3)).tolist()
        ]}
    # The first batch has the extremes: one predicted token, and all positions.
    lengths = [17, 2, 64, 5] if number == 0 else rng.integers(2, 40, 4).tolist()
    batch = {"sequences": [tokens(length) for length in lengths]}
    if case.objective == "classification":
        batch["labels"] = rng.integers(0, len(case.config["id2label"]), len(lengths)).tolist()
    if case.objective == "regression":
        batch["labels"] = [round(label, 3) for label in rng.standard_normal(len(lengths)).tolist()]
    return batch


# --- Models: functions of weights (a dict of tensors) and tokens [L] that return logits -----------


class CRReLU(crrelu.CRReLU):
    """CRReLU in its input's type, where that of crrelu.py is in fp32."""

    def forward(self, x):
        return torch.relu(x) + self.lr * x * torch.exp(-x * x / 2)


ACT2FN["crrelu"] = CRReLU


def transformers_model(case, dtype):
    """Returns the function of the model that transformers has: logits [L, V], or [labels]."""
    if is_mamba(case):
        model = MambaForCausalLM(MambaConfig(**case.config))
    else:
        is_classifier = gpt2_goldens.is_classifier(case)
        kind = GPT2ForSequenceClassification if is_classifier else GPT2LMHeadModel
        model = kind(GPT2Config(**case.config, attn_implementation="eager"))
    model = model.to(dtype).eval()

    def logits(weights, tokens):
        assert set(weights) == {name for name, _ in model.named_parameters()}
        arguments = {"input_ids": torch.tensor([tokens]), "use_cache": False}
        return functional_call(model, weights, kwargs=arguments).logits[0]

    return logits


def rms_norm(r, gamma, epsilon):
    return gamma * r / torch.sqrt((r * r).mean(-1, keepdim=True) + epsilon)


def mamba_mixer(u, w, shape):
    """A block without norm and residual: u [L, d] -> [L, d]. Letters as in mamba_equations.py."""
    x, z = (u @ w["in_proj.weight"].T).chunk(2, dim=1)

    length, taps = len(u), w["conv1d.weight"][:, 0]
    past = torch.cat([x.new_zeros(shape.W - 1, shape.E), x])
    x = sum(taps[:, k] * past[k : k + length] for k in range(shape.W))
    x = silu(x + w["conv1d.bias"])

    delta, b, c = (x @ w["x_proj.weight"].T).split([shape.R, shape.N, shape.N], dim=1)
    delta = softplus(delta @ w["dt_proj.weight"].T + w["dt_proj.bias"])

    decay = torch.exp(delta[:, :, None] * -torch.exp(w["A_log"]))  # [L, E, N]
    update = (delta * x)[:, :, None] * b[:, None]
    h, y = x.new_zeros(shape.E, shape.N), []
    for t in range(length):
        h = decay[t] * h + update[t]
        y.append(h @ c[t])
    y = torch.stack(y) + w["D"] * x
    return (y * silu(z)) @ w["out_proj.weight"].T


def mamba_model(case):
    shape = mamba_equations.Shape(case.config)

    def logits(weights, tokens):
        r = weights["backbone.embeddings.weight"][tokens]
        for i in range(shape.layers):
            prefix = f"backbone.layers.{i}."
            inner = prefix + "mixer."
            w = {n.removeprefix(inner): v for n, v in weights.items() if n.startswith(inner)}
            u = rms_norm(r, weights[prefix + "norm.weight"], shape.epsilon)
            r = r + mamba_mixer(u, w, shape)
        head = weights.get("lm_head.weight", weights["backbone.embeddings.weight"])
        return rms_norm(r, weights["backbone.norm_f.weight"], shape.epsilon) @ head.T

    return logits


def numpy_equations(case, weights, tokens):
    """Returns the logits by the equations that share no code with the models above."""
    if is_mamba(case):
        return mamba_equations.forward(case.config, weights, tokens, np.float64)[0]
    logits = gpt2_goldens.equations(case, weights, tokens)
    return logits[0] if gpt2_goldens.is_classifier(case) else logits


# --- Objectives: functions of the model, the weights and a batch that return the loss -------------


def causal_loss(model, weights, batch):
    losses = [
        cross_entropy(model(weights, s)[:-1], torch.tensor(s[1:]), reduction="none")
        for s in batch["sequences"]
    ]
    return torch.cat(losses).mean()


def classification_loss(model, weights, batch, label_smoothing):
    logits = torch.stack([model(weights, s) for s in batch["sequences"]])
    return cross_entropy(logits, torch.tensor(batch["labels"]), label_smoothing=label_smoothing)


def regression_loss(model, weights, batch):
    logits = torch.cat([model(weights, s) for s in batch["sequences"]])
    return mse_loss(logits, torch.tensor(batch["labels"], dtype=logits.dtype))


def log_likelihood(model, weights, prompt, response):
    """Returns ln p(response | prompt), the sum over the response's tokens."""
    logits = model(weights, prompt + response)[len(prompt) - 1 : -1]
    return -cross_entropy(logits, torch.tensor(response), reduction="sum")


def dpo_pair(model, weights, reference, pair):
    """Returns the values of one pair, by the names that steps.json gives them."""
    values = {}
    for kind in ["chosen", "rejected"]:
        arguments = pair["prompt"], pair[kind]
        policy = log_likelihood(model, weights, *arguments)
        with torch.no_grad():
            base = log_likelihood(model, reference, *arguments)
        values |= {f"policy_{kind}": policy, f"reference_{kind}": base,
                   f"reward_{kind}": BETA * (policy - base)}
    delta = (values["reward_chosen"] - values["reward_rejected"]) / BETA
    return values | {"delta": delta, "loss": -logsigmoid(BETA * delta)}


def dpo_loss(model, weights, batch, reference):
    pairs = [dpo_pair(model, weights, reference, pair) for pair in batch["pairs"]]
    return torch.stack([pair["loss"] for pair in pairs]).mean()


def objective(case, model, initial):
    """Returns the function of weights and a batch that is minimised."""
    function, others = {
        "causal": (causal_loss, ()),
        "classification": (classification_loss, (case.label_smoothing,)),
        "regression": (regression_loss, ()),
        "dpo": (dpo_loss, (initial,)),
    }[case.objective]
    return lambda weights, batch: function(model, weights, batch, *others)


# --- Training -------------------------------------------------------------------------------------


def is_decayed(name, w):
    return w.dim() >= 2 and not name.endswith("A_log")


def sgd(weights, learning_rate):
    return torch.optim.SGD(weights.values(), lr=learning_rate)


def adamw(weights, learning_rate, betas, epsilon, weight_decay):
    groups = [
        {"params": [w for name, w in weights.items() if is_decayed(name, w) == decayed],
         "weight_decay": weight_decay if decayed else 0.0}
        for decayed in [True, False]
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=tuple(betas), eps=epsilon)


def copy(weights, dtype):
    return {name: w.detach().to(dtype, copy=True).requires_grad_() for name, w in weights.items()}


def gradients(loss, weights, batch):
    weights = copy(weights, next(iter(weights.values())).dtype)
    loss(weights, batch).backward()
    return {name: w.grad for name, w in weights.items()}


def train(loss, weights, batches, make_optimizer, settings):
    """Returns the weights after a step per batch, and the losses before each."""
    weights = copy(weights, next(iter(weights.values())).dtype)
    optimizer, losses = make_optimizer(weights, **settings), []
    for batch in batches:
        optimizer.zero_grad()
        value = loss(weights, batch)
        value.backward()
        optimizer.step()
        losses.append(value.detach())
    return weights, losses


# --- Files ----------------------------------------------------------------------------------------


def to_json(value):
    """Returns a number without the digits in which two machines may differ."""
    return float(f"{value:.12g}")


def write_json(file, values):
    file.write_text(json.dumps(values, indent=1) + "\n")


def write_batches(file, case, batches):
    """Writes batch.json with one batch per line."""
    smoothing = f'"label_smoothing":{case.label_smoothing},' if case.label_smoothing else ""
    lines = ",\n".join(json.dumps(batch, separators=(",", ":")) for batch in batches)
    file.write_text(f'{{"objective":"{case.objective}",{smoothing}"batches":[\n{lines}\n]}}\n')


def write_tensors(file, tensors):
    tensors = {name: t.detach().float().contiguous() for name, t in tensors.items()}
    save_file(tensors, file, metadata={"format": "pt"})


def relative_error(theirs, own):
    """Returns the largest difference of two arrays, relative to the largest value."""
    return float(np.abs(theirs - own).max() / np.abs(own).max())


def difference(theirs, own):
    """Returns the largest relative_error of any tensor, where c_attn.bias is without its keys."""

    def comparable(name, t):
        t = t.detach().double().numpy()
        return np.delete(t, np.s_[len(t) // 3 : 2 * len(t) // 3]) if "c_attn.bias" in name else t

    return max(relative_error(comparable(n, theirs[n]), comparable(n, own[n])) for n in own)


def equations_error(case, model, weights, batch):
    if "pairs" in batch:
        sequences = [pair["prompt"] + pair["chosen"] for pair in batch["pairs"]]
    else:
        sequences = batch["sequences"]
    with torch.no_grad():
        return max(
            relative_error(model(weights, s).numpy(), numpy_equations(case, weights, s))
            for s in sequences
        )


def write_case(root, number, case):
    """Writes one folder; returns the errors of logits and of gradients, then those of the weights
    after training in fp32 with SGD and with AdamW."""
    directory = root / case.name
    directory.mkdir(parents=True)
    rng = np.random.default_rng([20261126, number])
    stored = random_weights(case, rng)
    batches = [random_batch(case, i, rng) for i in range(STEPS)]
    write_json(directory / "config.json", case.config)
    write_tensors(directory / "model.safetensors", stored)
    write_batches(directory / "batch.json", case, batches)

    initial = copy(stored, torch.float64)
    model = mamba_model(case) if is_mamba(case) else transformers_model(case, torch.float64)
    loss = objective(case, model, initial)
    narrow_loss = objective(case, transformers_model(case, torch.float32), stored)

    steps, errors = {}, []
    for name, make_optimizer, settings in [
        ("sgd", sgd, {"learning_rate": case.sgd_learning_rate}), ("adamw", adamw, ADAMW)
    ]:
        weights, losses = train(loss, initial, batches, make_optimizer, settings)
        narrow, _ = train(narrow_loss, stored, batches, make_optimizer, settings)
        errors.append(difference(narrow, weights))
        steps[name] = settings | {"losses": [to_json(value) for value in losses]}
        if case.weights_after:
            write_tensors(directory / f"{name}.safetensors", weights)
    steps["adamw"]["decayed"] = sorted(name for name, w in stored.items() if is_decayed(name, w))

    policy = stored
    if case.objective == "dpo":
        step = {"learning_rate": POLICY_LEARNING_RATE}
        policy = copy(train(loss, initial, batches[:1], sgd, step)[0], torch.float32)
        write_tensors(directory / "policy.safetensors", policy)
        pairs = [
            dpo_pair(model, copy(policy, torch.float64), initial, pair)
            for pair in batches[0]["pairs"]
        ]
        pairs = [{name: to_json(value) for name, value in pair.items()} for pair in pairs]
        steps |= {"beta": BETA, "policy_learning_rate": POLICY_LEARNING_RATE, "pairs": pairs}
    write_json(directory / "steps.json", steps)

    own = gradients(loss, copy(policy, torch.float64), batches[0])
    write_tensors(directory / "gradients.safetensors", own)
    theirs = gradients(narrow_loss, policy, batches[0])
    return equations_error(case, model, initial, batches[0]), difference(theirs, own), *errors


def write_adamw_step(directory, step=7, elements=1000):
    """Writes the moments and weights before and after the seventh step of AdamW."""
    directory.mkdir(parents=True)
    rng = np.random.default_rng(20261126)
    tensors = {
        "w": rng.standard_normal(elements),
        "g": rng.standard_normal(elements) * 10 ** rng.uniform(-8, 2, elements),
        "m": rng.standard_normal(elements) * 10 ** rng.uniform(-8, 2, elements),
        "v": 10 ** rng.uniform(-16, 4, elements),
    }
    for name in tensors:
        tensors[name][rng.integers(0, elements, 20)] = 0
    tensors = {name: torch.from_numpy(t).float() for name, t in tensors.items()}

    for name, weight_decay in {"decayed": ADAMW["weight_decay"], "undecayed": 0.0}.items():
        w = tensors["w"].double()
        w.grad = tensors["g"].double()
        optimizer = torch.optim.AdamW(
            [w], lr=ADAMW["learning_rate"], betas=tuple(ADAMW["betas"]), eps=ADAMW["epsilon"],
            weight_decay=weight_decay,
        )
        state = optimizer.state[w]
        state["step"] = torch.tensor(step - 1.0)
        state["exp_avg"], state["exp_avg_sq"] = tensors["m"].double(), tensors["v"].double()
        optimizer.step()
        tensors[f"after.w.{name}"] = w
    tensors |= {"after.m": state["exp_avg"], "after.v": state["exp_avg_sq"]}
    write_tensors(directory / "step.safetensors", tensors)
    write_json(directory / "step.json", ADAMW | {"step": step})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder to write; an old one is replaced")
    root = parser.parse_args().out
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    logging.set_verbosity_error()
    if root.exists():
        shutil.rmtree(root)

    print(f"{'case':16} {'logits':>8} {'gradients':>9} {'sgd':>8} {'adamw':>8}   (relative errors)")
    failed = []
    for number, case in enumerate(CASES):
        logits, gradient, *narrow = write_case(root, number, case)
        print(f"{case.name:16} {logits:8.1e} {gradient:9.1e} {narrow[0]:8.1e} {narrow[1]:8.1e}")
        if logits > EQUATIONS_TOLERANCE or gradient > GRADIENT_TOLERANCE:
            failed.append(case.name)
    write_adamw_step(root / "adamw_step")
    if failed:
        raise SystemExit(f"transformers and the equations differ too much: {failed}")


if __name__ == "__main__":
    main()
