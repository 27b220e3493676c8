#!/usr/bin/env python3
"""Measures what fine-tuning costs the requests that are served beside it, and what it has of the time.

    serving_beside_training.py --binary build/release/whipsnake --models DIR --out results.jsonl
    serving_beside_training.py --out results.jsonl --table
    serving_beside_training.py --out results.jsonl --plot docs/images/serving-beside-training.png

One stream of mamba-130m (random weights, quamba-w8a8) is served while the demo GPT-2 trains on batches
of 8 sequences of 128 tokens, at each of the SHARES of the computing time; and each of both is alone.
The runs of a round alternate, each with a daemon of its own, in the reverse order in every other
round. A run that is in the results already is not made again. DIR keeps the model that is served.

Runs need python3-grpcio, --plot needs matplotlib.
"""
import argparse
import collections
import json
import math
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(SOURCE / "tests/server"))

SHARES = (0.05, 0.1, 0.2, 0.33, 0.5, 0.8, 1)
DEFAULT_SHARE = 0.2
SERVING, TRAINING = "serving alone", "training alone"
TARGET = 1.5  # times the p95 without training, at the default share

BATCH, LENGTH = 8, 128
WARM_UP_STEPS = 3
# After the beginning of a measurement: what it does not count, because it may have begun before.
SKIPPED_STEPS = 2
LEAST_STEPS = 4
PROMPT_TOKENS, NEW_TOKENS = 16, 50
PERCENTILES = ("p50", "p95", "p99")


# Runs.

def make_served_model(harness, job_client, directory):
    """Makes the quantized model in the directory, if it is not there, and returns its path."""
    quantized = directory / "mamba-130m-quamba-w8a8"
    if quantized.exists():
        return quantized
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        floats, texts = f"{temporary}/float", f"{temporary}/texts.jsonl"
        pathlib.Path(texts).write_bytes(job_client.texts(64))
        for command in (
                ("init", "--config", SOURCE / "tests/configs/mamba-130m.json", "--seed", "1",
                 "--out", floats),
                ("quantize", "--model", floats, "--scheme", "quamba-w8a8", "--calibration", texts,
                 "--out", quantized)):
            subprocess.run([harness.arguments.binary, *command], check=True,
                           stdout=subprocess.DEVNULL)
    return quantized


def measure(job_client, served, name, seconds):
    """Returns the figures of one run: of a share, or of one of both alone."""
    share = name if name in SHARES else DEFAULT_SHARE
    with tempfile.TemporaryDirectory() as data:
        daemon = job_client.JobDaemon(data, "--model", f"served={served}", "--training-share",
                                      str(share), "--checkpoint-interval", "86400")
        try:
            client = job_client.JobClient(daemon)
            if name != SERVING:
                begin_training(client, job_client.texts(2000))
            load = None if name == TRAINING else begin_load(daemon)
            begin = time.monotonic()
            figures = {}
            if name != SERVING:
                figures["tokens_per_second"] = training_speed(client, seconds)
            time.sleep(max(0, begin + seconds - time.monotonic()))
            if load is not None:
                figures.update(end_load(load))
        finally:
            daemon.close()
    return figures


def begin_training(client, texts):
    client.upload("texts", texts)
    # Ends with the daemon.
    client.create("training", train="texts", batch=BATCH, max_length=LENGTH, max_steps=1_000_000,
                  epochs=1_000_000, checkpoint_every=1_000_000)
    client.wait_for_step("training", WARM_UP_STEPS)


def training_speed(client, seconds):
    """Returns tokens per second, over whole steps of so many seconds."""
    last = client.events("training")[-1].id
    begin = time.monotonic()
    steps = []
    for event in client.watch("training", last):
        if event.HasField("step"):
            steps.append(event.step)
        if len(steps) >= SKIPPED_STEPS + LEAST_STEPS and time.monotonic() >= begin + seconds:
            break
    steps = steps[SKIPPED_STEPS:]
    return sum(step.tokens for step in steps) / sum(step.seconds for step in steps)


def begin_load(daemon):
    return subprocess.Popen(
        [daemon.process.args[0], "load", "--json", "--server", daemon.grpc, "--model", "served",
         "--concurrency", "1", "--requests", "1000000", "--prompt-tokens", str(PROMPT_TOKENS),
         "--max-tokens", str(NEW_TOKENS)], stdout=subprocess.PIPE, text=True)


