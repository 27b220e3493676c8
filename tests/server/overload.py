"""Four times the load that a server can bear, and what becomes of it.

    tests/server/overload.py --binary build/release/whipsnake --source . --work DIR --model MODEL_DIR

Finds the capacity with a closed loop, then offers four times that at random times for some seconds
(`whipsnake load`), with a client beside it that asks for single tokens and notes how fast it is
refused. Prints the time to the first token of what was accepted, the refusals, resident memory
before and after, and the time that one request takes once the load is over.
"""
import argparse
import json
import threading
import time

import harness
import rpc_client


def load(daemon, *flags):
    done = harness.whipsnake("load", "--server", daemon.grpc, "--model", "m", "--json",
                             "--prompt-tokens", "64", "--max-tokens", "32", *flags)
    return json.loads(done.stdout.splitlines()[-1])


class Prober(threading.Thread):
    """Sends requests one after another and counts the outcomes."""

    def __init__(self, daemon):
        super().__init__()
        self.client = rpc_client.Client(daemon.grpc)
        self.over = threading.Event()
        self.refusals, self.without_retry, self.others = [], 0, 0

    def ask(self):
        pb = rpc_client.generation_pb2
        parameters = pb.GenerationParameters(model="m", token_ids=pb.TokenIds(ids=[5, 6, 7]),
                                             stopping=pb.Stopping(max_new_tokens=1))
        self.client.generation.Generate(pb.GenerateRequest(parameters=parameters),
                                        timeout=harness.PATIENCE)

    def run(self):
        while not self.over.wait(0.02):
            begin = time.monotonic()
            try:
                self.ask()
                self.others += 1
            except rpc_client.grpc.RpcError as error:
                assert error.code() == rpc_client.grpc.StatusCode.RESOURCE_EXHAUSTED, error
                self.refusals.append(1000 * (time.monotonic() - begin))
                self.without_retry += "RetryInfo" not in rpc_client.details_of(error)


def percentile(values, p):
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * p / 100), len(ordered) - 1)] if ordered else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--source", required=True, help="the repository")
    parser.add_argument("--work", required=True, help="a directory for generated files")
    parser.add_argument("--model", required=True, help="a model directory")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--max-waiting", default="32")
    harness.arguments = options = parser.parse_args()
    rpc_client.import_stubs()
    daemon = harness.Daemon("--model", "m=" + options.model, "--max-waiting", options.max_waiting,
                            # Cached states would be memory that no request holds.
                            "--state-cache-bytes", "0")
    try:
        closed = load(daemon, "--concurrency", "64", "--requests", "192")
        capacity = closed["output_tokens_per_second"] / 32
        before = daemon.metric("process_resident_memory_bytes")
        prober = Prober(daemon)
        prober.start()
        rate = 4 * capacity
        overload = load(daemon, "--rate", f"{rate:.2f}", "--requests",
                        str(int(rate * options.seconds)))
        prober.over.set()
        prober.join()
        begin = time.monotonic()
        prober.ask()
        recovery = time.monotonic() - begin
        after = daemon.metric("process_resident_memory_bytes")
    finally:
        daemon.close()
    accepted = overload["requests"] - overload["errors"]
    print(f"capacity: {capacity:.1f} requests/s of 64 prompt and 32 new tokens; offered: {rate:.1f}/s "
          f"for {options.seconds:.0f} s")
    print(f"accepted: {accepted} of {overload['requests']}, time to the first token p50 "
          f"{overload['ttft_ms']['p50']:.0f} ms, p99 {overload['ttft_ms']['p99']:.0f} ms "
          f"(64 in a closed loop: p99 {closed['ttft_ms']['p99']:.0f} ms)")
    print(f"errors: {overload.get('errors_by_code', overload['errors'])}")
    print(f"refused beside it: {len(prober.refusals)}, without RetryInfo {prober.without_retry}, after "
          f"p50 {percentile(prober.refusals, 50):.1f} ms, p99 {percentile(prober.refusals, 99):.1f} ms")
    print(f"resident memory: {before / 2**20:.1f} MiB before, {after / 2**20:.1f} MiB after")
    print(f"one request after it: {1000 * recovery:.0f} ms")


if __name__ == "__main__":
    main()
