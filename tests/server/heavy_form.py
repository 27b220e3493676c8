"""What a structured output whose states never come again costs the server and the others.

    tests/server/heavy_form.py --binary build/release/whipsnake --source . --work DIR

One client streams; meanwhile another asks for outputs of a regular expression that looks back over
some hundred characters. Prints the resident memory, how the requests ended, and the time between the
tokens of the one that streams: alone, beside a request without a form, and beside the heavy ones.
Bounded in tokens; the load ends when the heavy requests end or after --seconds.
"""
import argparse
import threading
import time

import harness
import rpc_client

HEAVY = "[ -~]*(e[ -~]{100}|t[ -~]{130}|a[ -~]{160}|o[ -~]{190})x"


class Neighbour(threading.Thread):
    """Streams until `over` is set, and records the times between tokens in milliseconds."""

    def __init__(self, daemon):
        super().__init__()
        self.client = rpc_client.Client(daemon.grpc)
        self.gaps, self.over = [], threading.Event()
        self.streaming = threading.Event()

    def run(self):
        pb = rpc_client.generation_pb2
        parameters = pb.GenerationParameters(
            model="demo", text="Elizabeth was the",
            stopping=pb.Stopping(max_new_tokens=16384, ignore_eos=True))
        last = None
        call = self.client.generation.StreamGenerate(
            pb.StreamGenerateRequest(parameters=parameters))
        for message in call:
            now = time.monotonic()
            if message.HasField("delta"):
                if last is not None:
                    self.gaps.append(1000 * (now - last))
                last = now
                self.streaming.set()
            if self.over.is_set():
                call.cancel()
                return


def ask(daemon, tokens, seconds, **form):
    """Sends a request; returns how it ended and how many tokens it made."""
    pb = rpc_client.generation_pb2
    parameters = pb.GenerationParameters(
        model="demo", text="Elizabeth was the",
        structured=pb.StructuredOutput(**form) if form else None,
        stopping=pb.Stopping(max_new_tokens=tokens, ignore_eos=True))
    made = 0
    try:
        for message in rpc_client.Client(daemon.grpc).generation.StreamGenerate(
                pb.StreamGenerateRequest(parameters=parameters), timeout=seconds):
            if message.HasField("finished"):
                made = message.finished.usage.generated_tokens
            elif message.HasField("delta"):
                made += 1
        return f"{made} tokens"
    except rpc_client.grpc.RpcError as error:
        return f"{error.code().name} after about {made} tokens: {error.details()}"


def percentile(values, p):
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * p / 100), len(ordered) - 1)] if ordered else 0


def memory(daemon, field):
    with open(f"/proc/{daemon.process.pid}/status", encoding="utf-8") as file:
        line = next(line for line in file if line.startswith(field))
    return int(line.split()[1]) / 1024


def measure(daemon, name, action):
    neighbour = Neighbour(daemon)
    neighbour.start()
    assert neighbour.streaming.wait(harness.PATIENCE)
    begin = time.monotonic()
    how = action()
    seconds = time.monotonic() - begin
    neighbour.over.set()
    neighbour.join()
    gaps = neighbour.gaps
    print(f"{name}: {how}, {seconds:.1f} s; between tokens p50 {percentile(gaps, 50):.2f} ms, p99 "
          f"{percentile(gaps, 99):.2f} ms, most {max(gaps):.1f} ms of {len(gaps)}; resident "
          f"{memory(daemon, 'VmRSS'):.0f} MiB, at most {memory(daemon, 'VmHWM'):.0f} MiB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--source", required=True, help="the repository")
    parser.add_argument("--work", required=True, help="a directory for generated files")
    parser.add_argument("--tokens", type=int, nargs="*", default=[600, 3000])
    parser.add_argument("--seconds", type=float, default=60, help="of each heavy request")
    harness.arguments = options = parser.parse_args()
    rpc_client.import_stubs()
    daemon = harness.Daemon()
    try:
        print(f"resident at the start: {memory(daemon, 'VmRSS'):.0f} MiB")
        measure(daemon, "alone", lambda: time.sleep(3))
        measure(daemon, "beside a request without a form",
                lambda: ask(daemon, 600, options.seconds))
        for tokens in options.tokens:
            measure(daemon, f"beside a heavy form, {tokens} tokens",
                    lambda count=tokens: ask(daemon, count, options.seconds, regex=HEAVY))
    finally:
        daemon.close()


if __name__ == "__main__":
    main()
