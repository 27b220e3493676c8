r"""Causes the condition of each alert for real, waits until Prometheus says that it fires, mends the
condition, waits until it is resolved, and prints the timeline:

    WHIPSNAKE_LONG_TESTS=yes /usr/bin/python3 tests/deploy/alerts_timeline.py \
      --binary build/release/whipsnake --source . --work /tmp

The rules are those of deploy/prometheus with shorter times. Daemon, Prometheus and load run on this
machine. As root the data directory is a small file system, so that it can be full. What could not be
caused is named at the end; an alert that does not fire or is not resolved is an error.
"""
import contextlib
import ctypes
import glob
import os
import re
import shutil
import subprocess
import tempfile
import time

from monitoring import BusyDaemon, Prometheus, harness, load, skip_without_prometheus, source, wait_for
import metric_names
import yaml

PATIENCE = 120
DATA_MEGABYTES = 96
UNITS = {"s": 1, "m": 60, "h": 3600}


# --- The rules with shorter times -----------------------------------------------------------------

def seconds(text):
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([smh])", text))


def shorter_rules(folder):
    """Writes the rules to a folder. Ranges of 5 m become 15 s and longer ones at most 30 s, `for`
    becomes 1 to 5 s, and a job has stalled after 5 s. Returns the expressions of the alerts."""
    expressions = {}
    for path in glob.glob(source("deploy/prometheus/rules/*.yml")):
        with open(path, encoding="utf-8") as file:
            rules = yaml.safe_load(file)
        for rule in (rule for group in rules["groups"] for rule in group["rules"]):
            rule["expr"] = re.sub(r"\[(\w+)\]", lambda match: f"[{min(max(seconds(match[1]) // 20, 10), 30)}s]",
                                  rule["expr"]).replace("> 600", "> 5")
            if "for" in rule:
                rule["for"] = f"{min(max(seconds(rule['for']) // 60, 1), 5)}s"
            if "alert" in rule:
                expressions[rule["alert"]] = rule["expr"]
        with open(os.path.join(folder, os.path.basename(path)), "w", encoding="utf-8") as file:
            yaml.safe_dump(rules, file)
    return expressions


# --- Stopping one thread ----------------------------------------------------------------------------

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000


def ptrace(request, thread):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), f"ptrace({request:#x}, {thread})")


def processor_time(task):
    """Returns the ticks of the processor that a thread has used."""
    with open(task + "/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def busiest_thread(process):
    """Returns the thread that has used the most of the processor within a second."""
    tasks = glob.glob(f"/proc/{process}/task/*")
    before = {task: processor_time(task) for task in tasks}
    time.sleep(1)
    return int(os.path.basename(max(tasks, key=lambda task: processor_time(task) - before[task])))


@contextlib.contextmanager
def stopped_thread(thread):
    ptrace(PTRACE_SEIZE, thread)
    try:
        ptrace(PTRACE_INTERRUPT, thread)
        os.waitpid(thread, WALL)
        yield
    finally:
        ptrace(PTRACE_DETACH, thread)


# --- The stage ----------------------------------------------------------------------------------------

class Stage:
    """The daemon, Prometheus, and what happens to them. One thread computes, one request runs and two
    may wait, and the models may have little memory."""

    def __init__(self, stack):
        self.stack = stack
        self.data = stack.enter_context(self.data_directory())
        self.daemon = self.start()
        stack.callback(lambda: self.daemon.close())
        rules = stack.enter_context(tempfile.TemporaryDirectory())
        self.expressions = shorter_rules(rules)
        self.prometheus = Prometheus([self.daemon.http], rules)
        stack.callback(self.prometheus.close)
        self.clock = time.monotonic()

    @contextlib.contextmanager
    def data_directory(self):
        with tempfile.TemporaryDirectory() as folder:
            self.disk_is_small = os.geteuid() == 0 and subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={DATA_MEGABYTES}m", "tmpfs", folder],
                stderr=subprocess.DEVNULL, check=False).returncode == 0
            try:
                yield os.path.join(folder, "data")
            finally:
                if self.disk_is_small:
                    subprocess.run(["umount", folder], check=True)

    def start(self):
        return BusyDaemon("--threads", "1", "--max-running", "1", "--max-waiting", "2", "--memory-fraction", "0.05",
                          "--state-cache-bytes", "0", "--job-retry-delay", "600", "--checkpoint-interval", "0.5",
                          data=self.data)

    def copy_model(self, name):
        """Copies the demo model below the model root."""
        path = os.path.join(self.daemon.root, name)
        shutil.copytree(harness.demo_model(), path, dirs_exist_ok=True)
        return path

    def firing(self, alert):
        """Returns the alert if it fires, else None."""
        return next((each for each in self.prometheus.alerts()
                     if each["labels"]["alertname"] == alert and each["state"] == "firing"), None)

    def now(self):
        return time.monotonic() - self.clock

    def say(self, what, alert, more=""):
        print(f"{self.now():7.1f} s  {what:9} {alert:26} {more}", flush=True)

    def can_see(self, alert):
        """Whether the daemon exports the metrics of the alert."""
        return not metric_names.exported_in(self.expressions[alert]) & metric_names.COMING


