#!/usr/bin/env python3
"""Measures the memory and the step time of training under each scheduler of layers.

    memory_time.py --config tests/configs/gpt2-124m.json --out results.jsonl
    memory_time.py --out results.jsonl --table
    memory_time.py --out results.jsonl --plot docs/images/memory-time.png

The runs of a round alternate, each a process of its own; a run that is in the results already is
not made again. The time is that of one step after a first one. The bytes are those of the plan for
a whole run, at its highest: in two steps, most layers have no moments yet. --plot needs matplotlib.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

RATE = "freezing_rate=0.95"
SCHEDULERS = {
    "full": [],
    "full, 8-bit moments": ["moments=8bit"],
    "slimfit 0.95": ["scheduler=slimfit", RATE],
    "slimfit 0.8": ["scheduler=slimfit", "freezing_rate=0.8"],
    "slimfit 0.95, published": ["scheduler=slimfit", "recipe=published", RATE],
    "slimfit 0.95, exact activations": ["scheduler=slimfit", RATE, "compression=none"],
    "slimfit 0.95, 8-bit moments": ["scheduler=slimfit", RATE, "moments=8bit"],
    "slimfit 0.95, dropped moments": ["scheduler=slimfit", RATE, "moments=drop"],
    "random 0.95": ["scheduler=random", RATE, "compression=8bit"],
    "round-robin 0.95": ["scheduler=round-robin", RATE, "compression=8bit"],
    "static-top 0.95": ["scheduler=static-top", RATE, "compression=8bit"],
    "misa 0.95": ["scheduler=misa", RATE, "compression=8bit"],
    "lisa 0.95": ["scheduler=lisa", RATE, "moments=drop"],
    "badam": ["scheduler=badam", "moments=drop"],
}


def run(benchmark, config, settings):
    command = [benchmark, config, "plan", "steps=1", *settings]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    plan, step = (json.loads(line) for line in output.splitlines())
    return {"planned_peak_bytes": plan["planned_peak_bytes"], "layers": plan["layers"],
            "active_layers": plan["active_layers"], "step_seconds": step["step_seconds"],
            "product_flops": step["product_flops"]}


def medians(results):
    """Returns {name: (GB, seconds, active layers)}, with the medians over the rounds."""
    groups = {}
    for result in results:
        groups.setdefault(result["name"], []).append(result)
    return {name: (group[0]["planned_peak_bytes"] / 1e9,
                   statistics.median(result["step_seconds"] for result in group),
                   group[0]["active_layers"])
            for name, group in groups.items()}


def print_table(results):
    full_bytes, full_seconds, _ = medians(results)["full"]
    print("| Settings | Peak, GB | Of full | Step, s | Of full | Layers that train |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, (size, seconds, active) in medians(results).items():
        print(f"| {name} | {size:.2f} | {size / full_bytes:.2f} | {seconds:.2f} "
              f"| {seconds / full_seconds:.2f} | {active:.0f} |")


def place_labels(axes, labels):
    """Writes (x, y, text) beside their points, each above those that it would cover."""
    placed = []
    for x, y, text in sorted(labels, key=lambda label: label[1]):
        left, bottom = axes.transData.transform((x, y)) * 72 / axes.figure.dpi
        width, height = 3.9 * len(text), 8
        covered = [top for other_left, other_right, top in placed
                   if other_left < left + width and left < other_right and top > bottom - 1]
        bottom = max([bottom - 3, *covered])
        placed.append((left, left + width + 8, bottom + height))
        axes.annotate(text, (left + 7, bottom), xycoords="figure points", fontsize=7)


def plot(results, file):
    from matplotlib import pyplot
    points = medians(results)
    _, full_seconds, _ = points["full"]
    figure, axes = pyplot.subplots(figsize=(10, 7))
    labels = []
    for name, (size, seconds, _) in points.items():
        recomputes = name.endswith("checkpointing")
        color = "tab:orange" if "slimfit" in name else "tab:blue" if "full" in name else "tab:gray"
        axes.plot(size, seconds / full_seconds, "s" if recomputes else "o", color=color)
        labels.append((size, seconds / full_seconds, name.removesuffix(", checkpointing")))
    axes.set_xlabel("Planned peak of a run, GB")
    axes.set_ylabel("Time of a step, full fine-tuning = 1")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.set_title("GPT-2 124M, 16 sequences of 256 tokens, fp32; squares: with checkpointing")
    figure.tight_layout()
    figure.canvas.draw()
    place_labels(axes, labels)
    figure.savefig(file, dpi=130)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--benchmark", default="build/release/bin/training_benchmark")
    parser.add_argument("--config", default="tests/configs/gpt2-124m.json")
    parser.add_argument("--out", required=True, help="the results, one JSON object a line")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--plot", metavar="PNG")
    flags = parser.parse_args()
    out = pathlib.Path(flags.out)
    results = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    if flags.table:
        return print_table(results)
    if flags.plot:
        return plot(results, flags.plot)
    done = {(result["name"], result["round"]) for result in results}
    for number in range(flags.rounds):
        for scheduler, settings in SCHEDULERS.items():
            for suffix, more in (("", []), (", checkpointing", ["checkpointing"])):
                name = scheduler + suffix
                if (name, number) in done:
                    continue
                print(number, name, file=sys.stderr, flush=True)
                result = run(flags.benchmark, flags.config, settings + more)
                with out.open("a") as file:
                    file.write(json.dumps({"name": name, "round": number, **result}) + "\n")


if __name__ == "__main__":
    main()
