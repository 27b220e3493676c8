"""A daemon that fine-tunes the demo GPT-2, and a client of its data sets, jobs and versions."""
import glob
import hashlib
import json
import os
import time

import harness
import rpc_client

MODEL = "gpt2"  # of the daemon
WORDS = ("adder", "boa", "coil", "fang", "scale", "slither", "strike", "viper")
MESSAGE_BYTES = 2048  # of an upload
# Causal language models of texts of one line.
TASK = "causal-lm"


def import_stubs():
    globals().update(rpc_client.import_stubs())


def texts(count):
    """Returns the bytes of a data set."""
    def words(i):
        return " ".join(WORDS[(i * 7 + j * j * 3 + i * j) % len(WORDS)] for j in range(20 + i % 5))
    return "".join(json.dumps({"text": f"{i} {words(i)}"}) + "\n" for i in range(count)).encode()


def digest_of_file(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def or_none(call):
    """Returns the call's answer; None if what it is about is not there."""
    try:
        return call()
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.NOT_FOUND:
            raise
        return None


class JobDaemon(harness.Daemon):
    """A daemon with a data directory, and the stubs to talk to it."""

    def __init__(self, data, *flags):
        super().__init__("--model", f"{MODEL}={demo_model()}", "--data", data, *flags)
        self.data = data
        self.client = rpc_client.Client(self.grpc)

    def close(self):
        self.client.channel.close()
        return super().close()


def demo_model():
    return os.path.join(harness.arguments.source, "deploy/models/gpt2-crrelu-demo")


class JobClient:
    """Short forms of the calls. A lost connection is an error of gRPC, like any other."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.stubs = daemon.client

    # Data sets.

    def get_dataset(self, name):
        request = dataset_pb2.GetDatasetRequest(id=name)
        return self.stubs.datasets.GetDataset(request, timeout=harness.PATIENCE).dataset

    def received_bytes(self, name):
        """Returns what the server has of an upload; 0 if it has not begun."""
        dataset = or_none(lambda: self.get_dataset(name))
        return dataset.received_bytes if dataset else 0

    def begin_upload(self, name, contents, offset=0, end=None):
        """Begins to send contents[offset:end], in several messages; returns a future."""
        header = dataset_pb2.UploadHeader(
            id=name, task=TASK, format="jsonl", size_bytes=len(contents), offset=offset,
            digest="sha256:" + hashlib.sha256(contents).hexdigest(), model=MODEL)

        def messages():
            yield dataset_pb2.UploadDatasetRequest(header=header)
            for begin in range(offset, len(contents) if end is None else end, MESSAGE_BYTES):
                piece = contents[begin:end][:MESSAGE_BYTES]
                yield dataset_pb2.UploadDatasetRequest(data=piece)
        return self.stubs.datasets.UploadDataset.future(messages(), timeout=harness.PATIENCE)

    def wait_for_dataset(self, name):
        while True:
            dataset = self.get_dataset(name)
            if dataset.state != dataset_pb2.DATASET_STATE_VALIDATING:
                assert dataset.state == dataset_pb2.DATASET_STATE_READY, dataset
                return dataset
            time.sleep(0.01)

    def upload(self, name, contents):
        self.begin_upload(name, contents).result()
        return self.wait_for_dataset(name)

    # Jobs.

    def create(self, name, **spec):
        request = fine_tuning_pb2.CreateFineTuningJobRequest(
            id=name, spec=fine_tuning_pb2.FineTuningJobSpec(model=MODEL, **spec))
        return self.stubs.jobs.CreateFineTuningJob(request, timeout=harness.PATIENCE).job

    def get(self, name):
        request = fine_tuning_pb2.GetFineTuningJobRequest(id=name)
        return self.stubs.jobs.GetFineTuningJob(request, timeout=harness.PATIENCE).job

    def find(self, name):
        """Returns a job, or None if there is none."""
        return or_none(lambda: self.get(name))

    def plan(self, **spec):
        request = fine_tuning_pb2.PlanFineTuningJobRequest(
            spec=fine_tuning_pb2.FineTuningJobSpec(model=MODEL, **spec))
        return self.stubs.jobs.PlanFineTuningJob(request, timeout=harness.PATIENCE)

    def cancel(self, name):
        request = fine_tuning_pb2.CancelFineTuningJobRequest(id=name)
        return self.stubs.jobs.CancelFineTuningJob(request, timeout=harness.PATIENCE).job

    def pause(self, name):
        request = fine_tuning_pb2.PauseFineTuningJobRequest(id=name)
        return self.stubs.jobs.PauseFineTuningJob(request, timeout=harness.PATIENCE).job

    def resume(self, name):
        request = fine_tuning_pb2.ResumeFineTuningJobRequest(id=name)
        return self.stubs.jobs.ResumeFineTuningJob(request, timeout=harness.PATIENCE).job

    def delete(self, name):
        """Deletes a job, if it is there."""
        request = fine_tuning_pb2.DeleteFineTuningJobRequest(id=name)
        or_none(lambda: self.stubs.jobs.DeleteFineTuningJob(request, timeout=harness.PATIENCE))

    def watch(self, name, after=0):
        """Yields the events of a job after one of them, to its end."""
        request = fine_tuning_pb2.WatchFineTuningJobRequest(id=name, after_event_id=after)
        for message in self.stubs.jobs.WatchFineTuningJob(request, timeout=harness.PATIENCE):
            yield from message.events

    def events(self, name):
        found = []
        while True:
            request = fine_tuning_pb2.ListFineTuningEventsRequest(
                id=name, page_size=100, after_event_id=found[-1].id if found else 0)
            page = self.stubs.jobs.ListFineTuningEvents(request, timeout=harness.PATIENCE)
            found += page.events
            if not page.more:
                return found

    def checkpoints(self, name):
        """Returns the steps of the checkpoints that the server lists."""
        request = fine_tuning_pb2.ListCheckpointsRequest(id=name)
        answer = self.stubs.jobs.ListCheckpoints(request, timeout=harness.PATIENCE)
        return [checkpoint.step for checkpoint in answer.checkpoints]

    def wait_for_state(self, name, *states):
        """Waits until a job is in one of the states, and returns it."""
        while True:
            job = self.get(name)
            if job.state in states:
                return job
            assert job.state != fine_tuning_pb2.FINE_TUNING_JOB_STATE_FAILED, job.error
            time.sleep(0.01)

    def wait_for_step(self, name, step):
        """Waits for the event of a step, or of a later one."""
        for event in self.watch(name):
            if event.step.step >= step:
                return
        raise AssertionError(f"job {name} ended before step {step}")

    def finish(self, name):
        """Waits for the end of a job, which must succeed, and returns it."""
        for _ in self.watch(name):
            pass
        job = self.get(name)
        assert job.state == fine_tuning_pb2.FINE_TUNING_JOB_STATE_SUCCEEDED, job
        return job

    # Results.

    def directory_of(self, job):
        return os.path.join(self.daemon.data, "jobs", job.uid)

    def digest_of_result(self, job):
        return digest_of_file(os.path.join(self.directory_of(job), "result/model.safetensors"))

    def checkpoints_on_disk(self, job):
        return sorted(int(path[-8:]) for path in glob.glob(
            os.path.join(self.directory_of(job), "checkpoints/step-????????")))

    def promote(self, name, model, **fields):
        request = fine_tuning_pb2.PromoteCheckpointRequest(id=name, model=model, **fields)
        return self.stubs.jobs.PromoteCheckpoint(request, timeout=harness.PATIENCE).version

    def versions(self, model):
        """Returns the versions of a model by their numbers."""
        request = model_pb2.ListModelVersionsRequest(name=model, page_size=1000)
        answer = or_none(
            lambda: self.stubs.models.ListModelVersions(request, timeout=harness.PATIENCE))
        return {version.version: version for version in answer.versions} if answer else {}

    def delete_version(self, name):
        """Deletes a version, if it is there."""
        request = model_pb2.DeleteModelVersionRequest(name=name)
        or_none(lambda: self.stubs.models.DeleteModelVersion(request, timeout=harness.PATIENCE))

    def digest_of_version(self, name):
        answer = self.stubs.models.GetModel(model_pb2.GetModelRequest(name=name),
                                            timeout=harness.PATIENCE)
        return digest_of_file(os.path.join(self.daemon.data, answer.model.path,
                                           "model.safetensors"))

    def greedy_text(self, model):
        parameters = generation_pb2.GenerationParameters(
            model=model, text="7 coil", sampling=generation_pb2.Sampling(temperature=0),
            stopping=generation_pb2.Stopping(max_new_tokens=24, ignore_eos=True))
        answer = self.stubs.generation.Generate(
            generation_pb2.GenerateRequest(parameters=parameters), timeout=harness.PATIENCE)
        return answer.completions[0].text
