"""A soak: many requests with chaos, and a server that must be afterwards what it was before.

    tests/server/soak.py --binary build/release/whipsnake --source . --work DIR --requests 20000

Several clients send, from a seed, streams and unary calls of random lengths, of one and of several
completions, structured or not; they cancel, run into deadlines, drop their connections, stop
reading, send nonsense, save, fork, continue and delete states, load and unload models, and read the
metrics. The model is quantized, so that the same prompt has the same greedy tokens whatever else is
going on; that, the codes and the shape of each answer are checked. After a tenth of the requests (at
most 2,000) and at the end the server must be idle, with nothing held but the cache, and its memory,
threads and files as they were. SIGTERM must end it with 0.
"""
import argparse
import collections
import json
import os
import random
import shutil
import socket
import sys
import threading
import time

import harness
import rpc_client

MODEL = "tiny"
VOCABULARY = 300
CLIENTS = 12
FLAGS = ["--state-cache-bytes", "300000", "--state-cache-interval", "128", "--max-running", "8",
         "--max-waiting", "6", "--max-waiting-tokens", "5000", "--prefill-chunk", "128",
         "--max-unread-tokens", "400", "--grace-period", "20"]
SCHEMA = json.dumps({"type": "object", "properties": {
    "a": {"type": "integer", "minimum": 3, "maximum": 77}, "b": {"enum": ["x", "yy"]},
    "c": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3}}, "required": ["a", "b"]})


class Failure(Exception):
    """A wrong answer."""


def expect(condition, text):
    if not condition:
        raise Failure(text)


def make_models(root):
    """Makes a float model, to be loaded and unloaded, and a quantized model of it."""
    harness.make_tiny_model(os.path.join(root, "float"))
    text = os.path.join(root, "calibration.txt")
    with open(text, "w", encoding="utf-8") as file:
        file.write("the quick brown fox jumps over the lazy dog. " * 200)
    done = harness.whipsnake("quantize", "--model", os.path.join(root, "float"), "--scheme",
                             "quamba-w8a8", "--calibration", text, "--out",
                             os.path.join(root, "quantized"))
    expect(done.returncode == 0, done.stderr)


class Prompts:
    """Prompts that share prefixes, and the tokens that the model generated for them."""

    def __init__(self, seed):
        generator = random.Random(seed)
        stems = [[generator.randrange(1, VOCABULARY) for _ in range(1500)] for _ in range(4)]
        self.all = [stems[i % 4][:length] + [i + 1]
                    for i, length in enumerate([0, 1, 5, 20, 60, 127, 128, 129, 200, 333, 500, 700,
                                                900, 1200, 1499] * 2)]
        self.lock = threading.Lock()
        self.known = {}

    def check(self, index, ids):
        """Checks that greedy tokens are a prefix or a continuation of those seen before."""
        with self.lock:
            known = self.known.setdefault(index, list(ids))
            common = min(len(known), len(ids))
            expect(known[:common] == list(ids)[:common],
                   f"prompt {index} gave {list(ids)} and before {known}")
            if len(ids) > len(known):
                self.known[index] = list(ids)


