"""Writes small random Mamba-1 model directories and their logits from transformers.

    python mamba_goldens.py ../goldens/mamba

Each case is a folder with an ordinary model (config.json and *.safetensors), golden.json with the
token ids, and golden.safetensors with the logits of transformers' MambaForCausalLM, in fp32 on the
stored weights, on the CPU. For each sequence of L tokens golden.json has

    tokens     [L]  the ids
    positions  [P]  the positions whose logits are kept: all of them, or some if L = 300
    argmax     [L]  the best id at every position
    gap        [L]  its lead over the second (compare argmax only if this exceeds the tolerance)

and golden.safetensors has `logits.L` [P, V]. One case also has `conv_state.17` [layers, E, W], the
last W inputs of the convolution, oldest first, and `ssm_state.17` [layers, E, N].

Every case is also computed by mamba_equations.py, in fp32 and in fp64. The run fails if logits or
final states differ from those of transformers by more than 1e-5 of the largest value.
"""

import argparse
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import MambaConfig, MambaForCausalLM
from transformers.utils import logging

import mamba_equations as equations
from golden_files import describe, write_goldens, write_weights

LENGTHS = [1, 2, 3, 4, 5, 17, 300]
POSITIONS_OF_300 = [0, 1, 16, 17, 255, 256, 298, 299]
STATES_OF = 17
TOLERANCE = 1e-5  # Relative to the largest value.


@dataclass
class Case:
    name: str
    config: dict
    use_bias: bool = False
    use_conv_bias: bool = True
    store_head: bool = False  # Stores the head although it is tied.
    tied: bool = True
    matrices: torch.dtype = torch.float32  # Stored type of the matrices ...
    vectors: torch.dtype = torch.float32  # ... and of A_log, D and dt_proj.bias.
    shards: int = 1
    states: bool = False


