#!/usr/bin/env python3
"""Writes tests/goldens/tokenizer/splits.json: how `tokenizers` splits short texts by the patterns of published models.

    python tests/oracles/split_goldens.py

The versions are those of tests/oracles/requirements.txt.
"""

import json
import pathlib
import random

from tokenizers import Regex, pre_tokenizers

UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
PATTERNS = {
    "o200k": rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]*[{LOWER}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]+[{LOWER}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "cl100k": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+",
    "repetitions": r"\s{2,}(?!\S)|\w{3,}|\d+?|\D++",
    "sets": r"[[:alpha:]&&[^e]]+|[^\s\p{L}_]{2,}|\h+x",
}
ALPHABET = " " * 8 + "\t\n\r\u00a0\u2003\u3000aeXZé中ΑǅʰÅ019٣½'sSlL.,!/=-_\u0301\u200d\U0001f600"


def texts():
    rng = random.Random(7)
    made = ["".join(rng.choice(ALPHABET) * rng.choice([1, 1, 1, 2, 3, 9]) for _ in range(rng.randint(1, 25))) for _ in range(120)]
    return ["", " ", "     x", "x     ", " \n \n  y", "I'LL we're", "   \r\n  "] + made


def main():
    samples = texts()
    cases = []
    for name, pattern in PATTERNS.items():
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        cases.append({"name": name, "pattern": pattern, "pieces": [[piece for piece, _ in split.pre_tokenize_str(t)] for t in samples]})
    out = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "tokenizer" / "splits.json"
    golden = {"texts": samples, "cases": cases}
    out.write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
