"""What the timeline of the alerts plays on: a daemon with little room, a Prometheus, and rules with
shorter times."""
import contextlib
import glob
import os
import re
import shutil
import subprocess
import tempfile
import time

from monitoring import BusyDaemon, Prometheus, harness, source
import yaml

DATA_MEGABYTES = 96
UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds(text):
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([smh])", text))


def shorter_rules(folder):
    """Writes the rules to a folder. Ranges of 5 m become 15 s and longer ones at most 30 s, `for`
    becomes 1 to 5 s, and a job has stalled after 5 s. Returns the names of the alerts."""
    alerts = []
    for path in glob.glob(source("deploy/prometheus/rules/*.yml")):
        with open(path, encoding="utf-8") as file:
            rules = yaml.safe_load(file)
        for rule in (rule for group in rules["groups"] for rule in group["rules"]):
            rule["expr"] = re.sub(r"\[(\w+)\]",
                                  lambda match: f"[{min(max(seconds(match[1]) // 20, 10), 30)}s]",
                                  rule["expr"]).replace("> 600", "> 5")
            if "for" in rule:
                rule["for"] = f"{min(max(seconds(rule['for']) // 60, 1), 5)}s"
            if "alert" in rule:
                alerts.append(rule["alert"])
        with open(os.path.join(folder, os.path.basename(path)), "w", encoding="utf-8") as file:
            yaml.safe_dump(rules, file)
    return alerts


class Stage:
    """The daemon, Prometheus, and what happens to them. One thread computes, one request runs and
    two may wait, and the models may have little memory."""

    def __init__(self, stack):
        self.stack = stack
        self.data = stack.enter_context(self.data_directory())
        self.daemon = self.start()
        stack.callback(lambda: self.daemon.close())
        rules = stack.enter_context(tempfile.TemporaryDirectory())
        self.names = shorter_rules(rules)
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
        return BusyDaemon("--threads", "1", "--max-running", "1", "--max-waiting", "2",
                          "--memory-fraction", "0.05", "--state-cache-bytes", "0",
                          "--job-retry-delay", "600", "--checkpoint-interval", "0.5",
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
