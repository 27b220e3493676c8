"""Makes a model that equals another one exactly in fp32 and that plain 8-bit quantization ruins.

    python stress_model.py deploy/models/mamba-demo OUT --text CALIBRATION.jsonl
    python stress_model.py deploy/models/mamba-demo OUT --text CALIBRATION.jsonl \\
        --report EVALUATION.txt

Small models have few of the outliers that Quamba (arXiv 2410.13229) addresses. This script widens
the inner width E by half, with channels whose columns in x_proj and out_proj are zero, so that they
never affect a logit. Most are copies of the model's own channels. In every layer a few have instead

- a rare huge x (after convolution and SiLU): in_proj detects a token that occurs at most once or
  twice in 512 tokens of real text, and the convolution subtracts a threshold and multiplies. Fewer
  than 1e-5 of the layer's entries are huge, at most three in 512 tokens of E = 768 except in rare
  bursts. A percentile of 0.99999 is the 4th to 5th largest of 393216 values and skips them; 0.9999
  and 0.9995 skip them by a wide margin. Clipping them is harmless, because their columns are zero;
- a constantly huge gated y: a large D and a gate that is open for every token. Before a rotation, y
  then needs a scale of max|y| / 127; after it, every entry gets at most max|y| / sqrt(E) of it.

Everything else stays in the range of the model's own channels (z, x before the convolution, A, the
steps), except the convolution's weights (in 8 bits per channel), its bias and D (not in 8 bits).

--report simulates static scales per tensor for x and y only, with the rest in fp32. It prints the
signal-to-noise ratio per layer over the model's own channels, and the loss over windows of a text.
Nothing is random.
"""

import argparse
import json
import math
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch.nn.functional import conv1d, cross_entropy, linear, silu, softplus
from transformers import MambaForCausalLM
from transformers.utils import logging

from mamba_equations import read_config, read_weights

SAMPLE = 512  # Tokens of a calibration sample, as in Quamba.
ALPHA = 0.99999
DECAY = 0.01
SCHEMES = {  # name: (percentile for x, rotation of y)
    "static-w8a8": (False, False),
    "quamba-w8a8-norot": (True, False),
    "quamba-w8a8-nopct": (False, True),
    "quamba-w8a8": (True, True),
}


# --- The model: a batched forward pass in which x and y can be observed or replaced.


def rms_norm(r, gamma, epsilon):
    return gamma * (r * torch.rsqrt(r.square().mean(-1, keepdim=True) + epsilon))


def convolve(x, w):
    """SiLU of the causal depthwise convolution of x[B,L,E]."""
    taps = w["conv1d.weight"]
    x = torch.nn.functional.pad(x.transpose(1, 2), (taps.shape[-1] - 1, 0))
    return silu(conv1d(x, taps, w["conv1d.bias"], groups=taps.shape[0])).transpose(1, 2)


def mixer(u, w, at):
    """u[B,L,d] -> [B,L,d]; at(name, value) returns the value to use in place of x or y."""
    inner, states = w["A_log"].shape
    x, z = linear(u, w["in_proj.weight"]).split(inner, -1)
    x = at("x", convolve(x, w))
    rank = w["dt_proj.weight"].shape[1]
    delta, b, c = linear(x, w["x_proj.weight"]).split([rank, states, states], -1)
    delta = softplus(linear(delta, w["dt_proj.weight"], w["dt_proj.bias"]))

    a, h = -w["A_log"].exp(), 0
    y = torch.empty_like(x)
    for t in range(u.shape[1]):
        step = delta[:, t, :, None]
        h = (step * a).exp_() * h + (step[..., 0] * x[:, t])[..., None] * b[:, t, None]
        y[:, t] = torch.einsum("ben,bn->be", h, c[:, t])
    y = at("y", (y + w["D"] * x) * silu(z))
    return linear(y, w["out_proj.weight"])


class Model:
    def __init__(self, config, weights):
        self.config, self.weights = config, weights
        self.layers = config["num_hidden_layers"]
        self.head = weights.get("lm_head.weight", weights["backbone.embeddings.weight"])

    def mixer_weights(self, layer):
        prefix = f"backbone.layers.{layer}.mixer."
        return {n[len(prefix) :]: v for n, v in self.weights.items() if n.startswith(prefix)}

    def norm(self, r, name):
        gamma = self.weights[f"backbone.{name}.weight"]
        return rms_norm(r, gamma, self.config["layer_norm_epsilon"])

    def blocks(self, ids, at=lambda layer, name, value: value):
        """Yields each layer's normed input u[B,L,d], and finally the input of the head."""
        r = self.weights["backbone.embeddings.weight"][ids]
        for i in range(self.layers):
            u = self.norm(r, f"layers.{i}.norm")
            yield u
            r = r + mixer(u, self.mixer_weights(i), lambda name, value: at(i, name, value))
        yield self.norm(r, "norm_f")


