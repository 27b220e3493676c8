"""Writes the dashboards:  python3 deploy/grafana/generator

A change is made in the modules of this folder, never in the JSON files; tests/deploy/deployment_test.py compares them.
"""
import json
import os
import sys

import engine
import finetuning
import overview

DASHBOARDS = {"overview": overview.DASHBOARD, "engine": engine.DASHBOARD, "finetuning": finetuning.DASHBOARD}


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "../dashboards")
    for name, dashboard in DASHBOARDS.items():
        with open(os.path.join(folder, name + ".json"), "w", encoding="utf-8") as file:
            file.write(json.dumps(dashboard, indent=2) + "\n")


main()
