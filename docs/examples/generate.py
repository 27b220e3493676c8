"""Streams a completion from a Whipsnake server: generate.py PROMPT [ADDRESS]. See README.md."""

import os
import sys

import grpc
from whipsnake.v1 import generation_pb2, generation_pb2_grpc


def main():
    prompt = sys.argv[1]
    server = os.environ.get("WHIPSNAKE_SERVER", "127.0.0.1:8500")
    address = sys.argv[2] if len(sys.argv) > 2 else server
    stub = generation_pb2_grpc.GenerationServiceStub(grpc.insecure_channel(address))
    parameters = generation_pb2.GenerationParameters(model="demo", text=prompt)
    parameters.stopping.max_new_tokens = 60
    print(prompt, end="")
    # `started` comes first, then any number of `delta`, then `finished`; the text is in the deltas.
    for event in stub.StreamGenerate(
        generation_pb2.StreamGenerateRequest(parameters=parameters), timeout=60
    ):
        print(event.delta.text, end="", flush=True)
        if event.HasField("finished"):
            print(f"\n{event.finished.usage.generated_tokens} tokens")


main()
