"""Writes a Mamba-1 or GPT-2 directory of the Hugging Face layout as GGUF, for llama.cpp.

    python llama_gguf.py MODEL_DIR OUT.gguf --type q8_0

Keys, tensor names and types are those of llama.cpp's own converter for the architecture "mamba" or
"gpt2": vectors, the convolution, A = -exp(A_log) and the positions are F32; matrices have the
requested type, or F16 if a row is not a multiple of Q8_0's block of 32 (dt_proj of the 130m size).
GPT-2's matrices are transposed, and gelu_new is its only activation. The vocabulary comes from a
tokenizer.json with byte-level BPE, which llama-server needs; without one, only token ids go in and
out. One tensor is in memory at a time.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

FILE_TYPES = {
    "f32": (Type.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (Type.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (Type.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
MAMBA_GLOBAL = {
    "backbone.embeddings.weight": "token_embd.weight",
    "backbone.norm_f.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
MAMBA_LAYER = {
    "norm.weight": "attn_norm.weight",
    "mixer.in_proj.weight": "ssm_in.weight",
    "mixer.conv1d.weight": "ssm_conv1d.weight",
    "mixer.conv1d.bias": "ssm_conv1d.bias",
    "mixer.x_proj.weight": "ssm_x.weight",
    "mixer.dt_proj.weight": "ssm_dt.weight",
    "mixer.dt_proj.bias": "ssm_dt.bias",
    "mixer.A_log": "ssm_a",
    "mixer.D": "ssm_d",
    "mixer.out_proj.weight": "ssm_out.weight",
}


GPT2_GLOBAL = {
    "transformer.wte.weight": "token_embd.weight",
    "transformer.wpe.weight": "position_embd.weight",
    "transformer.ln_f.weight": "output_norm.weight",
    "transformer.ln_f.bias": "output_norm.bias",
    "lm_head.weight": "output.weight",
}
GPT2_LAYER = {
    f"{theirs}.{part}": f"{ours}.{part}"
    for part in ["weight", "bias"]
    for theirs, ours in [
        ("ln_1", "attn_norm"), ("attn.c_attn", "attn_qkv"), ("attn.c_proj", "attn_output"),
        ("ln_2", "ffn_norm"), ("mlp.c_fc", "ffn_up"), ("mlp.c_proj", "ffn_down"),
    ]
}
NAMES = {
    "mamba": (MAMBA_GLOBAL, MAMBA_LAYER, "backbone.layers."),
    "gpt2": (GPT2_GLOBAL, GPT2_LAYER, "transformer.h."),
}


def gguf_name(architecture, name):
    outside, inside, prefix = NAMES[architecture]
    if name in outside:
        return outside[name]
    layer, _, rest = name.removeprefix(prefix).partition(".")
    if not name.startswith(prefix) or rest not in inside:
        raise SystemExit(f"{name}: not a tensor of {architecture}")
    return f"blk.{layer}.{inside[rest]}"


def is_conv1d(name):
    """Whether a GPT-2 tensor is stored as [inputs, outputs]."""
    return name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))


def read_tensors(directory):
    """Returns {name: (memory map, dtype)} of every safetensors file in the directory."""
    tensors = {}
    for path in sorted(directory.glob("*.safetensors")):
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(header_bytes))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            kind = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}[entry["dtype"]]
            values = np.memmap(
                path, kind, "r", 8 + header_bytes + begin, tuple(entry["shape"])
            )
            assert values.nbytes == end - begin
            tensors[name] = values, entry["dtype"]
    return tensors


def as_float(values, dtype):
    if dtype == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(values, np.float32)


def stored_type(name, shape, wanted):
    """Returns the type of a tensor in the file. `shape` leaves out axes of one element."""
    if len(shape) == 1 or not name.endswith(".weight") or "conv1d" in name or "position" in name:
        return Type.F32
    block, _ = gguf.GGML_QUANT_SIZES[wanted]
    return wanted if shape[-1] % block == 0 else Type.F16


def write_gpt2_keys(writer, config):
    if config.get("activation_function", "gelu_new") != "gelu_new":
        raise SystemExit("llama.cpp's GPT-2 has gelu_new alone")
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_block_count(config["n_layer"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])


def write_mamba_keys(writer, config):
    if config["intermediate_size"] != 2 * config["hidden_size"]:
        raise SystemExit("llama.cpp takes an intermediate_size of 2 · hidden_size alone")
    writer.add_context_length(2**20)  # Any number works: a state does not grow.
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_ssm_conv_kernel(config["conv_kernel"])
    writer.add_ssm_inner_size(config["intermediate_size"])
    writer.add_ssm_state_size(config["state_size"])
    writer.add_ssm_time_step_rank(config["time_step_rank"])
    writer.add_layer_norm_rms_eps(config["layer_norm_epsilon"])
    writer.add_ssm_dt_b_c_rms(False)


def write_vocabulary(writer, path, size):
    if not path.exists():
        writer.add_tokenizer_model("none")
        return
    tokenizer = json.loads(path.read_text())
    tokens = [f"<unused {i}>" for i in range(size)]
    types = [gguf.TokenType.UNUSED] * size
    for token, i in tokenizer["model"]["vocab"].items():
        tokens[i], types[i] = token, gguf.TokenType.NORMAL
    for token in tokenizer["added_tokens"]:
        tokens[token["id"]], types[token["id"]] = token["content"], gguf.TokenType.CONTROL
    merges = tokenizer["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_add_bos_token(False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--type", choices=FILE_TYPES, default="q8_0")
    args = parser.parse_args()

    config = json.loads((args.model / "config.json").read_text())
    architecture = config["model_type"]
    wanted, file_type = FILE_TYPES[args.type]
    writer = gguf.GGUFWriter(args.out, architecture)
    writer.add_file_type(file_type)
    writer.add_vocab_size(config["vocab_size"])
    {"mamba": write_mamba_keys, "gpt2": write_gpt2_keys}[architecture](writer, config)
    write_vocabulary(writer, args.model / "tokenizer.json", config["vocab_size"])

    tensors = read_tensors(args.model)
    plan = []  # (name in the checkpoint, type in the file), in the order of writing
    for name, (values, _) in tensors.items():
        target = gguf_name(architecture, name)
        shape = tuple(n for n in values.shape if n > 1)
        if is_conv1d(name):
            shape = shape[::-1]
        kind = stored_type(target, shape, wanted)
        block, size = gguf.GGML_QUANT_SIZES[kind]
        bytes_ = values.size // block * size
        writer.add_tensor_info(target, shape, np.dtype(np.float32), bytes_, raw_dtype=kind)
        plan.append((name, kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, kind in plan:
        values = as_float(*tensors[name]).squeeze()
        if name.endswith("A_log"):
            values = -np.exp(values)
        if is_conv1d(name):
            values = np.ascontiguousarray(values.T)
        writer.write_tensor_data(gguf.quants.quantize(values, kind))
    writer.close()


if __name__ == "__main__":
    main()
