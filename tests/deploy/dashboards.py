"""The dashboards as data: their panels, and their queries with the variables in their places."""
import glob
import json
import os

VARIABLES = {"$instance": ".*", "$model": ".*", "$__rate_interval": "15s"}


def read_dashboards(root):
    """Returns the dashboards by the names of their files."""
    dashboards = {}
    for path in sorted(glob.glob(os.path.join(root, "deploy/grafana/dashboards/*.json"))):
        with open(path, encoding="utf-8") as file:
            dashboards[os.path.splitext(os.path.basename(path))[0]] = json.load(file)
    return dashboards


def panels(dashboard):
    """Returns the panels that show data."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def substituted(expression):
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return expression


def queries(panel):
    """Returns [(expression, legend)], with the variables in their places."""
    return [(substituted(target["expr"]), target["legendFormat"]) for target in panel["targets"]]
