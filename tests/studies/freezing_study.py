#!/usr/bin/env python3
"""Fine-tunes the demo models under each scheduler of layers, and compares what they reach.

    freezing_study.py --whipsnake build/release/whipsnake --data DIR --out results.jsonl
    freezing_study.py --out results.jsonl --table

Each run takes the same number of steps with the same data, batches and learning rate; schedulers of
layers have the same budget (--rate). A run that is in the results already is not made again, so the
study can be stopped and continued. DIR has gloss-pos and domain, each with train.jsonl and test.jsonl.
--table prints the means and standard deviations over the seeds.
"""
import argparse
import collections
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

MODELS = pathlib.Path(__file__).resolve().parents[2] / "deploy/models"

TASKS = {
    "gpt2 gloss-pos": {
        "model": "gpt2-crrelu-demo", "task": "classification",
        "train": "gloss-pos/train.jsonl", "eval": "gloss-pos/test.jsonl",
        "batch": 32, "max_steps": 300, "lr": 5e-4, "crrelu_epsilon_factor": 10,
    },
    "gpt2 domain": {
        "model": "gpt2-crrelu-demo", "task": "causal-lm",
        "train": "domain/train.jsonl", "eval": "domain/test.jsonl",
        "batch": 8, "max_length": 256, "max_steps": 150, "lr": 1e-3,
    },
    "mamba domain": {
        "model": "mamba-demo", "task": "causal-lm",
        "train": "domain/train.jsonl", "eval": "domain/test.jsonl",
        "batch": 8, "max_length": 256, "max_steps": 150, "lr": 1e-3,
    },
}

# What is common to all but full fine-tuning.
FROZEN = {"compression": "8bit"}
SCHEDULERS = {
    "full": {},
    "slimfit": {"scheduler": "slimfit", "freezing_rate": None},
    "slimfit, published": {"scheduler": "slimfit", "recipe": "published", "freezing_rate": None},
    "random": {"scheduler": "random", "freezing_rate": None},
    "lisa": {"scheduler": "lisa", "freezing_rate": None},
    "badam": {"scheduler": "badam"},
    "misa": {"scheduler": "misa", "freezing_rate": None},
}


def settings_of(scheduler, rate):
    settings = {key: rate if value is None else value
                for key, value in SCHEDULERS[scheduler].items()}
    if settings and settings.get("recipe") != "published":
        settings.update(FROZEN)
    return settings


def run(whipsnake, data, key):
    task = dict(TASKS[key["task"]])
    with tempfile.TemporaryDirectory() as directory:
        job = {**task, **settings_of(key["scheduler"], key["rate"]), "seed": key["seed"],
               "model": str(MODELS / task["model"]), "train": f"{data}/{task['train']}",
               "eval": f"{data}/{task['eval']}", "out": f"{directory}/out", "warmup": 0.05,
               "epochs": 1000, "evaluate_every": 1000000, "checkpoint_every": 1000000,
               **key.get("settings", {})}
        path = pathlib.Path(directory, "job.json")
        path.write_text(json.dumps(job))
        result = subprocess.run([whipsnake, "train", "--config", path, "--json"], check=True,
                                stdout=subprocess.PIPE, text=True)
        report = json.loads(result.stdout.splitlines()[-1])
    names = ("eval_loss", "eval_accuracy", "steps", "step_seconds_p50", "planned_peak_bytes",
             "peak_bytes", "activation_peak_bytes")
    return {**key, **{name: report[name] for name in names if name in report}}


def spread(values):
    deviation = statistics.stdev(values) if len(values) > 1 else 0
    return f"{statistics.mean(values):.4f} ± {deviation:.4f}"


def print_table(results):
    groups = collections.defaultdict(list)
    for result in results:
        groups[result["task"], result["scheduler"], result["rate"]].append(result)
    print("| Task | Scheduler | Evaluation loss | Accuracy | Peak, MB | Step, s | Seeds |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for (task, scheduler, _), group in groups.items():
        accuracy = [result["eval_accuracy"] for result in group if "eval_accuracy" in result]
        peak = max(result["peak_bytes"] for result in group) / 1e6
        seconds = statistics.median(result["step_seconds_p50"] for result in group)
        print(f"| {task} | {scheduler} | {spread([result['eval_loss'] for result in group])} "
              f"| {spread(accuracy) if accuracy else ''} | {peak:.0f} | {seconds:.2f} "
              f"| {len(group)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whipsnake", default="build/release/whipsnake")
    parser.add_argument("--data")
    parser.add_argument("--out", required=True, help="the results, one JSON object a line")
    parser.add_argument("--rate", type=float, default=0.9)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true")
    flags = parser.parse_args()
    out = pathlib.Path(flags.out)
    results = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    if flags.table:
        return print_table(results)
    key_names = ("task", "scheduler", "rate", "seed")
    done = {tuple(result[name] for name in key_names) for result in results}
    keys = [(task, scheduler, flags.rate, seed) for seed in range(flags.seeds) for task in TASKS
            for scheduler in SCHEDULERS]
    for i, key in enumerate(keys):
        if key in done:
            continue
        print(f"{i + 1}/{len(keys)} {key}", file=sys.stderr, flush=True)
        result = run(flags.whipsnake, flags.data, dict(zip(key_names, key)))
        with out.open("a") as file:
            file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
