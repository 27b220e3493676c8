"""What the second turn of a conversation costs: its time to the first token beside the first turn's.

    tests/server/second_turn.py --binary build/release/whipsnake --source . --model DIR

Serves the model, and has conversations of random tokens: a first turn of --history tokens, then a
second one that adds the answer and --turn tokens more. Prints the medians and their ratio; then the
same from a saved state, and from one on disk.
"""
import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile

import harness


def generate(daemon, ids, *flags):
    """Runs one generation and returns its JSON result."""
    command = [harness.arguments.binary, "generate", "--json", "--model", "m", "--server", daemon.grpc,
               "--ignore-eos", "--temperature", "0", "--max-tokens", "16", *flags]
    if ids:
        command += ["--prompt-ids", ",".join(map(str, ids))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def first_token_ms(result):
    return 1000 * result["timings"]["time_to_first_token_seconds"]


def converse(daemon, history, turn, generator):
    """Returns the times to the first token: of the first turn, then of the second turn from the
    cache, from a saved state and from one on disk."""
    def draw(count):
        return [generator.randrange(1000, 40000) for _ in range(count)]
    start, addition = draw(history), draw(turn)
    first = generate(daemon, start, "--save-state")
    on_disk = generate(daemon, start, "--save-state", "--on-disk")
    second = generate(daemon, start + first["token_ids"] + addition)
    state = generate(daemon, addition, "--state", first["state"])
    file = generate(daemon, addition, "--state", on_disk["state"])
    assert second["token_ids"] == state["token_ids"] == file["token_ids"]
    return [first_token_ms(result) for result in (first, second, state, file)]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--source", required=True, help="the repository")
    parser.add_argument("--model", required=True, help="a model directory")
    parser.add_argument("--history", type=int, default=2000, help="tokens of the first turn")
    parser.add_argument("--turn", type=int, default=16, help="new tokens of the second")
    parser.add_argument("--conversations", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0)
    harness.arguments = parser.parse_args()
    options = harness.arguments
    generator = random.Random(1)
    with tempfile.TemporaryDirectory() as data:
        daemon = harness.Daemon("--model", "m=" + options.model, "--data", data,
                                "--threads", str(options.threads))
        try:
            rows = [converse(daemon, options.history, options.turn, generator)
                    for _ in range(options.conversations)]
        finally:
            daemon.close()
    first, *others = [statistics.median(column) for column in zip(*rows)]
    print(f"first turn, {options.history} tokens: {first:.1f} ms to the first token")
    for name, value in zip(("cache", "saved state", "state on disk"), others):
        print(f"second turn, {options.turn} new tokens, {name}: {value:.1f} ms, "
              f"{100 * value / first:.1f} %")


if __name__ == "__main__":
    sys.exit(main())