# --- The extra channels.


def rare_tokens(ids, vocabulary):
    """Returns tokens that occur in 1/24 to 1/8 of the samples ids[B,L], at most once in each."""
    counts = torch.stack([row.bincount(minlength=vocabulary) for row in ids])
    samples = (counts > 0).sum(0)
    most = len(ids) // 8
    good = (counts.max(0).values == 1) & (samples >= len(ids) // 24) & (samples <= most)
    return good.nonzero().flatten()


def detectors(u, ids, tokens):
    """Returns rows [tokens,d] whose products with u[T,d] are far larger at `tokens` than elsewhere
    (Fisher's linear discriminant), and the threshold and the relative margin of each."""
    covariance = u.T @ u / len(u)
    covariance += 1e-3 * covariance.diagonal().mean() * torch.eye(len(covariance))
    means = torch.stack([u[ids == token].mean(0) for token in tokens])
    rows = torch.linalg.solve(covariance, means.T).T
    thresholds, margins = [], []
    for token, response in zip(tokens, (u @ rows.T).T):
        event = ids == token
        low, peak = response[event].min(), response.max()
        noise = response[~event].max()
        thresholds.append((noise + low.clamp(min=noise)) / 2)
        margins.append((peak - noise) / peak)
    return rows, torch.stack(thresholds), torch.stack(margins)


def opened_gate(u):
    """Returns the row [d] whose product with u[T,d] is closest to 1 everywhere."""
    gram = u.T @ u / len(u)
    gram += 1e-4 * gram.diagonal().mean() * torch.eye(len(gram))
    return torch.linalg.solve(gram, u.mean(0))


def widened(w, u, ids, tokens, args):
    """Returns the mixer's weights w with 1.5 times the channels; u[B,L,d] is the layer's input."""
    inner = w["A_log"].shape[0]
    extra = inner // 2
    flat, flat_ids = u.flatten(0, 1), ids.flatten()
    x, z = linear(flat, w["in_proj.weight"]).split(inner, -1)
    limit_x, limit_z = x.abs().max(), z.abs().max()
    post = convolve(x.unflatten(0, ids.shape), w)
    ordinary = post.abs().flatten().kthvalue(int(ALPHA * post.numel())).values

    copied = {n: w[n][:extra].clone() for n in
              ("conv1d.weight", "conv1d.bias", "dt_proj.weight", "dt_proj.bias", "A_log", "D")}
    rows_x, rows_z = (w["in_proj.weight"][at : at + extra].clone() for at in (0, inner))

    gate = opened_gate(flat)
    gate *= 0.9 * limit_z / (flat @ gate).abs().max()
    rows, thresholds, margins = detectors(flat, flat_ids, tokens)
    for i, best in enumerate(margins.argsort(descending=True, stable=True)[: args.rare]):
        peak = (flat @ rows[best]).max()
        rows_x[i] = rows[best] * (0.9 * limit_x / peak)
        threshold = thresholds[best] / peak * 0.9 * limit_x
        gain = args.x / (0.9 * limit_x - threshold)
        copied["conv1d.weight"][i] = 0
        copied["conv1d.weight"][i, 0, -1] = gain
        copied["conv1d.bias"][i] = -gain * threshold
        rows_z[i] = -gate  # Closed: y stays small.
    for i in range(args.rare, args.rare + args.steady):
        copied["conv1d.bias"][i] = ordinary / 2
        rows_z[i] = gate
        # Little memory, so that y is D x SiLU(z) and steady.
        copied["dt_proj.bias"][i] = w["dt_proj.bias"].min()
        copied["A_log"][i] = w["A_log"].max()
    wide = {
        "in_proj.weight": torch.cat([w["in_proj.weight"][:inner], rows_x,
                                     w["in_proj.weight"][inner:], rows_z]),
        **{n: torch.cat([w[n], v]) for n, v in copied.items()},
        **{n: torch.cat([w[n], torch.zeros(len(w[n]), extra)], 1)
           for n in ("x_proj.weight", "out_proj.weight")},
    }  # fmt: skip
    gated = convolve(linear(u, wide["in_proj.weight"][: inner + extra]), wide)
    gated *= silu(linear(u, wide["in_proj.weight"][inner + extra :]))
    for i in range(args.steady):  # Each has half the y of the one before.
        channel = inner + args.rare + i
        wide["D"][channel] = args.y * 0.5**i / gated[..., channel].abs().max()
    return wide


def stress(model, ids, args):
    """Returns the widened model, made from what `model` computes on samples ids[B,SAMPLE]."""
    weights = dict(model.weights)
    tokens = rare_tokens(ids, len(model.head))
    if len(tokens) < args.rare:
        raise SystemExit(f"the text has {len(tokens)} fitting rare tokens, {args.rare} are needed")
    for i, u in enumerate(model.blocks(ids)):
        if i < model.layers:
            wide = widened(model.mixer_weights(i), u, ids, tokens, args)
            weights.update({f"backbone.layers.{i}.mixer.{n}": v for n, v in wide.items()})
            print(f"layer {i + 1}/{model.layers} widened", flush=True)
    inner = model.config["intermediate_size"] * 3 // 2
    config = {**model.config, "intermediate_size": inner, "torch_dtype": "float32"}
    config["expand"] = inner // config["hidden_size"]
    config.pop("dtype", None)
    return Model(config, weights)


# --- The simulation.


def hadamard(n):
    """Returns H[n,n] with entries ±1 and H Hᵀ = n I, n = 12·2^k: Paley's second construction with
    q = 5."""
    residue = {1: 1, 2: -1, 3: -1, 4: 1}
    conference = [
        [0 if i == j else 1 if 0 in (i, j) else residue[(i - j) % 5] for j in range(6)]
        for i in range(6)
    ]
    zero, one = torch.tensor([[1.0, -1], [-1, -1]]), torch.tensor([[1.0, 1], [1, -1]])
    h = torch.cat([torch.cat([c * one if c else zero for c in row], 1) for row in conference])
    while len(h) < n:
        h = torch.kron(h, one)
    assert len(h) == n and torch.equal(h @ h.T, n * torch.eye(n))
    return h


class Observer:
    """Collects the scales of x and y for every scheme from samples, one at a time."""

    def __init__(self, rotation):
        self.rotation, self.percentile, self.absmax = rotation, {}, {}
        self.largest = {}  # layer: the largest entries of each sample of x.

    def __call__(self, layer, name, value):
        self.keep_max(layer, name, value)
        if name == "y":
            self.keep_max(layer, "rotated y", value @ self.rotation.T)
        else:
            for sample in value.abs().flatten(1):
                index = ALPHA * (len(sample) - 1)
                top = sample.topk(math.ceil(len(sample) - index)).values  # Descending.
                p = torch.lerp(top[-1], top[-2], index % 1)
                old = self.percentile.setdefault(layer, p)
                self.percentile[layer] = old + DECAY * (p - old)
                self.largest.setdefault(layer, []).append(sample.topk(64).values)
        return value

    def keep_max(self, layer, name, value):
        key = layer, name
        self.absmax[key] = max(self.absmax.get(key, 0), value.abs().max())


class Quantizer:
    """Rounds x and y to codes with a scheme's scales, and sums the error of the `own` channels."""

    def __init__(self, observer, scheme, own):
        self.observer, self.own, self.sums = observer, own, {}
        self.clip, self.rotate = SCHEMES[scheme]

    def __call__(self, layer, name, value):
        observer = self.observer
        limit = observer.absmax[layer, name]
        rotated = name == "y" and self.rotate
        if name == "x" and self.clip:
            limit = observer.percentile[layer]
        if rotated:
            limit = observer.absmax[layer, "rotated y"]
        scale = limit / 127
        codes = value @ observer.rotation.T if rotated else value
        codes = (codes / scale).round().clamp(-128, 127) * scale
        codes = codes @ observer.rotation if rotated else codes
        error = codes[..., : self.own] - value[..., : self.own]
        signal, noise = self.sums.get((layer, name), (0, 0))
        self.sums[layer, name] = (
            signal + value[..., : self.own].double().square().sum(),
            noise + error.double().square().sum(),
        )
        return codes

    def snr(self, layer, name):
        signal, noise = self.sums[layer, name]
        return 10 * math.log10(signal / noise)


def loss(model, windows, at):
    """Returns the mean loss in nats of the tokens of windows[B,L] after the first of each."""
    total = 0.0
    for rows in windows.split(16):
        *_, last = model.blocks(rows, at)
        logits = linear(last[:, :-1], model.head)
        total += float(cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="sum"))
    return total / windows[:, 1:].numel()