# --- The conditions -------------------------------------------------------------------------------------

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
    unload = subprocess.Popen([harness.arguments.binary, "models", "unload", "leaving", "--server", stage.daemon.grpc],
                              stdout=subprocess.DEVNULL)
    yield
    requests.close()
    unload.wait(timeout=PATIENCE)


@contextlib.contextmanager
def overload(stage):
    """Eight clients send requests, of which one runs and two may wait."""
    traffic = [load(stage.daemon, "demo", concurrency=8, tokens=64, requests=400)]
    yield
    for each in traffic:
        each.close()


@contextlib.contextmanager
def long_requests(stage):
    """Three clients send long requests, of which one runs."""
    traffic = load(stage.daemon, "demo", concurrency=3, tokens=3000, requests=30)
    yield
    traffic.close()


@contextlib.contextmanager
def stopped_computing(stage):
    """The thread that computes is stopped, as by a disk that does not answer, while a job runs and requests wait."""
    stage.daemon.train("stalled", "--max-steps", "100000", "--checkpoint-every", "100000")
    stage.daemon.wait_for_metric("whipsnake_finetune_jobs", 1, state="running")
    traffic = load(stage.daemon, "demo", concurrency=3, tokens=3000, requests=30)
    stage.daemon.wait_for_metric("whipsnake_requests_waiting", 1, model="demo")
    with stopped_thread(busiest_thread(stage.daemon.process.pid)):
        yield
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
    stage.daemon.command("finetune", "create", "--id", "too-large", "--model", "gpt2", "--train", "texts", "--batch",
                         "4096", "--max-length", "256", check=False)
    stage.daemon.wait_for_metric("whipsnake_finetune_jobs", 1, state="failed")
    yield
    stage.daemon.command("finetune", "delete", "too-large")


@contextlib.contextmanager
def full_disk(stage):
    """A job writes checkpoints while a file fills the disk of the data directory; the file is removed."""
    filler = os.path.join(os.path.dirname(stage.data), "filler")
    stage.daemon.train("full", "--max-steps", "100000", "--checkpoint-every", "20")
    stage.daemon.wait_for_metric("whipsnake_finetune_jobs", 1, state="running")
    subprocess.run(["dd", "if=/dev/zero", "of=" + filler, "bs=1M"], stderr=subprocess.DEVNULL, check=False)
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


def play(stage, scene, alerts):
    """Returns the alerts that did not fire or were not resolved."""
    print(f"\n{scene.__doc__}", flush=True)
    wrong, cause = [], scene(stage)
    with cause:
        begin = stage.now()
        for alert in alerts:
            try:
                found = wait_for(alert, lambda name=alert: stage.firing(name), PATIENCE)
                stage.say("firing", alert, found["annotations"]["description"])
            except AssertionError:
                stage.say("MISSING", alert)
                wrong.append(alert)
    stage.say("mended", "", f"{stage.now() - begin:.1f} s after the cause")
    for alert in alerts:
        try:
            wait_for(alert, lambda name=alert: stage.firing(name) is None, PATIENCE)
            stage.say("resolved", alert)
        except AssertionError:
            stage.say("STAYS", alert)
            wrong.append(alert)
    return wrong


def run():
    wrong, left_out = [], {}
    chosen = os.environ.get("SCENES", "").split()
    with contextlib.ExitStack() as stack:
        stage = Stage(stack)
        stage.daemon.upload("texts")
        for scene, alerts in SCENES:
            if chosen and scene.__name__ not in chosen:
                continue
            if scene is full_disk and not stage.disk_is_small:
                left_out.update({alert: "only root can make a small file system" for alert in alerts})
                continue
            seen = [alert for alert in alerts if stage.can_see(alert)]
            left_out.update({alert: "the program does not export its metrics" for alert in alerts if alert not in seen})
            if seen:
                wrong += play(stage, scene, seen)
        caused = {alert for _, alerts in SCENES for alert in alerts}
        left_out.update({alert: "no scene causes it" for alert in stage.expressions if alert not in caused})
    for alert, reason in left_out.items():
        print(f"not caused: {alert}: {reason}")
    return wrong


class Timeline(harness.unittest.TestCase):
    def test_every_alert_fires_and_is_resolved(self):
        self.assertEqual(run(), [])


if __name__ == "__main__":
    skip_without_prometheus()
    harness.main()