def end_load(load):
    """Returns the latencies, which are null if no request has ended."""
    load.send_signal(signal.SIGINT)
    output, _ = load.communicate()
    result = json.loads(output.splitlines()[-1])
    assert result["errors"] == 0, result
    return {**result["itl_ms"], "served_tokens_per_second": result["output_tokens_per_second"],
            "merged_tokens": result["merged_tokens"]}


def run(flags, results):
    import harness
    harness.arguments = argparse.Namespace(binary=flags.binary, source=str(SOURCE),
                                           work=flags.models)
    import job_client
    job_client.import_stubs()
    served = make_served_model(harness, job_client, pathlib.Path(flags.models))
    done = {(result["name"], result["round"]) for result in results}
    for number in range(flags.rounds):
        names = (SERVING, TRAINING, *SHARES)
        for name in names if number % 2 == 0 else reversed(names):
            if (name, number) in done:
                continue
            print(number, name, file=sys.stderr, flush=True)
            figures = measure(job_client, served, name, flags.seconds)
            with open(flags.out, "a", encoding="utf-8") as file:
                file.write(json.dumps({"name": name, "round": number, **figures}) + "\n")


# Results.

def medians(results):
    """Returns {name: {figure: median}}; nan if one of the runs has none."""
    groups = collections.defaultdict(lambda: collections.defaultdict(list))
    for result in results:
        for key, value in result.items():
            if key not in ("name", "round"):
                groups[result["name"]][key].append(math.nan if value is None else value)
    return {name: {key: statistics.median(values) if all(map(math.isfinite, values)) else math.nan
                   for key, values in figures.items()}
            for name, figures in groups.items()}


def print_table(results):
    figures = medians(results)
    alone = figures[SERVING]
    print("| Training | p50, ms | p95, ms | p99, ms | p95 of without | served tokens/s "
          "| training tokens/s | of alone |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    rows = [(SERVING, "none")] + [(share, f"share {share}") for share in SHARES]
    for name, title in rows:
        row = figures[name]
        latencies = " | ".join(f"{row[key]:.1f}" for key in PERCENTILES)
        speed = row.get("tokens_per_second")
        of_alone = speed and speed / figures[TRAINING]["tokens_per_second"]
        print(f"| {title} | {latencies} | {row['p95'] / alone['p95']:.2f} "
              f"| {row['served_tokens_per_second']:.0f} | {speed or 0:.0f} | {of_alone or 0:.2f} |")
    print(f"| alone | | | | | | {figures[TRAINING]['tokens_per_second']:.0f} | 1 |")
    ratio = figures[DEFAULT_SHARE]["p95"] / alone["p95"]
    print(f"\np95 at the default share: {ratio:.2f} of without (target: at most {TARGET})")


def plot(results, file):
    from matplotlib import pyplot
    figures = medians(results)
    figure, (latency, speed) = pyplot.subplots(1, 2, figsize=(11, 4.5), facecolor="white")
    for key, color in zip(PERCENTILES, ("tab:blue", "tab:orange", "tab:red")):
        latency.plot(SHARES, [figures[share][key] for share in SHARES], "o-", color=color, label=key)
        latency.axhline(figures[SERVING][key], color=color, linestyle=":", linewidth=1)
    latency.set_ylabel("Time from token to token, ms")
    latency.set_title("One stream of mamba-130m; dotted: without training", fontsize=10)
    latency.legend()
    speed.plot(SHARES, [figures[share]["tokens_per_second"] for share in SHARES], "o-",
               color="tab:green", label="beside the stream")
    speed.axhline(figures[TRAINING]["tokens_per_second"], color="tab:green", linestyle=":",
                  linewidth=1, label="alone")
    speed.set_ylabel("Training, tokens per second")
    speed.set_title(f"Fine-tuning of the demo GPT-2, batches of {BATCH} x {LENGTH}", fontsize=10)
    speed.legend()
    for axes in (latency, speed):
        axes.axvline(DEFAULT_SHARE, color="0.8", linewidth=6, zorder=0)
        axes.set_xlabel("--training-share (grey: the default)")
        axes.set_xlim(0, 1.03)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(file, dpi=130)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="build/release/whipsnake")
    parser.add_argument("--models", help="a directory for the model that is served")
    parser.add_argument("--out", required=True, help="the results, one JSON object a line")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30, help="of each run, at least")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--plot", metavar="PNG")
    flags = parser.parse_args()
    out = pathlib.Path(flags.out)
    results = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    if flags.table:
        print_table(results)
    elif flags.plot:
        plot(results, flags.plot)
    elif not flags.models:
        parser.error("--models is needed for runs")
    else:
        run(flags, results)


if __name__ == "__main__":
    main()
