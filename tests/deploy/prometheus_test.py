"""The dashboards and the rules with a real Prometheus, which scrapes a busy daemon every second.

Every query of every panel must return data, every rule must be evaluated, and every recording rule
must have a value. With PICTURES=DIR the dashboards are then drawn (render_dashboards.py), from some
minutes of data.
"""
import os
import time
import unittest

import monitoring
from monitoring import BusyDaemon, Prometheus, Traffic, harness, load, wait_for
import dashboards
import yaml

PICTURES = os.environ.get("PICTURES")


def do_everything(daemon):
    """Makes requests of every kind, saves a state, and runs a job to its end."""
    daemon.upload("texts")
    daemon.upload("texts-test", "deploy/data/python-manual-test.jsonl")
    daemon.command("states", "save", "--model", "demo", "Elizabeth was")
    steps = "200" if PICTURES else "40"
    daemon.train("texts-1", "--eval", "texts-test", "--max-steps", steps, "--scheduler", "slimfit",
                 "--freezing-rate", "0.5", "--evaluate-every", "40", "--checkpoint-every", "40",
                 "--lr", "1e-4")
    if PICTURES:
        daemon.train("texts-2", "--max-steps", "150", "--priority", "-1", "--checkpoint-every",
                     "50")
        wait_for("the jobs", lambda: daemon.metric(
            "whipsnake_finetune_jobs", state="succeeded") == 2, 900)


class PrometheusTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = BusyDaemon("--training-share", "0.5")
        cls.addClassCleanup(cls.daemon.close)
        cls.prometheus = Prometheus([cls.daemon.http], monitoring.source("deploy/prometheus/rules"))
        cls.addClassCleanup(cls.prometheus.close)
        for model, rate in (("demo", 1.5), ("gpt2", 0.7)):
            traffic = load(cls.daemon, model, rate=rate)
            cls.addClassCleanup(traffic.close)
        # The same prompt again and again, so that the prefix cache has hits; requests that end at
        # their deadline; and refused ones.
        for flags in (["30"], ["4000", "--timeout", "0.2"], ["100000000"]):
            traffic = Traffic(cls.daemon, "generate", "--model", "demo", "Elizabeth was",
                              "--max-tokens", *flags)
            cls.addClassCleanup(traffic.close)
        do_everything(cls.daemon)

    def series(self, expression):
        end = time.time()
        return self.prometheus.query_range(expression, self.prometheus.start, end,
                                           max(1, (end - self.prometheus.start) // 500))

    def test_every_query_of_every_panel_returns_data(self):
        for name, dashboard in dashboards.read_dashboards(harness.arguments.source).items():
            for panel in dashboards.panels(dashboard):
                for expression, _ in dashboards.queries(panel):
                    with self.subTest(dashboard=name, panel=panel["title"], query=expression):
                        wait_for(f"{name}, {panel['title']}: {expression}",
                                 lambda query=expression: self.series(query), 30)

    def test_the_variables_have_values(self):
        for label, series in (("instance", "whipsnake_build_info"),
                              ("model", "whipsnake_model_state")):
            values = self.prometheus.get(f"label/{label}/values", **{"match[]": series})
            self.assertTrue(values, label)

    def test_every_rule_is_evaluated(self):
        wait_for("the rules", lambda: all(
            rule["health"] == "ok" for rule in self.prometheus.rules()))
        for rule in self.prometheus.rules():
            if rule["type"] == "recording":
                with self.subTest(rule=rule["name"]):
                    wait_for(rule["name"], lambda name=rule["name"]: self.series(name))

    def test_the_autoscalers_query_counts_the_requests_that_wait(self):
        with open(monitoring.source("deploy/kubernetes/prometheus_adapter.yaml"),
                  encoding="utf-8") as file:
            query = yaml.safe_load(file)["rules"][0]["metricsQuery"]
        for place, text in (("<<.Series>>", "whipsnake_requests_waiting"),
                            ("<<.LabelMatchers>>", 'job="whipsnake"'),
                            ("<<.GroupBy>>", "instance")):
            query = query.replace(place, text)
        wait_for(query, lambda: self.series(query))

    @unittest.skipUnless(PICTURES, "PICTURES=DIR draws the dashboards")
    def test_pictures(self):
        import render_dashboards
        end = time.time()
        for name, dashboard in dashboards.read_dashboards(harness.arguments.source).items():
            render_dashboards.draw(dashboard, self.prometheus, self.prometheus.start + 10, end,
                                   os.path.join(PICTURES, f"dashboard-{name}.png"))


if __name__ == "__main__":
    monitoring.skip_without_prometheus()
    harness.main()
