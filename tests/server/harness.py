"""Shared by the tests of the `whipsnake` binary: paths, and a daemon to talk to."""
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

# A config.json that makes a model of a few kilobytes.
TINY_CONFIG = {
    "model_type": "mamba", "vocab_size": 300, "hidden_size": 16, "intermediate_size": 32,
    "state_size": 4, "num_hidden_layers": 2, "conv_kernel": 4, "time_step_rank": 2,
    "tie_word_embeddings": True,
}
TINY_GPT2_CONFIG = {
    "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 300, "n_embd": 16,
    "n_layer": 2, "n_head": 2, "n_positions": 64, "activation_function": "gelu_new",
    "eos_token_id": 0,
}

# The longest time in seconds for anything, on a slow machine and under a sanitizer.
PATIENCE = 120

arguments = None


def main(before_tests=lambda: None):
    """Reads the paths from the command line, then runs the tests of the calling script."""
    global arguments
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True, help="the whipsnake binary")
    parser.add_argument("--source", required=True, help="the repository")
    parser.add_argument("--work", required=True, help="a directory for generated files")
    arguments, rest = parser.parse_known_args()
    before_tests()
    unittest.main(module="__main__", argv=[sys.argv[0]] + rest, verbosity=2)


def demo_model():
    return os.path.join(arguments.source, "deploy/models/mamba-demo")


def reference():
    with open(os.path.join(demo_model(), "reference.json"), encoding="utf-8") as file:
        return json.load(file)


def whipsnake(*flags, stdin=""):
    """Runs a command to its end; the result has returncode, stdout and stderr."""
    return subprocess.run([arguments.binary, *flags], input=stdin, capture_output=True, text=True,
                          encoding="utf-8", timeout=PATIENCE, check=False)


def make_tiny_model(directory, seed=1, contents=None):
    config = directory + ".config.json"
    with open(config, "w", encoding="utf-8") as file:
        json.dump(contents or TINY_CONFIG, file)
    made = whipsnake("init", "--config", config, "--seed", str(seed), "--out", directory)
    assert made.returncode == 0, made.stderr


class Daemon:
    """`whipsnake serve` with the demo model, on free ports. `root` is its model root; `wrapper` is
    a command to run it under, such as prlimit."""

    def __init__(self, *flags, wrapper=()):
        self.root = tempfile.mkdtemp(prefix="whipsnake-test-")
        self.log = open(os.path.join(self.root, "log"), "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [*wrapper, arguments.binary, "serve", "--model", "demo=" + demo_model(), "--model-root",
             self.root, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", *flags],
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        match = re.search(r"^listening grpc=(\S+) http=(\S+)$", line)
        if not match:
            self.process.kill()
            raise AssertionError(f"the daemon said {line!r} and logged:\n{self.read_log()}")
        self.grpc, self.http = match.groups()

    def read_log(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8") as file:
            return file.read()

    def get(self, path):
        """Returns the body of an HTTP page."""
        with urllib.request.urlopen(f"http://{self.http}{path}", timeout=PATIENCE) as page:
            return page.read().decode()

    def metric(self, name, **labels):
        """Returns the value of a sample whose labels include `labels`; 0 if there is none yet."""
        for line in self.get("/metrics").splitlines():
            match = re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line)
            if match and match[1] == name:
                if dict(re.findall(r'(\w+)="([^"]*)"', match[2] or "")).items() >= labels.items():
                    return float(match[3])
        return 0.0

    def wait_for_metric(self, name, value, **labels):
        """Waits until a metric is at least `value`, or until it is 0 if `value` is 0."""
        deadline = time.monotonic() + PATIENCE
        while True:
            now = self.metric(name, **labels)
            if (now == 0) if value == 0 else (now >= value):
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"{name}{labels} is {now} and should be {value}")
            time.sleep(0.02)

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self):
        """Waits for the daemon and returns its exit code."""
        return self.process.wait(timeout=PATIENCE)

    def close(self):
        """Stops the daemon as an operator would, cleans up and returns the exit code."""
        if self.process.poll() is None:
            self.terminate()
        try:
            code = self.wait()
        finally:
            self.process.kill()
            self.process.stdout.close()
            self.log.close()
            shutil.rmtree(self.root, ignore_errors=True)
        return code


class ServedTestCase(unittest.TestCase):
    """Tests of commands that talk to one daemon, which serves the demo model. Its root has another
    one, "tiny"."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        make_tiny_model(os.path.join(cls.daemon.root, "tiny"))
        cls.greedy = reference()["greedy"][0]

    @classmethod
    def tearDownClass(cls):
        code = cls.daemon.close()
        assert code == 0, code

    def client(self, *flags, stdin=""):
        return whipsnake(*flags, "--server", self.daemon.grpc, stdin=stdin)