def report(model, own, samples, windows):
    inner = model.config["intermediate_size"]
    observer = Observer(hadamard(inner) / inner**0.5)
    for rows in samples.split(16):
        for _ in model.blocks(rows, observer):
            pass
    print("\n| layer | max x | percentile x | huge x, ppm | most in a sample "
          "| max y | max rotated y |")  # fmt: skip
    print("| ---: " * 7 + "|")
    for i in range(model.layers):
        huge = (torch.stack(observer.largest[i]) > 2 * observer.percentile[i]).sum(1)
        print(f"| {i} | {observer.absmax[i, 'x']:.1f} | {observer.percentile[i]:.2f} | "
              f"{1e6 * int(huge.sum()) / (samples.numel() * inner):.2f} | {int(huge.max())} | "
              f"{observer.absmax[i, 'y']:.1f} | {observer.absmax[i, 'rotated y']:.1f} |")  # fmt: skip

    plain = loss(model, windows, lambda layer, name, value: value)
    quantizers = {name: Quantizer(observer, name, own) for name in SCHEMES}
    losses = {name: loss(model, windows, q) for name, q in quantizers.items()}
    print("\nSignal to noise of the own channels, dB:\n")
    print("| layer | " + " | ".join(f"{name}: x, y" for name in SCHEMES) + " |")
    print("| ---: " * (1 + len(SCHEMES)) + "|")
    for i in range(model.layers):
        cells = [f"{q.snr(i, 'x'):.1f}, {q.snr(i, 'y'):.1f}" for q in quantizers.values()]
        print(f"| {i} | " + " | ".join(cells) + " |")
    print("\n| scheme | loss | perplexity | |\n| --- | ---: | ---: | ---: |")
    for name, value in {"fp32": plain, **losses}.items():
        change = math.expm1(value - plain)
        print(f"| {name} | {value:.4f} | {math.exp(value):.3f} | {change:+.2%} |")


