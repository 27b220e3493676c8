"""Shared by the tests with a real Prometheus: the process, and what keeps a daemon busy."""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../server"))
import harness  # noqa: E402

SKIPPED = 77
TEXTS = "deploy/data/python-manual.jsonl"


def skip_without_prometheus():
    if not os.environ.get("WHIPSNAKE_LONG_TESTS"):
        print("SKIPPED: it takes minutes; WHIPSNAKE_LONG_TESTS=yes or ./dev test --long runs it")
        sys.exit(SKIPPED)
    if shutil.which("prometheus") is None:
        print("SKIPPED: no prometheus; apt-get install prometheus "
              "(which also starts a Prometheus on port 9090)")
        sys.exit(SKIPPED)


def source(path):
    return os.path.join(harness.arguments.source, path)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what, condition, patience=None):
    """Polls until the condition is true, and returns its value."""
    deadline = time.monotonic() + (patience or harness.PATIENCE)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.1)


class Prometheus:
    """A Prometheus on the loopback that scrapes `targets` ("host:port") and evaluates rules every
    second. `rules` is a directory."""

    def __init__(self, targets, rules):
        self.root = tempfile.mkdtemp(prefix="whipsnake-prometheus-")
        self.targets = os.path.join(self.root, "targets.json")
        self.set_targets(targets)
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s",
                       "evaluation_interval": "1s"},
            "rule_files": [os.path.join(os.path.abspath(rules), "*.yml")],
            "scrape_configs": [{"job_name": "whipsnake", "file_sd_configs": [
                {"files": [self.targets], "refresh_interval": "1s"}]}]}
        path = os.path.join(self.root, "prometheus.yml")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)  # JSON is YAML
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = open(os.path.join(self.root, "log"), "w", encoding="utf-8")
        self.process = subprocess.Popen(
            ["prometheus", "--config.file=" + path,
             "--web.listen-address=" + self.url[len("http://"):],
             "--storage.tsdb.path=" + os.path.join(self.root, "data")],
            stdout=self.log, stderr=self.log)
        self.start = time.time()
        wait_for("Prometheus", self.is_ready)

    def set_targets(self, targets):
        temporary = self.targets + ".new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump([{"targets": targets}] if targets else [], file)
        os.replace(temporary, self.targets)

    def is_ready(self):
        if self.process.poll() is not None:
            with open(self.log.name, encoding="utf-8") as file:
                raise AssertionError("Prometheus ended:\n" + file.read())
        try:
            with urllib.request.urlopen(self.url + "/-/ready", timeout=10) as page:
                return page.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def get(self, path, **parameters):
        """Returns the data of a call of the API."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=harness.PATIENCE) as page:
                return json.load(page)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error

    def query(self, expression):
        return self.get("query", query=expression)["result"]

    def query_range(self, expression, start, end, step):
        """Returns [(labels, [(time, value)])] without the values that are not numbers."""
        data = self.get("query_range", query=expression, start=start, end=end, step=step)
        series = []
        for each in data["result"]:
            values = [(when, float(value)) for when, value in each["values"] if value != "NaN"]
            if values:
                series.append((each["metric"], values))
        return series

    def alerts(self):
        return self.get("alerts")["alerts"]

    def rules(self):
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=harness.PATIENCE)
        self.log.close()
        shutil.rmtree(self.root, ignore_errors=True)


class Traffic:
    """Runs a client command again and again until it is closed."""

    def __init__(self, daemon, *command):
        self.command = [harness.arguments.binary, *command, "--server", daemon.grpc]
        self.stopping = threading.Event()
        self.process = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopping.is_set():
            self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL,
                                            stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
            self.process.wait()
            self.stopping.wait(0.5)  # so that a command that fails does not use up a processor

    def close(self):
        self.stopping.set()
        while self.thread.is_alive():
            if self.process is not None:
                self.process.terminate()
            self.thread.join(timeout=0.1)


def load(daemon, model, tokens=48, requests=40, **options):
    """Requests of random tokens; `options` are concurrency or rate."""
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return Traffic(daemon, "load", "--model", model, "--requests", str(requests), "--prompt-tokens",
                   "64",
                   "--max-tokens", str(tokens), "--allow-overload", *flags)


class BusyDaemon(harness.Daemon):
    """A daemon with both demo models and a data directory."""

    def __init__(self, *flags, data=None):
        self.data = data or tempfile.mkdtemp(prefix="whipsnake-data-")
        super().__init__("--model", "gpt2=" + source("deploy/models/gpt2-crrelu-demo"), "--data",
                         self.data, *flags)

    def command(self, *flags, check=True):
        done = harness.whipsnake(*flags, "--server", self.grpc)
        assert not check or done.returncode == 0, f"{flags}: {done.stdout}{done.stderr}"
        return done

    def upload(self, name, path=TEXTS):
        self.command("datasets", "upload", source(path), "--task", "causal-lm", "--id", name)

    def train(self, name, *flags):
        """Creates a job that trains gpt2 with the data set "texts"."""
        self.command("finetune", "create", "--id", name, "--model", "gpt2", "--train", "texts",
                     "--batch", "2", "--max-length", "64", *flags)

    def close(self):
        code = super().close()
        shutil.rmtree(self.data, ignore_errors=True)
        return code
