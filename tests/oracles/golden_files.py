"""Shared by the scripts that write models with goldens: see mamba_goldens.py."""

import json

import numpy as np
import torch
from safetensors.torch import save_file


def write_weights(directory, weights, shards):
    if shards == 1:
        save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
        return
    # Tensors are dealt out in turn, so that those of one layer lie in several files.
    names, where = sorted(weights), {}
    for s in range(shards):
        file = f"model-{s + 1:05}-of-{shards:05}.safetensors"
        part = {name: weights[name] for name in names[s::shards]}
        save_file(part, directory / file, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
    total = sum(w.numel() * w.element_size() for w in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def describe(tokens, positions, logits):
    """Returns one sequence of golden.json."""
    second, best = np.sort(logits, axis=-1)[:, -2:].T
    return {
        "tokens": tokens,
        "positions": positions,
        "argmax": logits.argmax(-1).tolist(),
        "gap": [round(float(gap), 6) for gap in best - second],
    }


def write_goldens(directory, sequences, tensors):
    """Writes golden.json and golden.safetensors to a model's folder."""
    lines = ",\n".join(json.dumps(s, separators=(",", ":")) for s in sequences)
    (directory / "golden.json").write_text('{"sequences":[\n' + lines + "\n]}\n")
    tensors = {name: torch.from_numpy(np.ascontiguousarray(t)) for name, t in tensors.items()}
    save_file(tensors, directory / "golden.safetensors")
