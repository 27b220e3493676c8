"""Writes the dashboards:  python3 deploy/grafana/generator

A change is made in the modules of this folder, never in the JSON files, which
tests/deploy/deployment_test.py compares with what this writes.
"""
import json
import os
import sys

import engine
import finetuning
import overview

DASHBOARDS = {"overview": overview.DASHBOARD, "engine": engine.DASHBOARD,
              "finetuning": finetuning.DASHBOARD}
HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "../dashboards")
    for name, dashboard in DASHBOARDS.items():
        with open(os.path.join(folder, name + ".json"), "w", encoding="utf-8") as file:
            file.write(json.dumps(dashboard, indent=2) + "\n")


main()
