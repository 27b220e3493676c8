"""Streams a completion from a Whipsnake server: generate.py PROMPT [ADDRESS]. See README.md, and
connection.py for the variables that it reads."""

import sys

from connection import connect
from whipsnake.v1 import generation_pb2, generation_pb2_grpc


def main():
    prompt = sys.argv[1]
    channel = connect(sys.argv[2] if len(sys.argv) > 2 else None)
    stub = generation_pb2_grpc.GenerationServiceStub(channel)
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
