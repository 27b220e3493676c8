"""Times whipsnake and transformers by turns on one model and prints a Markdown table.

    whipsnake init --config tests/configs/mamba-130m.json --seed 1 --out DIR
    python compare_transformers.py --whipsnake build/release/whipsnake --model DIR

Each round runs `whipsnake bench` and bench_transformers.py as separate processes, one after the
other, so that a machine that slows down slows both. Every second round runs in reverse order. The
table shows the medians over the rounds. Use a machine that does nothing else.
"""

import argparse
import datetime
import json
import platform
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

ROWS = [  # key, label, whether more is better
    ("prefill_tokens_per_second", "prefill, tokens/s", True),
    ("decode_tokens_per_second", "decode, tokens/s", True),
    ("time_to_first_token_ms", "time to first token, ms", False),
    ("time_per_output_token_ms", "time per output token, ms", False),
]


def run_json(command):
    """Runs a command and returns the last line of its output as JSON."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{shlex.join(map(str, command))}: exit status {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def machine():
    """Returns the processor's name and the number of CPUs, from lscpu."""
    out = subprocess.run(["lscpu"], stdout=subprocess.PIPE, text=True, env={"LC_ALL": "C"}).stdout
    fields = dict(line.split(":", 1) for line in out.splitlines() if ":" in line)
    name = fields.get("Model name", platform.machine()).strip()
    return f"{name}, {fields.get('CPU(s)', '?').strip()} CPUs"


def table(ours, theirs):
    yield "| | whipsnake | transformers | whipsnake is faster by |"
    yield "| --- | ---: | ---: | ---: |"
    for key, label, more in ROWS:
        a = statistics.median(run[key] for run in ours)
        b = statistics.median(run[key] for run in theirs)
        yield f"| {label} | {a:.2f} | {b:.2f} | {a / b if more else b / a:.2f}x |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--whipsnake", type=Path, required=True, help="the binary")
    parser.add_argument("--model", type=Path, required=True, help="a model directory")
    parser.add_argument("--python", default=sys.executable, help="one that has transformers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--generate-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    sizes = [
        "--prompt-tokens", str(args.prompt_tokens),
        "--generate-tokens", str(args.generate_tokens),
        "--threads", str(args.threads),
    ]
    model = ["--model", str(args.model)]
    script = Path(__file__).with_name("bench_transformers.py")
    bench = [args.whipsnake, "bench", *model, "--scheme", "fp32", "--batch", "1", *sizes, "--json"]
    commands = {"whipsnake": bench, "transformers": [args.python, script, *model, *sizes]}
    results = {name: [] for name in commands}
    for number in range(args.rounds):
        for name in list(commands)[:: 1 if number % 2 == 0 else -1]:
            results[name].append(run_json(commands[name]))
            print(f"round {number + 1}/{args.rounds}: {name} done", file=sys.stderr)
    ours, theirs = results["whipsnake"], results["transformers"]

    print("\n".join(table(ours, theirs)))
    to_read = [run["time_per_output_token_ms"] / run["streaming_read_ms"] for run in ours]
    read = statistics.median(run["streaming_read_ms"] for run in ours)
    print(
        f"\nA plain read of the weights that a decode step touches takes {read:.2f} ms; "
        f"whipsnake's step takes {statistics.median(to_read):.2f} times as long.\n"
    )
    versions = ", ".join(f"{name} {value}" for name, value in theirs[0]["versions"].items())
    print(f"- Machine: {machine()}")
    print(f"- Date: {datetime.date.today()}; whipsnake's isa: {ours[0].get('isa', '?')}")
    print(f"- Versions: {versions}")
    print(f"- Medians over {args.rounds} rounds: `{shlex.join(['python', *sys.argv])}`")


if __name__ == "__main__":
    main()
