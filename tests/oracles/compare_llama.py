"""Times whipsnake, llama.cpp and CTranslate2 by turns and prints a Markdown table.

    python llama_gguf.py DIR q8_0.gguf --type q8_0
    python compare_llama.py --whipsnake build/release/whipsnake --python PEER_VENV/bin/python \
        --ours bf16=DIR:bf16 --ours quamba=DIR_W8A8:quamba-w8a8 --peer q8_0=q8_0.gguf
    python compare_llama.py --whipsnake build/release/whipsnake --python PEER_VENV/bin/python \
        --ours w8a8=GPT2_W8A8:w8a8 --peer q8_0=gpt2.gguf \
        --ctranslate2-python CT2_VENV/bin/python --ctranslate2 ct2=CT2_DIR --batches 1,16

Each round runs one process per contender for every batch size: `whipsnake bench`, bench_llama.py or
bench_ctranslate2.py. Every second round runs in reverse order, so that a machine that slows down
slows all of them. All are pinned to the same CPUs, one per thread. Prefill is timed with a batch of
1. The tables show the medians over the rounds. Use a machine that does nothing else: if the slowest
run of a contender took far longer than its fastest, other work interfered and the row is useless.
llama.cpp suffers most, because its threads spin while they wait for each other.
"""

import argparse
import datetime
import json
import os
import shlex
import statistics
import sys
from pathlib import Path

from compare_transformers import machine, run_json


def numbers(text):
    return [int(number) for number in text.split(",")]


def contenders(args):
    """Returns {name: f(batch) -> the command that times it}."""
    def sizes(batch, prompt):
        return [
            "--batch", str(batch),
            "--prompt-tokens", str(prompt),
            "--generate-tokens", str(args.generate_tokens),
            "--repeat", str(args.repeat),
            "--threads", str(len(args.cpus)),
        ]  # fmt: skip

    def ours(directory, scheme):
        bench = [args.whipsnake, "bench", "--model", directory, "--scheme", scheme, "--json"]
        # Prompts of a larger batch are not timed: one token starts each sequence.
        return lambda batch: bench + sizes(batch, args.prompt_tokens if batch == 1 else 1)

    def peer(python, script, path):
        bench = [python, Path(__file__).with_name(script), "--model", path]
        return lambda batch: bench + sizes(batch, args.prompt_tokens if batch == 1 else 1)

    commands = {}
    for text in args.ours:
        name, rest = text.split("=", 1)
        commands[name] = ours(*rest.rsplit(":", 1))
    for text in args.peer:
        name, path = text.split("=", 1)
        commands[name] = peer(args.python, "bench_llama.py", path)
    for text in args.ctranslate2:
        name, path = text.split("=", 1)
        commands[name] = peer(args.ctranslate2_python, "bench_ctranslate2.py", path)
    return commands


def rows(results, batches, prompt_tokens):
    """Yields (label, {name: median}, the largest ratio of one contender's runs) for all timings."""
    def row(label, batch, key):
        runs = {name: [run[key] for run in r[batch]] for name, r in results.items()}
        medians = {name: statistics.median(values) for name, values in runs.items()}
        return label, medians, max(max(values) / min(values) for values in runs.values())

    if 1 in batches:
        yield row(f"prefill of {prompt_tokens}, ms", 1, "time_to_first_token_ms")
    for batch in batches:
        yield row(f"decode step, batch {batch}, ms", batch, "time_per_output_token_ms")


def tables(rows, ours, peers):
    names = ours + peers
    yield "| | " + " | ".join(names) + " | slowest : fastest run |"
    yield "| --- |" + " ---: |" * (len(names) + 1)
    for label, values, spread in rows:
        yield f"| {label} | " + " | ".join(f"{values[n]:.2f}" for n in names) + f" | {spread:.2f}x |"
    if not (ours and peers):
        return
    pairs = [(a, b) for b in peers for a in ours]
    yield "\nHow many times as fast the first is as the second:\n"
    yield "| | " + " | ".join(f"{a} : {b}" for a, b in pairs) + " |"
    yield "| --- |" + " ---: |" * len(pairs)
    for label, values, _ in rows:
        label = label.removesuffix(", ms")
        yield f"| {label} | " + " | ".join(f"{values[b] / values[a]:.2f}x" for a, b in pairs) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--whipsnake", type=Path, required=True, help="the binary")
    parser.add_argument("--python", default=sys.executable, help="one that has llama_cpp")
    parser.add_argument("--ours", action="append", default=[], metavar="NAME=DIR:SCHEME")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=FILE.gguf")
    parser.add_argument("--ctranslate2", action="append", default=[], metavar="NAME=DIR")
    parser.add_argument("--ctranslate2-python", help="one that has ctranslate2")
    parser.add_argument("--batches", type=numbers, default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=3, help="timings a process")
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--generate-tokens", type=int, default=32)
    parser.add_argument("--cpus", type=numbers, default=[0, 1])
    parser.add_argument("--json", type=Path, help="where to write every run as JSON")
    args = parser.parse_args()

    os.sched_setaffinity(0, args.cpus)  # Inherited by every process below.
    commands = contenders(args)
    results = {name: {batch: [] for batch in args.batches} for name in commands}
    for number in range(args.rounds):
        for batch in args.batches:
            for name in list(commands)[:: 1 if number % 2 == 0 else -1]:
                results[name][batch].append(run_json(commands[name](batch)))
        print(f"round {number + 1}/{args.rounds} done", file=sys.stderr)

    ours, peers = (
        [text.split("=", 1)[0] for text in group]
        for group in (args.ours, args.peer + args.ctranslate2)
    )
    medians = list(rows(results, args.batches, args.prompt_tokens))
    print("\n".join(tables(medians, ours, peers)))
    last = {name: runs[args.batches[0]][-1] for name, runs in results.items()}
    print(f"\n- Machine: {machine()}; held to CPUs {args.cpus}")
    print(f"- Date: {datetime.date.today()}")
    if ours:
        print(f"- whipsnake's isa: {last[ours[0]].get('isa', '?')}")
    versions = {n: v for peer in peers for n, v in last[peer]["versions"].items()}
    if peers:
        print("- Versions: " + ", ".join(f"{n} {v}" for n, v in versions.items()))
    for system in {last[peer]["system"] for peer in peers if "system" in last[peer]}:
        print(f"- llama.cpp: {system}")
    print(f"- Medians over {args.rounds} rounds: `{shlex.join(['python', *sys.argv])}`")
    if args.json:
        whole = {"medians": {row[0]: row[1] for row in medians}, "runs": results}
        args.json.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