def hf(d, layers, vocab, **others):
    """Returns a config.json in Hugging Face's form. A key with the value None is left out, so that
    its default applies."""
    config = {
        "architectures": ["MambaForCausalLM"],
        "model_type": "mamba",
        "vocab_size": vocab,
        "hidden_size": d,
        "intermediate_size": others.get("expand", 2) * d,
        "state_size": 16,
        "num_hidden_layers": layers,
        "layer_norm_epsilon": 1e-05,
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "expand": 2,
        "conv_kernel": 4,
        "use_bias": False,
        "use_conv_bias": True,
        "hidden_act": "silu",
        "residual_in_fp32": True,
        "time_step_rank": -(-d // 16),
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
    } | others
    return {key: value for key, value in config.items() if value is not None}


def original(d, layers, vocab, **ssm):
    """Returns a config.json in the form that state-spaces/mamba writes."""
    return {
        "d_model": d,
        "n_layer": layers,
        "vocab_size": vocab,
        "ssm_cfg": ssm,
        "rms_norm": True,
        "residual_in_fp32": True,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": 8,
    }


CASES = [
    Case("hf_tied", hf(64, 2, 120)),
    Case(
        "hf_untied",
        hf(
            48, 2, 96, tie_word_embeddings=False, intermediate_size=None, time_step_rank=None,
            layer_norm_epsilon=0.01,
        ),
        tied=False,
    ),
    Case("original", original(32, 2, 101)),
    Case("original_ssm_cfg", original(24, 2, 97, d_state=8, d_conv=3, expand=3, dt_rank=5),
         store_head=True),
    Case("odd_sizes", hf(21, 3, 131, expand=3, state_size=5, time_step_rank=3), states=True),
    Case("conv3_bias", hf(20, 2, 67, conv_kernel=3, use_bias=True, state_size=7), use_bias=True),
    Case("no_conv_bias", hf(28, 2, 71, use_conv_bias=False, conv_kernel=2), use_conv_bias=False),
    # As trainers store it: matrices in 16 bits, the tensors that the scan is sensitive to in 32
    # bits.
    Case("bf16", hf(32, 2, 80, torch_dtype="bfloat16"), matrices=torch.bfloat16),
    Case("f16", hf(32, 2, 80, torch_dtype="float16"), matrices=torch.float16,
         vectors=torch.float16),
    Case("sharded", hf(32, 3, 88, tie_word_embeddings=False), tied=False, shards=3),
]


def random_weights(case, rng):
    """Returns random weights that give activations and logits of magnitude one and more, and time
    steps from tiny to 20.

    Larger weights would test less: random models amplify rounding errors, and at 1.5 times these
    sizes two correct fp32 programs already differ by 1e-4 in a logit.
    """
    shape = equations.Shape(case.config)
    d, E, N, R = shape.d, shape.E, shape.N, shape.R
    embedding = "embedding" if "ssm_cfg" in case.config else "embeddings"

    def normal(std, *size):
        return std * rng.standard_normal(size)

    weights = {f"backbone.{embedding}.weight": normal(3 / d**0.5, shape.V, d)}
    for i in range(shape.layers):
        # A tenth of the channels lies where softplus becomes the identity, and one where exp would
        # overflow. Their columns of out_proj are scaled down, so that their large outputs do not
        # drown the others.
        bias = np.where(rng.random(E) < 0.1, rng.uniform(18, 22, E), rng.uniform(-7, 2, E))
        bias[rng.integers(E)] = 100
        mixer = {
            "in_proj.weight": normal(1 / d**0.5, 2 * E, d),
            "conv1d.weight": normal(0.6, E, 1, shape.W),
            "x_proj.weight": normal(1 / E**0.5, R + 2 * N, E),
            "dt_proj.weight": normal(1.5 / R**0.5, E, R),
            "dt_proj.bias": bias,
            "A_log": np.log(np.arange(1, N + 1)) + normal(0.5, E, N),
            "D": 1 + normal(0.5, E),
            "out_proj.weight": normal(0.5 / E**0.5, d, E) / np.maximum(bias, 1),
        }
        if case.use_conv_bias:
            mixer["conv1d.bias"] = normal(0.4, E)
        if case.use_bias:
            mixer["in_proj.bias"] = normal(0.4, 2 * E)
            mixer["out_proj.bias"] = normal(0.4, d)
        weights[f"backbone.layers.{i}.norm.weight"] = 1 + normal(0.3, d)
        weights |= {f"backbone.layers.{i}.mixer.{name}": w for name, w in mixer.items()}
    weights["backbone.norm_f.weight"] = 1 + normal(0.3, d)
    if not case.tied:
        weights["lm_head.weight"] = normal(3 / d**0.5, shape.V, d)

    def stored(name, w):
        vector = name.endswith(("A_log", ".D", "dt_proj.bias"))
        return torch.from_numpy(w).to(case.vectors if vector else case.matrices).contiguous()

    weights = {name: stored(name, w) for name, w in weights.items()}
    if case.store_head:
        weights["lm_head.weight"] = weights[f"backbone.{embedding}.weight"].clone()
    return weights


def load_oracle(directory):
    """Loads a directory as transformers' model, in fp32; renames tensors of the original form."""
    config = equations.read_config(directory)
    if "ssm_cfg" not in config:
        return MambaForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    shape = equations.Shape(config)
    model = MambaForCausalLM(
        MambaConfig(
            vocab_size=shape.V, hidden_size=shape.d, num_hidden_layers=shape.layers,
            state_size=shape.N, conv_kernel=shape.W, expand=shape.E // shape.d,
            time_step_rank=shape.R, layer_norm_epsilon=shape.epsilon,
        )
    )
    weights = {
        name.replace("embedding.", "embeddings."): w.float()
        for name, w in equations.read_weights(directory).items()
    }
    weights.setdefault("lm_head.weight", weights["backbone.embeddings.weight"])
    model.load_state_dict(weights)
    return model.eval()


def relative_error(theirs, own):
    return float(np.abs(own - theirs).max() / np.abs(own).max())


def run_oracle(model, tokens):
    """Returns logits [L, V] and the final states (conv [layers, E, W], ssm [layers, E, N])."""
    with torch.inference_mode():
        output = model(torch.tensor([tokens]), use_cache=True)
    layers = output.cache_params.layers
    conv = np.stack([layer.conv_states[0][0].numpy() for layer in layers])
    ssm = np.stack([layer.recurrent_states[0][0].numpy() for layer in layers])
    return output.logits[0].numpy(), conv, ssm


def write_case(root, number, case):
    """Writes one folder; returns its worst relative errors and the typical spread of its logits."""
    directory = root / case.name
    directory.mkdir(parents=True)
    rng = np.random.default_rng([20240531, number])
    (directory / "config.json").write_text(json.dumps(case.config, indent=1) + "\n")
    write_weights(directory, random_weights(case, rng), case.shards)

    model, stored = load_oracle(directory), equations.read_weights(directory)
    ids = case.config["vocab_size"]  # Without the original form's padding, which is never an input.
    sequences, tensors, errors, spread = [], {}, [], []
    for length in LENGTHS:
        tokens = rng.integers(0, ids, length).tolist()
        oracle = run_oracle(model, tokens)
        errors.append([
            max(map(relative_error, oracle, equations.forward(case.config, stored, tokens, dtype)))
            for dtype in (np.float32, np.float64)
        ])
        logits, conv, ssm = oracle
        spread.append(float(logits.std()))
        positions = POSITIONS_OF_300 if length == 300 else list(range(length))
        sequences.append(describe(tokens, positions, logits))
        tensors[f"logits.{length}"] = logits[positions]
        if case.states and length == STATES_OF:
            tensors |= {f"conv_state.{length}": conv, f"ssm_state.{length}": ssm}

    write_goldens(directory, sequences, tensors)
    return np.max(errors, axis=0), float(np.median(spread))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder to write; an old one is replaced")
    root = parser.parse_args().out
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if root.exists():
        shutil.rmtree(root)

    print(f"{'case':18} {'spread':>7} {'vs fp32':>9} {'vs fp64':>9}   (relative errors)")
    failed = []
    for number, case in enumerate(CASES):
        errors, spread = write_case(root, number, case)
        print(f"{case.name:18} {spread:7.2f} {errors[0]:9.1e} {errors[1]:9.1e}")
        if max(errors) > TOLERANCE:
            failed.append(case.name)
    if failed:
        raise SystemExit(f"transformers and the equations differ by over {TOLERANCE}: {failed}")


if __name__ == "__main__":
    main()