class Soak:
    """The state of a run, shared by its clients."""

    def __init__(self, options):
        self.options = options
        self.prompts = Prompts(options.seed)
        self.outcomes = collections.Counter()
        self.failures = []
        self.lock = threading.Lock()
        self.root = os.path.join(options.work, "soak")
        shutil.rmtree(self.root, ignore_errors=True)
        os.makedirs(self.root)
        make_models(self.root)
        data = os.path.join(self.root, "data")
        self.daemon = harness.Daemon(
            "--model", f"{MODEL}={self.root}/quantized", "--data", data, *FLAGS)
        shutil.copytree(os.path.join(self.root, "float"), os.path.join(self.daemon.root, "float"))
        self.states = []  # handles that may exist
        self.scenarios = [(30, self.greedy), (14, self.sampled), (10, self.cancelled),
                          (8, self.deadline), (5, self.dropped), (3, self.garbage),
                          (5, self.invalid), (8, self.stateful), (5, self.structured),
                          (4, self.stalled), (2, self.scrape), (1, self.load_and_unload)]

    # --- What a client does. Each scenario returns the name of its outcome. ---

    def request(self, generator, index, tokens, **more):
        pb = rpc_client.generation_pb2
        stopping = pb.Stopping(max_new_tokens=tokens, ignore_eos=generator.random() < 0.5)
        return pb.GenerationParameters(
            model=MODEL, token_ids=pb.TokenIds(ids=self.prompts.all[index]), stopping=stopping,
            output=pb.OutputOptions(token_ids=True), priority=generator.choice([0, 1, 2, 3]),
            client=generator.choice(["", "a", "b", "c"]), **more)

    def greedy(self, generator, client):
        index = generator.randrange(len(self.prompts.all))
        n = generator.choice([1, 1, 1, 2, 4])
        parameters = self.request(generator, index, generator.randint(1, 40), n=n,
                                  sampling=rpc_client.generation_pb2.Sampling(temperature=0))
        run = self.stream if generator.random() < 0.6 else self.unary
        for ids in run(client, parameters):
            self.prompts.check(index, ids)
        return "greedy"

    def sampled(self, generator, client):
        index = generator.randrange(len(self.prompts.all))
        sampling = rpc_client.generation_pb2.Sampling(
            temperature=generator.choice([0.5, 1, 2]), top_p=generator.choice([0.3, 0.9, 1]),
            top_k=generator.choice([0, 5, 50]), seed=generator.randrange(1 << 40))
        self.stream(client, self.request(generator, index, generator.randint(1, 60),
                                         sampling=sampling))
        return "sampled"

    def structured(self, generator, client):
        pb = rpc_client.generation_pb2
        parameters = self.request(
            generator, generator.randrange(len(self.prompts.all)), generator.randint(40, 80),
            structured=pb.StructuredOutput(json_schema=SCHEMA), sampling=pb.Sampling(temperature=1))
        answer = client.generation.Generate(pb.GenerateRequest(parameters=parameters),
                                            timeout=harness.PATIENCE)
        value = json.loads(answer.completions[0].text)
        expect(3 <= value["a"] <= 77 and value["b"] in ("x", "yy"), f"structured: {value}")
        return "structured"

    def unary(self, client, parameters):
        answer = client.generation.Generate(
            rpc_client.generation_pb2.GenerateRequest(parameters=parameters),
            timeout=harness.PATIENCE)
        completions = [list(completion.token_ids) for completion in answer.completions]
        self.check_usage(parameters, answer.usage, completions)
        return completions

    def stream(self, client, parameters):
        """Reads a stream, which must be complete; returns the tokens of its completions."""
        events = list(client.generation.StreamGenerate(
            rpc_client.generation_pb2.StreamGenerateRequest(parameters=parameters),
            timeout=harness.PATIENCE))
        kinds = [event.WhichOneof("event") for event in events]
        expect(kinds == ["started"] + ["delta"] * (len(events) - 2) + ["finished"], str(kinds))
        completions = [[] for _ in range(max(parameters.n, 1))]
        for number, event in enumerate(events[1:-1]):
            expect(event.delta.sequence_number == number, "a gap in the sequence numbers")
            completions[event.delta.index].extend(event.delta.token_ids)
        self.check_usage(parameters, events[-1].finished.usage, completions)
        return completions

    def check_usage(self, parameters, usage, completions):
        expect(usage.prompt_tokens >= len(parameters.token_ids.ids), "too few prompt tokens")
        expect(usage.cached_prompt_tokens < usage.prompt_tokens, "too many cached")
        expect(usage.generated_tokens == sum(map(len, completions)), "other tokens than counted")
        expect(all(1 <= len(ids) <= parameters.stopping.max_new_tokens for ids in completions),
               "a completion of another length")

    def endless(self, generator, tokens=15000):
        parameters = self.request(generator, generator.randrange(len(self.prompts.all)), tokens)
        parameters.stopping.ignore_eos = True
        return rpc_client.generation_pb2.StreamGenerateRequest(parameters=parameters)

    def cancelled(self, generator, client):
        call = client.generation.StreamGenerate(self.endless(generator), timeout=harness.PATIENCE)
        self.read_some(call, generator.choice([0, 0, 1, 3, 20]))
        call.cancel()
        return "cancelled"

    def deadline(self, generator, client):
        timeout = generator.choice([0.001, 0.005, 0.02, 0.1, 0.5])
        try:
            for _ in client.generation.StreamGenerate(self.endless(generator), timeout=timeout):
                pass
        except rpc_client.grpc.RpcError as error:
            if error.code() == rpc_client.grpc.StatusCode.DEADLINE_EXCEEDED:
                return "deadline"
            raise
        raise Failure("an endless stream ended within its deadline")

    def read_some(self, call, count):
        for _ in range(count):
            next(call)

    def dropped(self, generator, _):
        own = rpc_client.Client(self.daemon.grpc)
        try:
            self.read_some(own.generation.StreamGenerate(self.endless(generator),
                                                         timeout=harness.PATIENCE),
                           generator.choice([0, 1, 5]))
        finally:
            own.channel.close()
        return "dropped"

    def garbage(self, generator, _):
        host, port = self.daemon.grpc.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=harness.PATIENCE) as connection:
            connection.sendall(generator.choice([
                b"", b"PRI * HTTP/2.0\r\n", b"GET / HTTP/1.1\r\n\r\n",
                bytes(generator.randrange(256) for _ in range(200))]))
        return "garbage"

    def invalid(self, generator, client):
        pb, code = rpc_client.generation_pb2, rpc_client.grpc.StatusCode
        good = self.request(generator, 0, 3)
        change, wanted = generator.choice([
            (lambda p: p.sampling.__setattr__("top_p", 7), code.INVALID_ARGUMENT),
            (lambda p: p.token_ids.ids.append(VOCABULARY), code.INVALID_ARGUMENT),
            (lambda p: p.__setattr__("n", 0), code.INVALID_ARGUMENT),
            (lambda p: p.structured.__setattr__("regex", "("), code.INVALID_ARGUMENT),
            (lambda p: p.__setattr__("model", "nobody"), code.NOT_FOUND),
            (lambda p: p.__setattr__("state", "st-" + "0" * 32), code.NOT_FOUND)])
        change(good)
        try:
            client.generation.Generate(pb.GenerateRequest(parameters=good),
                                       timeout=harness.PATIENCE)
        except rpc_client.grpc.RpcError as error:
            expect(error.code() == wanted, f"{error.code()} instead of {wanted}")
            return "invalid"
        raise Failure("an invalid request was served")

    def stateful(self, generator, client):
        """Checks that a saved state gives the same tokens as the whole prompt."""
        pb, states = rpc_client.generation_pb2, rpc_client.state_pb2
        index = generator.choice([i for i, p in enumerate(self.prompts.all) if len(p) > 1])
        prompt = self.prompts.all[index]
        cut = generator.randint(1, len(prompt) - 1)
        retention = pb.StateRetention(on_disk=generator.random() < 0.3)
        retention.time_to_live.FromMilliseconds(generator.choice([300, 60_000]))
        handle = client.states.SaveState(states.SaveStateRequest(
            model=MODEL, token_ids=pb.TokenIds(ids=prompt[:cut]), retention=retention),
            timeout=harness.PATIENCE).state.handle
        self.states.append(handle)
        try:
            if generator.random() < 0.5:
                fork = client.states.ForkState(states.ForkStateRequest(handle=handle),
                                               timeout=harness.PATIENCE).state.handle
                client.states.DeleteState(states.DeleteStateRequest(handle=handle))
                handle = fork
                self.states.append(handle)
            parameters = self.request(generator, index, generator.randint(1, 20), state=handle,
                                      sampling=pb.Sampling(temperature=0))
            del parameters.token_ids.ids[:cut]
            for ids in self.stream(client, parameters):
                self.prompts.check(index, ids)
            if generator.random() < 0.7:
                client.states.DeleteState(states.DeleteStateRequest(handle=handle))
        except rpc_client.grpc.RpcError as error:
            if error.code() != rpc_client.grpc.StatusCode.NOT_FOUND:
                raise
            return "expired"
        return "stateful"

    def stalled(self, generator, client):
        """A client that does not read for a while; the server may cancel its request for that."""
        call = client.generation.StreamGenerate(self.endless(generator, 2000),
                                                timeout=harness.PATIENCE)
        next(call)
        time.sleep(generator.choice([0.01, 0.2]))
        call.cancel()
        return "stalled"

    def scrape(self, _, client):
        expect("whipsnake_requests_running" in self.daemon.get("/metrics"), "metrics")
        client.states.ListStates(rpc_client.state_pb2.ListStatesRequest(), timeout=harness.PATIENCE)
        return "scrape"

    def load_and_unload(self, generator, client):
        pb = rpc_client.model_pb2
        name = f"other-{generator.randrange(3)}"
        code = rpc_client.grpc.StatusCode
        try:
            client.models.LoadModel(pb.LoadModelRequest(path="float", name=name),
                                    timeout=harness.PATIENCE)
            parameters = self.request(generator, 5, 5)
            parameters.model = name
            self.unary(client, parameters)
            client.models.UnloadModel(pb.UnloadModelRequest(name=name), timeout=harness.PATIENCE)
        except rpc_client.grpc.RpcError as error:
            # Another client is using the same name.
            if error.code() not in (code.ALREADY_EXISTS, code.NOT_FOUND, code.UNAVAILABLE,
                                    code.FAILED_PRECONDITION):
                raise
            return "load met another"
        return "load"

    # --- The run. ---

    def one(self, index, client):
        generator = random.Random(self.options.seed * 1_000_003 + index)
        scenario = generator.choices([s for _, s in self.scenarios],
                                     [weight for weight, _ in self.scenarios])[0]
        code = rpc_client.grpc.StatusCode
        try:
            outcome = scenario(generator, client)
        except rpc_client.grpc.RpcError as error:
            outcome = f"{scenario.__name__}: {error.code().name}"
            if error.code() == code.RESOURCE_EXHAUSTED:
                if "RetryInfo" not in rpc_client.details_of(error):
                    self.failures.append(f"request {index}: no RetryInfo")
            # A client that asks for very many tokens may be too slow to read them.
            elif not (error.code() == code.CANCELLED and scenario in (
                    self.stalled, self.cancelled, self.deadline, self.dropped)):
                self.failures.append(f"request {index}, {outcome}: {error.details()}")
        except (Failure, AssertionError, ValueError) as failure:
            outcome = f"{scenario.__name__}: wrong"
            self.failures.append(f"request {index}, {scenario.__name__}: {failure}")
        with self.lock:
            self.outcomes[outcome] += 1

    def run(self, begin, end):
        """Sends requests [begin, end) through all clients."""
        numbers = iter(range(begin, end))
        started = time.monotonic()

        def work():
            client = rpc_client.Client(self.daemon.grpc)
            while True:
                with self.lock:
                    index = next(numbers, None)
                if index is None or len(self.failures) > 20:
                    break
                self.one(index, client)
                if index % 100 == 0 and sys.stderr.isatty():
                    left = (time.monotonic() - started) / (index - begin + 1) * (end - index)
                    print(f"\r{index}/{end}, {left:.0f} s left   ", end="", file=sys.stderr)
            client.channel.close()

        threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def settle(self):
        """Unloads the other models, deletes the states, waits until nothing runs, and returns what
        the server still holds."""
        client = rpc_client.Client(self.daemon.grpc)
        for model in client.models.ListModels(rpc_client.model_pb2.ListModelsRequest()).models:
            if model.name.startswith("other-"):
                client.models.UnloadModel(rpc_client.model_pb2.UnloadModelRequest(name=model.name))
        for handle in self.states:
            try:
                client.states.DeleteState(rpc_client.state_pb2.DeleteStateRequest(handle=handle))
            except rpc_client.grpc.RpcError:
                pass  # it has expired meanwhile
        client.channel.close()
        for name in ("whipsnake_requests_running", "whipsnake_requests_waiting",
                     "whipsnake_state_slots_used", "whipsnake_state_bytes"):
            self.daemon.wait_for_metric(name, 0, model=MODEL)
        cache = self.daemon.metric("whipsnake_state_cache_bytes", model=MODEL)
        return {"ledger": self.daemon.metric("whipsnake_device_memory_used_bytes"), "cache": cache,
                "resident": self.daemon.metric("process_resident_memory_bytes"),
                "files": len(os.listdir(f"/proc/{self.daemon.process.pid}/fd"))}


