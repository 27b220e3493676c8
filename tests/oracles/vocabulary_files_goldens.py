#!/usr/bin/env python3
"""Writes tests/goldens/tokenizer/vocabulary_files.json: what `transformers` makes of vocab.json and merges.txt.

    python tests/oracles/vocabulary_files_goldens.py

One vocabulary with its merges, and cases: the files beside them, and for each text the ids without special tokens,
with them, and with special tokens in the text taken as plain text (split_special_tokens). The versions are those of
tests/oracles/requirements.txt.
"""

import json
import pathlib
import tempfile

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import GPT2Tokenizer

TRAINING = (pathlib.Path(__file__).resolve().parent.parent.parent / "LICENSE").read_text(encoding="utf-8")
TEXTS = [
    "the theory of <|endoftext|> the other<pad> things",
    "  <s>then</s> <mask>  there<|user|> 12",
    "<|endoftext|>",
    "",
    "   x<tab>  y  <|endoftext|>\n",
]
PAD = {"content": "<pad>", "lstrip": False, "normalized": False, "rstrip": True, "single_word": False, "special": True}
USER = {"content": "<|user|>", "lstrip": True, "normalized": True, "rstrip": False, "single_word": False, "special": False}
# The vocabulary, trained on the licence, has 300 tokens, of which <|endoftext|> is the first.
CASES = {
    "nothing else": {},
    "the first files": {"tokenizer_config.json": {"model_max_length": 1024}},
    "strings": {"special_tokens_map.json": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<|endoftext|>", "pad_token": "<pad>"}},
    "objects": {
        "special_tokens_map.json": {"pad_token": {k: v for k, v in PAD.items() if k != "special"}, "mask_token": "<mask>"},
        "added_tokens.json": {"<mask>": 301, "<pad>": 300, "<tab>": 302},
    },
    "decoder": {
        "tokenizer_config.json": {
            "tokenizer_class": "GPT2Tokenizer",
            "added_tokens_decoder": {"300": USER, "301": PAD, "302": {"content": "<tab>", "normalized": True, "lstrip": False, "rstrip": False, "single_word": False, "special": False}},
            "pad_token": "<pad>", "bos_token": "<s>",
        },
        "special_tokens_map.json": {"bos_token": "<mask>"},
    },
    "beginning": {
        "tokenizer_config.json": {"add_bos_token": True, "add_prefix_space": True, "bos_token": {"__type": "AddedToken", "content": "</s>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}},
        "special_tokens_map.json": {"bos_token": {"content": "</s>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}},
    },
    "both ends": {"tokenizer_config.json": {"add_bos_token": True, "add_eos_token": True, "bos_token": "<s>", "eos_token": "<|endoftext|>"}},
}


def train():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator([TRAINING], trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    model = json.loads(t.to_str())["model"]
    assert len(model["vocab"]) == 300
    return model["vocab"], "#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in model["merges"])


def ids(directory, texts, special, **options):
    tokenizer = GPT2Tokenizer.from_pretrained(directory, **options)
    return [tokenizer(text, add_special_tokens=special)["input_ids"] for text in texts]


def main():
    vocabulary, merges = train()
    cases = []
    for name, files in CASES.items():
        texts = {file: json.dumps(content, ensure_ascii=False) for file, content in files.items()}
        with tempfile.TemporaryDirectory() as directory:
            for file, text in {**texts, "vocab.json": json.dumps(vocabulary, ensure_ascii=False), "merges.txt": merges}.items():
                (pathlib.Path(directory) / file).write_text(text, encoding="utf-8")
            cases.append({
                "name": name, "files": texts,
                "ids": ids(directory, TEXTS, False), "special": ids(directory, TEXTS, True),
                "plain": ids(directory, TEXTS, False, split_special_tokens=True),
            })
    golden = {"vocabulary": json.dumps(vocabulary, ensure_ascii=False), "merges": merges, "texts": TEXTS, "cases": cases}
    out = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "tokenizer" / "vocabulary_files.json"
    out.write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
