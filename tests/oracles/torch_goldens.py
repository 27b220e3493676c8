#!/usr/bin/env python3
"""Writes what torch.save makes of a few tensors, for the reader of pytorch_model.bin.

    python torch_goldens.py ../goldens/torch ../fuzz/corpus/torch_file_fuzz

Goldens, each with the same values in NAME.json (type, shape and the bytes in hexadecimal per tensor,
row-major, little-endian):

    types.bin       a tensor of every type
    views.bin       tensors that share a storage, a scalar, an empty tensor, a parameter
    module.bin      the state_dict of a module, with its _metadata
    protocol4.bin   written with pickle_protocol=4

Files that must be refused: transposed.bin, legacy.bin (the format before PyTorch 1.6), nested.bin (a
dict of a training run), hostile.bin (calls os.system when unpickled), sparse.bin.

The corpus gets the goldens, and their pickles alone. Also writes mamba/ to the goldens: the Mamba of
tests/goldens/mamba/original as the state-spaces repositories have it, in pytorch_model.bin with the
tied head, and mamba_sharded/, the same in two shards with an index.
"""

import argparse
import collections
import json
import os
import shutil
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file

NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64",
         torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
         torch.uint8: "U8", torch.bool: "BOOL"}


def data_of(tensor):
    plain = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach()).reshape(-1)
    return bytes(plain.view(torch.uint8).tolist()) if plain.numel() else b""


def write(directory, name, tensors, **options):
    torch.save(tensors, directory / f"{name}.bin", **options)
    described = {key: {"type": NAMES[t.dtype], "shape": list(t.shape), "data": data_of(t).hex()}
                 for key, t in tensors.items()}
    (directory / f"{name}.json").write_text(json.dumps(described, indent=1, sort_keys=True) + "\n")


class Hostile:
    def __reduce__(self):
        return os.system, ("exit 1",)


def write_goldens(directory):
    torch.manual_seed(1)
    types = {NAMES[dtype]: (torch.randn(2, 3) * 20).to(dtype) for dtype in NAMES}
    write(directory, "types", types)
    write(directory, "protocol4", types, pickle_protocol=4)
    rows = torch.arange(12, dtype=torch.float32).reshape(4, 3)
    write(directory, "views", {"rows": rows, "again": rows, "last": rows[3], "middle": rows[1:3],
                               "empty": torch.zeros(0, 7), "scalar": torch.tensor(1.5),
                               "column": rows[:, None, :], "one": torch.ones(1, 4).t()[:1],
                               "parameter": torch.nn.Parameter(torch.ones(2))})
    write(directory, "module", torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
          .half().state_dict())
    torch.save({"w": rows.t()}, directory / "transposed.bin")
    torch.save({"w": rows}, directory / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "state_dict": {"w": rows}}, directory / "nested.bin")
    torch.save({"w": Hostile()}, directory / "hostile.bin")
    torch.save({"w": torch.eye(3).to_sparse()}, directory / "sparse.bin")


def write_models(goldens):
    source = goldens.parent / "mamba" / "original"
    weights = collections.OrderedDict(load_file(source / "model.safetensors"))
    weights["lm_head.weight"] = weights["backbone.embedding.weight"]
    for name in ("mamba", "mamba_sharded"):
        (goldens / name).mkdir()
        shutil.copy(source / "config.json", goldens / name)
    torch.save(weights, goldens / "mamba" / "pytorch_model.bin")
    where = {}
    for shard in range(2):
        file = f"pytorch_model-{shard + 1:05}-of-00002.bin"
        part = {name: weights[name] for name in sorted(weights)[shard::2]}
        torch.save(part, goldens / "mamba_sharded" / file)
        where |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": 0}, "weight_map": where}
    (goldens / "mamba_sharded" / "pytorch_model.bin.index.json").write_text(json.dumps(index) + "\n")


def write_corpus(goldens, corpus):
    for file in sorted(goldens.glob("*.bin")):
        shutil.copy(file, corpus / file.stem)
        if not zipfile.is_zipfile(file):
            continue
        with zipfile.ZipFile(file) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            (corpus / f"{file.stem}.pkl").write_bytes(archive.read(pickles[0]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("goldens", type=Path)
    parser.add_argument("corpus", type=Path)
    arguments = parser.parse_args()
    for directory in (arguments.goldens, arguments.corpus):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
    write_goldens(arguments.goldens)
    write_corpus(arguments.goldens, arguments.corpus)
    write_models(arguments.goldens)


if __name__ == "__main__":
    main()
