"""The conditions of the alerts. Each scene is a context, which causes a condition when it is
entered and mends it when it is left; its first line says how."""
import contextlib
import os
import shutil
import subprocess

from monitoring import harness, load
from stopped_thread import busiest_thread, stopped_thread

PATIENCE = 120


@contextlib.contextmanager
def no_target(stage):
    """Prometheus has no target."""
    stage.prometheus.set_targets([])
    yield
    stage.prometheus.set_targets([stage.daemon.http])


@contextlib.contextmanager
def killed_daemon(stage):
    """The daemon is killed (SIGKILL); another one is started."""
    stage.daemon.process.kill()
    yield
    # close() expects a data directory to remove; the next daemon goes on with the same one.
    stage.daemon.data = stage.daemon.root
    stage.daemon.close()
    stage.daemon = stage.start()
    stage.prometheus.set_targets([stage.daemon.http])


@contextlib.contextmanager
def damaged_model(stage):
    """The weights of a loaded model are cut short; they are restored and loaded again."""
    path = os.path.join(stage.daemon.root, "fragile")
    harness.make_tiny_model(path)  # not the demo's, whose weights are copied when they are loaded
    stage.daemon.command("models", "load", "fragile")
    os.truncate(os.path.join(path, "model.safetensors"), 1000)
    yield
    shutil.rmtree(path)
    harness.make_tiny_model(path)
    stage.daemon.command("models", "load", "fragile")
    stage.daemon.command("models", "unload", "fragile")


@contextlib.contextmanager
def slow_unload(stage):
    """A model is unloaded while requests for it run, which are then cancelled."""
    stage.copy_model("leaving")
    stage.daemon.command("models", "load", "leaving")
    requests = load(stage.daemon, "leaving", concurrency=1, tokens=4000, requests=1)
    stage.daemon.wait_for_metric("whipsnake_requests_running", 1, model="leaving")
    unload = subprocess.Popen(
        [harness.arguments.binary, "models", "unload", "leaving", "--server", stage.daemon.grpc],
        stdout=subprocess.DEVNULL)
    yield
    requests.close()
    unload.wait(timeout=PATIENCE)


@contextlib.contextmanager
def overload(stage):
    """Eight clients send requests, of which one runs and two may wait."""
    traffic = load(stage.daemon, "demo", concurrency=8, tokens=64, requests=400)
    yield
    traffic.close()


@contextlib.contextmanager
def long_requests(stage):
    """Three clients send long requests, of which one runs."""
    traffic = load(stage.daemon, "demo", concurrency=3, tokens=3000, requests=30)
    yield
    traffic.close()


@contextlib.contextmanager
def stopped_computing(stage):
    """The thread that computes is stopped, while a job runs and requests wait."""
    stage.daemon.train("stalled", "--max-steps", "100000", "--checkpoint-every", "100000")
    stage.daemon.wait_for_metric("whipsnake_finetune_jobs", 1, state="running")
    traffic = load(stage.daemon, "demo", concurrency=3, tokens=3000, requests=30)
    stage.daemon.wait_for_metric("whipsnake_requests_waiting", 1, model="demo")
    try:
        with stopped_thread(busiest_thread(stage.daemon.process.pid)):
            yield
    finally:
        traffic.close()
        stage.daemon.command("finetune", "cancel", "stalled")
        stage.daemon.command("finetune", "delete", "stalled")


@contextlib.contextmanager
def many_models(stage):
    """Models are loaded until nine tenths of the memory are used; then they are unloaded."""
    stage.copy_model("copy")
    names = []
    while (stage.daemon.metric("whipsnake_device_memory_used_bytes")
           < 0.92 * stage.daemon.metric("whipsnake_device_memory_limit_bytes")):
        names.append(f"copy-{len(names)}")
        stage.daemon.command("models", "load", "copy", "--name", names[-1])
        assert len(names) < 200
    yield
    for name in names:
        stage.daemon.command("models", "unload", name)


@contextlib.contextmanager
def failing_job(stage):
    """A job needs more memory than there is; it is deleted."""
    stage.daemon.command("finetune", "create", "--id", "too-large", "--model", "gpt2", "--train",
                         "texts", "--batch", "4096", "--max-length", "256", check=False)
    stage.daemon.wait_for_metric("whipsnake_finetune_jobs", 1, state="failed")
    yield
    stage.daemon.command("finetune", "delete", "too-large")


@contextlib.contextmanager
def full_disk(stage):
    """A file fills the disk of the data directory while a job runs; the file is removed."""
    disk = os.path.dirname(stage.data)
    filler = os.path.join(disk, "filler")
    # Records of jobs still have room, but not a checkpoint. Without room for records, a job waits.
    with open(filler, "wb") as file:
        file.write(bytes(shutil.disk_usage(disk).free - (6 << 20)))
    stage.daemon.train("full", "--max-steps", "100000", "--checkpoint-every", "2")
    yield
    os.remove(filler)
    stage.daemon.command("finetune", "cancel", "full", check=False)
    stage.daemon.command("finetune", "delete", "full", check=False)


SCENES = [
    (no_target, ["WhipsnakeNotScraped"]),
    (damaged_model, ["WhipsnakeModelFailed"]),
    (slow_unload, ["WhipsnakeModelNotReady"]),
    (long_requests, ["WhipsnakeFirstTokenSlow"]),
    (overload, ["WhipsnakeRequestsRefused", "WhipsnakeErrorsFast", "WhipsnakeErrorsSlow"]),
    (stopped_computing, ["WhipsnakeQueueStuck", "WhipsnakeJobStalled"]),
    (many_models, ["WhipsnakeMemoryHigh"]),
    (failing_job, ["WhipsnakeJobFailed"]),
    (full_disk, ["WhipsnakeDiskNearlyFull", "WhipsnakeDiskErrors", "WhipsnakeCheckpointFailed"]),
    (killed_daemon, ["WhipsnakeDown"]),
]
