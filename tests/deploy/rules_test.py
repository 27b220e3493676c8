"""The rules of deploy/prometheus with promtool: their syntax, and the cases of tests/deploy/rules.

The cases are themselves tested: they must fail for a copy of the rules in which one alert never
fires, and for one in which it always fires. So each alert has a case in which it fires and one in
which it does not.
"""
import copy
import glob
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RULES = "deploy/prometheus/rules"
CASES = "tests/deploy/rules"
SKIPPED = 77


def promtool(*arguments, root=ROOT):
    return subprocess.run(["promtool", *arguments], cwd=root, capture_output=True, text=True,
                          timeout=60, check=False)


def paths(pattern, root=ROOT):
    return sorted(glob.glob(os.path.join(root, pattern)))


class RulesTest(unittest.TestCase):
    def test_the_configuration_and_the_rules_are_valid(self):
        for command in (["check", "config", "deploy/prometheus/prometheus.yml"],
                        ["check", "rules", "--lint-fatal", *paths(f"{RULES}/*.yml")]):
            done = promtool(*command)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_cases_pass(self):
        done = promtool("test", "rules", *paths(f"{CASES}/*.yml"))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    @unittest.skipUnless(os.environ.get("WHIPSNAKE_LONG_TESTS"),
                         "it takes minutes: ./dev test --long")
    def test_the_cases_notice_an_alert_that_never_fires_or_always_does(self):
        with open(os.path.join(ROOT, RULES, "alerts.yml"), encoding="utf-8") as file:
            rules = yaml.safe_load(file)
        alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
        for alert in alerts:
            for expression in ("vector(1) < 0", "vector(1)"):
                with self.subTest(alert=alert, expression=expression):
                    self.assertNotEqual(self.run_cases_with(rules, alert, expression), 0)

    def run_cases_with(self, rules, alert, expression):
        """Returns the status of the cases with another expression for one alert."""
        changed = copy.deepcopy(rules)
        for rule in (rule for group in changed["groups"] for rule in group["rules"]):
            if rule["alert"] == alert:
                rule["expr"] = expression
        with tempfile.TemporaryDirectory() as root:
            for folder in (RULES, CASES):
                shutil.copytree(os.path.join(ROOT, folder), os.path.join(root, folder))
            with open(os.path.join(root, RULES, "alerts.yml"), "w", encoding="utf-8") as file:
                yaml.safe_dump(changed, file)
            return promtool("test", "rules", *paths(f"{CASES}/*.yml", root), root=root).returncode


if __name__ == "__main__":
    if shutil.which("promtool") is None:
        print("SKIPPED: no promtool; apt-get install prometheus (which also starts a Prometheus on "
              "port 9090)")
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
