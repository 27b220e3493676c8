"""The Mamba-1 forward pass in numpy, one equation per line.

It reads a model directory on its own and shares no code with transformers, so the two can check
each other. Letters are those of the papers: d = hidden size, E = inner size, N = state size,
R = rank of the time step, W = width of the convolution, V = vocabulary, L = tokens.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file


class Shape:
    """The sizes that a config.json states, in either of its two forms."""

    def __init__(self, config):
        ssm = config.get("ssm_cfg")
        if ssm is not None:  # The original state-spaces form, with its vocabulary rounding.
            self.d, self.layers = config["d_model"], config["n_layer"]
            multiple = config.get("pad_vocab_size_multiple", 8)
            self.V = -(-config["vocab_size"] // multiple) * multiple
            self.N, self.W = ssm.get("d_state", 16), ssm.get("d_conv", 4)
            self.E = ssm.get("expand", 2) * self.d
            rank, self.epsilon = ssm.get("dt_rank", "auto"), 1e-5
        else:
            self.d, self.layers = config["hidden_size"], config["num_hidden_layers"]
            self.V = config["vocab_size"]
            self.N, self.W = config.get("state_size", 16), config.get("conv_kernel", 4)
            self.E = config.get("expand", 2) * self.d
            rank = config.get("time_step_rank", "auto")
            self.epsilon = config.get("layer_norm_epsilon", 1e-5)
        self.R = math.ceil(self.d / 16) if rank == "auto" else rank


def read_config(directory):
    return json.loads((Path(directory) / "config.json").read_text())


def read_weights(directory):
    """Returns all tensors of a model directory, as torch tensors in their stored dtype."""
    index = Path(directory) / "model.safetensors.index.json"
    if not index.exists():
        return load_file(Path(directory) / "model.safetensors")
    weights = {}
    for shard in sorted(set(json.loads(index.read_text())["weight_map"].values())):
        weights.update(load_file(Path(directory) / shard))
    return weights


def silu(v):
    return v / (1 + np.exp(-v))


def softplus(v):
    return np.where(v > 20, v, np.log1p(np.exp(np.minimum(v, 20))))


def rms_norm(r, gamma, epsilon):
    return gamma * r / np.sqrt(np.mean(r * r, axis=-1, keepdims=True) + epsilon)


def mixer(u, w, shape):
    """A block without norm and residual: u[L, d] -> [L, d], final conv [E, W] and ssm [E, N]."""
    length, zero = u.shape[0], u.dtype.type(0)
    xz = u @ w["in_proj.weight"].T + w.get("in_proj.bias", zero)
    x, z = xz[:, : shape.E], xz[:, shape.E :]

    past = np.concatenate([np.zeros((shape.W, shape.E), u.dtype), x])  # W zeros before t = 0.
    taps = w["conv1d.weight"][:, 0, :]
    x = sum(taps[:, k] * past[k + 1 : k + 1 + length] for k in range(shape.W))
    x = silu(x + w.get("conv1d.bias", zero))

    dbc = x @ w["x_proj.weight"].T
    delta, b, c = np.split(dbc, [shape.R, shape.R + shape.N], axis=1)
    delta = softplus(delta @ w["dt_proj.weight"].T + w["dt_proj.bias"])

    a = -np.exp(w["A_log"])
    h = np.zeros((shape.E, shape.N), u.dtype)
    y = np.empty_like(x)
    for t in range(length):
        h = np.exp(delta[t, :, None] * a) * h + (delta[t] * x[t])[:, None] * b[t]
        y[t] = h @ c[t] + w["D"] * x[t]
    out = (y * silu(z)) @ w["out_proj.weight"].T + w.get("out_proj.bias", zero)
    return out, past[-shape.W :].T, h


def forward(config, stored, tokens, dtype):
    """Returns logits [L, V] and the final states (conv [layers, E, W], ssm [layers, E, N])."""
    shape = Shape(config)
    weights = {name: t.to(torch.float64).numpy().astype(dtype) for name, t in stored.items()}
    embedding = weights.get("backbone.embeddings.weight", weights.get("backbone.embedding.weight"))
    head = weights.get("lm_head.weight", embedding)

    r = embedding[np.asarray(tokens)]
    conv, ssm = [], []
    for i in range(shape.layers):
        prefix = f"backbone.layers.{i}."
        inner = prefix + "mixer."
        w = {n.removeprefix(inner): v for n, v in weights.items() if n.startswith(inner)}
        u = rms_norm(r, weights[prefix + "norm.weight"], shape.epsilon)
        out, conv_i, ssm_i = mixer(u, w, shape)
        r = r + out
        conv.append(conv_i)
        ssm.append(ssm_i)
    logits = rms_norm(r, weights["backbone.norm_f.weight"], shape.epsilon) @ head.T
    return logits, np.stack(conv), np.stack(ssm)
