"""Loads `whipsnake serve` and llama-server by turns and prints a Markdown table.

    python llama_gguf.py DIR q8_0.gguf --type q8_0
    python compare_llama_server.py --whipsnake build/release/whipsnake --ours DIR_W8A8 \\
        --llama-server LLAMA_BUILD/bin/llama-server --peer q8_0.gguf --cpus 0,1

Each round starts, for every number of streams, one server after the other (every second round
backwards), held to the same CPUs as its client, and keeps that many requests going: random token
ids in, greedy tokens out, end-of-sequence ignored, prompts not cached. Whipsnake streams to
`whipsnake load` over gRPC. llama-server is asked for whole answers over HTTP, which costs this
script and the server least: the comparison is of tokens per second from the first request to the
end of the last. The table has the medians over the rounds. llama-server is built from the sources
in llama-cpp-python's source package (vendor/llama.cpp):

    cmake -B LLAMA_BUILD -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF \\
        -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF vendor/llama.cpp
    cmake --build LLAMA_BUILD --target llama-server
"""

import argparse
import datetime
import json
import os
import random
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

from compare_transformers import machine

PORT = 18099


def start(command, environment=None):
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                            text=True, env=environment)  # fmt: skip


def stop(process):
    process.terminate()
    process.wait(timeout=60)


def run_ours(args, streams):
    threads = str(len(args.cpus))
    server = start([args.whipsnake, "serve", "--model", "m=" + args.ours, "--threads", threads,
                    "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])  # fmt: skip
    try:
        address = re.search(r"grpc=(\S+)", server.stdout.readline())[1]
        load = [args.whipsnake, "load", "--server", address, "--model", "m", "--json",
                "--concurrency", str(streams), "--prompt-tokens", str(args.prompt_tokens),
                "--max-tokens", str(args.generate_tokens)]  # fmt: skip
        subprocess.run([*load, "--requests", str(streams)], capture_output=True, check=True)
        done = subprocess.run([*load, "--requests", str(streams * args.turns)],
                              capture_output=True, text=True, check=True)  # fmt: skip
        result = json.loads(done.stdout.splitlines()[-1])
        assert result["errors"] == 0, result
        return result["output_tokens_per_second"]
    finally:
        stop(server)


def ask(prompt, args):
    """Requests one whole answer and returns its number of tokens."""
    body = {"prompt": prompt, "n_predict": args.generate_tokens, "ignore_eos": True,
            "stream": False, "cache_prompt": False, "samplers": ["top_k"], "top_k": 1}  # fmt: skip
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/completion",
                                     json.dumps(body).encode())  # fmt: skip
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)["tokens_predicted"]


def ask_in_turn(streams, turns, args, generator):
    """Returns the tokens per second of `streams` clients that each ask `turns` times."""
    counts = []

    def client(prompts):
        for prompt in prompts:
            counts.append(ask(prompt, args))

    threads = []
    for _ in range(streams):
        prompts = [[generator.randrange(1000, 40000) for _ in range(args.prompt_tokens)]
                   for _ in range(turns)]  # fmt: skip
        threads.append(threading.Thread(target=client, args=(prompts,)))
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - begin
    assert counts == [args.generate_tokens] * (streams * turns), counts
    return sum(counts) / seconds


def run_peer(args, streams):
    threads = str(len(args.cpus))
    room = streams * (args.prompt_tokens + args.generate_tokens + 16)
    server = start([args.llama_server, "-m", args.peer, "-c", str(room), "--parallel",
                    str(streams), "-t", threads, "-tb", threads, "--host", "127.0.0.1",
                    "--port", str(PORT), *args.peer_flags])  # fmt: skip
    try:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=5):
                    break
            except OSError:
                time.sleep(0.1)
        generator = random.Random(streams)
        ask_in_turn(streams, 1, args, generator)
        return ask_in_turn(streams, args.turns, args, generator)
    finally:
        stop(server)


def parse():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whipsnake", required=True)
    parser.add_argument("--ours", required=True, help="a model directory")
    parser.add_argument("--llama-server", required=True)
    parser.add_argument("--peer", required=True, help="the same model as GGUF")
    parser.add_argument("--peer-flags", nargs=argparse.REMAINDER, default=[])
    parser.add_argument("--cpus", required=True, type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--streams", default="1,8,32")
    parser.add_argument("--turns", type=int, default=3, help="requests of each stream")
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--generate-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="a file for the single results")
    return parser.parse_args()


def main():
    args = parse()
    os.sched_setaffinity(0, args.cpus)
    contenders = {"whipsnake": run_ours, "llama-server": run_peer}
    results = {}
    for turn in range(args.rounds):
        for streams in map(int, args.streams.split(",")):
            for name in list(contenders)[:: 1 if turn % 2 == 0 else -1]:
                rate = contenders[name](args, streams)
                results.setdefault(streams, {}).setdefault(name, []).append(rate)
                print(f"round {turn + 1}, {streams} streams, {name}: {rate:.1f} tokens/s",
                      file=sys.stderr)  # fmt: skip
    print(f"{datetime.date.today()}, {machine()}, {len(args.cpus)} threads\n")
    print("| Streams | whipsnake, tokens/s | llama-server, tokens/s | Ratio | Slowest to fastest |")
    print("| ---: | ---: | ---: | ---: | --- |")
    for streams, rates in results.items():
        ours, peer = (statistics.median(rates[name]) for name in contenders)
        spread = ", ".join(f"{min(rates[n]) / max(rates[n]):.2f}" for n in contenders)
        print(f"| {streams} | {ours:.0f} | {peer:.0f} | {ours / peer:.2f} | {spread} |")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(results, file)


if __name__ == "__main__":
    main()
