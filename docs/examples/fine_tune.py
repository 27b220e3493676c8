"""Fine-tunes a model of a Whipsnake server and lets it serve: fine_tune.py MODEL [ADDRESS].

MODEL is a model of the server with float weights. The server needs --data DIR. See docs/jobs.md, and
connection.py for the variables that it reads.
"""

import hashlib
import json
import sys
import time

import grpc
from connection import connect
from whipsnake.v1 import dataset_pb2, dataset_pb2_grpc
from whipsnake.v1 import fine_tuning_pb2, fine_tuning_pb2_grpc
from whipsnake.v1 import generation_pb2, generation_pb2_grpc

SNAKES = ("adder", "boa", "cobra", "mamba", "python", "viper")
ROWS = [{"text": f"The {snake} is a snake. A {snake} sheds its skin."} for snake in SNAKES]


def upload(datasets, rows):
    """Uploads the rows and returns the id of the data set once jobs can use it. The server makes the
    id of the contents, so the same rows again are the same data set."""
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    header = dataset_pb2.UploadHeader(
        task="causal-lm", format="jsonl", size_bytes=len(data),
        digest="sha256:" + hashlib.sha256(data).hexdigest())
    parts = [dataset_pb2.UploadDatasetRequest(header=header),
             dataset_pb2.UploadDatasetRequest(data=data)]
    dataset = datasets.UploadDataset(iter(parts)).dataset
    while dataset.state == dataset_pb2.DATASET_STATE_VALIDATING:
        time.sleep(0.1)
        dataset = datasets.GetDataset(dataset_pb2.GetDatasetRequest(id=dataset.id)).dataset
    if dataset.state != dataset_pb2.DATASET_STATE_READY:
        sys.exit(f"the data set is not valid: {dataset.error or dataset.report.first_bad_rows}")
    return dataset.id


def watch(jobs, job_id, most_attempts=100):
    """Yields the events of a job, each once, until it has ended. Connects again if the connection
    breaks or the server restarts, and gives up after so many attempts in a row without an event."""
    last = attempts = 0
    while True:
        request = fine_tuning_pb2.WatchFineTuningJobRequest(id=job_id, after_event_id=last)
        try:
            for response in jobs.WatchFineTuningJob(request):
                for event in response.events:
                    last, attempts = event.id, 0
                    yield event
            return
        except grpc.RpcError as error:
            attempts += 1
            if error.code() != grpc.StatusCode.UNAVAILABLE or attempts > most_attempts:
                raise
            time.sleep(3)


def main():
    model = sys.argv[1]
    channel = connect(sys.argv[2] if len(sys.argv) > 2 else None)
    jobs = fine_tuning_pb2_grpc.FineTuningServiceStub(channel)

    # Settings that are not set have the defaults of `whipsnake train`.
    spec = fine_tuning_pb2.FineTuningJobSpec(
        model=model, train=upload(dataset_pb2_grpc.DatasetServiceStub(channel), ROWS),
        max_length=64, batch=2, epochs=100, max_steps=20, lr=1e-3)
    job = jobs.CreateFineTuningJob(fine_tuning_pb2.CreateFineTuningJobRequest(spec=spec)).job
    for event in watch(jobs, job.id):
        if event.HasField("state_changed"):
            state = event.state_changed
            print(fine_tuning_pb2.FineTuningJobState.Name(state.state), state.reason)
        elif event.HasField("step"):
            print(f"step {event.step.step}/{event.step.steps}: loss {event.step.loss:.4f}")

    job = jobs.GetFineTuningJob(fine_tuning_pb2.GetFineTuningJobRequest(id=job.id)).job
    if job.state != fine_tuning_pb2.FINE_TUNING_JOB_STATE_SUCCEEDED:
        sys.exit(f"the job did not succeed: {job.error.message or job.state_reason}")
    version = jobs.PromoteCheckpoint(
        fine_tuning_pb2.PromoteCheckpointRequest(id=job.id, model="snakes")).version
    print(f"{version.name} serves")

    generation = generation_pb2_grpc.GenerationServiceStub(channel)
    parameters = generation_pb2.GenerationParameters(model="snakes", text="The boa")
    parameters.stopping.max_new_tokens = 12
    request = generation_pb2.GenerateRequest(parameters=parameters)
    print("The boa" + generation.Generate(request, timeout=60).completions[0].text)


main()
