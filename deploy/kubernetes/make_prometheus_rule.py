"""Writes base/prometheus_rule.yaml, the rules of deploy/prometheus for the Prometheus operator:

    /usr/bin/python3 deploy/kubernetes/make_prometheus_rule.py

The rules are changed there, never in the file that this writes, which
tests/deploy/deployment_test.py compares with them.
"""
import os

HERE = os.path.dirname(os.path.abspath(__file__))
RULES = os.path.join(HERE, "../prometheus/rules")
HEAD = """# Made from deploy/prometheus/rules by make_prometheus_rule.py.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: whipsnake
spec:
  groups:
"""


def groups(name):
    """Returns the lines of a file of rules after `groups:`, with their comments."""
    with open(os.path.join(RULES, name), encoding="utf-8") as file:
        text = file.read()
    return text.split("groups:\n", 1)[1]


def rule():
    lines = (groups("recording.yml") + "\n" + groups("alerts.yml")).splitlines()
    return HEAD + "".join(("  " + line).rstrip() + "\n" for line in lines)


if __name__ == "__main__":
    with open(os.path.join(HERE, "base/prometheus_rule.yaml"), "w", encoding="utf-8") as output:
        output.write(rule())