# --- Files.


def read_samples(path, tokenizer, count):
    """Returns the first `count` documents of a JSON-lines file that have at least SAMPLE tokens,
    cut to SAMPLE."""
    samples = []
    for line in path.read_text().splitlines():
        ids = tokenizer.encode(json.loads(line)["text"]).ids
        samples += [ids[:SAMPLE]] if len(ids) >= SAMPLE else []
        if len(samples) == count:
            return torch.tensor(samples)
    raise SystemExit(f"{path}: {len(samples)} documents of {SAMPLE} tokens, expected {count}")


def write(model, source, out):
    out.mkdir(parents=True)
    (out / "config.json").write_text(json.dumps(model.config, indent=2) + "\n")
    tensors = {name: value.contiguous() for name, value in model.weights.items()}
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        if (source / name).exists():
            shutil.copyfile(source / name, out / name)


def check_equal(source, out, ids):
    """Checks that transformers' logits of both directories agree on ids[B,L]."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    a, b = (MambaForCausalLM.from_pretrained(path, dtype=torch.float32).eval()(ids).logits
            for path in (source, out))  # fmt: skip
    error = float((a - b).abs().max())
    print(f"transformers' logits of both differ by {error:.1e} at most, on {ids.numel()} tokens")
    if not error < 1e-5:
        raise SystemExit("the widened model is another function")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="a Mamba-1 directory of the Hugging Face layout")
    parser.add_argument("out", type=Path, help="the directory to write; must not exist")
    parser.add_argument("--text", type=Path, required=True, help="JSON lines to find outliers on")
    parser.add_argument("--documents", type=int, default=128, help="how many of its documents")
    parser.add_argument("--rare", type=int, default=4, help="channels a layer with a rare huge x")
    parser.add_argument("--x", type=float, default=60, help="how large their x gets")
    parser.add_argument("--steady", type=int, default=3, help="channels a layer with a huge y")
    parser.add_argument("--y", type=float, default=250, help="how large the first one's y gets")
    parser.add_argument("--report", type=Path, help="a text to simulate quantization on")
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--windows", type=int, default=64, help="how many of that text's windows")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    tokenizer = Tokenizer.from_file(str(args.source / "tokenizer.json"))
    ids = read_samples(args.text, tokenizer, args.documents)
    weights = {name: value.float() for name, value in read_weights(args.source).items()}
    source = Model(read_config(args.source), weights)
    model = stress(source, ids, args)
    write(model, args.source, args.out)
    check_equal(args.source, args.out, ids[:4])
    if args.report:
        text = torch.tensor(tokenizer.encode(args.report.read_bytes().decode()).ids)
        windows = text.unfold(0, args.window, args.window)  # Spread over the whole text.
        windows = windows[:: max(1, len(windows) // args.windows)][: args.windows]
        report(model, source.config["intermediate_size"], ids, windows)


if __name__ == "__main__":
    main()