def verdict(before, after, check_memory):
    """Returns a list of what is wrong after the run, in words."""
    wrong = []
    if check_memory:
        room = max(0.02 * before["resident"], 8 << 20)
        if after["resident"] > before["resident"] + room:
            wrong.append(f"resident memory grew from {before['resident']} to {after['resident']}")
    # The cache's tokens are not in the ledger, and its states have one size. The workspace may
    # still grow to what the largest batch needs. A leak of one state in ten requests is noticed.
    if after["ledger"] - after["cache"] > before["ledger"] - before["cache"] + (256 << 10):
        wrong.append(f"the ledger grew from {before} to {after}")
    if after["files"] > before["files"] + 4:
        wrong.append(f"open files grew from {before['files']} to {after['files']}")
    return wrong


def parse():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--source", required=True, help="the repository")
    parser.add_argument("--work", required=True, help="a directory for generated files")
    parser.add_argument("--requests", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-memory-check", action="store_true",
                        help="leaves resident memory alone: a sanitizer's grows")
    return parser.parse_args()


def main():
    harness.arguments = options = parse()
    rpc_client.import_stubs()
    started = time.monotonic()
    soak = Soak(options)
    try:
        first = min(2000, options.requests // 10)
        soak.run(0, first)
        before = soak.settle()
        soak.run(first, options.requests)
        after = soak.settle()
        wrong = soak.failures + verdict(before, after, not options.no_memory_check)
    finally:
        code = soak.daemon.close()
    if code != 0:
        wrong.append(f"the server ended with {code}")
    for outcome, count in sorted(soak.outcomes.items(), key=lambda item: -item[1]):
        print(f"{count:7d}  {outcome}")
    print(f"after {first} requests: {before}\nafter {options.requests}: {after}")
    print(f"{time.monotonic() - started:.0f} s, seed {options.seed}")
    for line in wrong[:20]:
        print("WRONG:", line)
    print("all is well" if not wrong else f"{len(wrong)} things are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
