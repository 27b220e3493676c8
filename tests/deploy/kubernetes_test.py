"""deploy/kubernetes, rendered by kustomize and validated against the schemas of the Kubernetes API.

Needs kubectl with kustomize 5 (Debian 13's package kubernetes-client) and kubernetes-validate
(from PyPI: python3 -m venv VENV && VENV/bin/pip install kubernetes-validate), found in PATH or
named by KUBERNETES_VALIDATE. Resources of the Prometheus operator have no schema there and are only
parsed.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VALIDATE = os.environ.get("KUBERNETES_VALIDATE", "kubernetes-validate")
OVERLAYS = ("cpu", "gpu")
KINDS = {"Service", "PersistentVolumeClaim", "StatefulSet", "PodDisruptionBudget",
         "HorizontalPodAutoscaler", "NetworkPolicy", "ServiceMonitor", "PrometheusRule"}
WITHOUT_SCHEMA = {"ServiceMonitor", "PrometheusRule"}
VERSIONS = ("1.30", "1.32")  # of Kubernetes; 1.27 is the oldest with probes by gRPC
SKIPPED = 77


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120,
                          check=False)


def missing():
    """Returns what is missing, or None."""
    if not os.environ.get("WHIPSNAKE_LONG_TESTS"):
        return "./dev test --long runs it, WHIPSNAKE_LONG_TESTS=yes too"
    if shutil.which("kubectl") is None:
        return "no kubectl"
    versions = json.loads(run("kubectl", "version", "--client", "--output=json").stdout)
    version = versions.get("kustomizeVersion", "v0")
    if int(re.match(r"v(\d+)", version)[1]) < 5:
        return f"kubectl has kustomize {version}, expected 5"
    if shutil.which(VALIDATE) is None:
        return f"no {VALIDATE}"
    return None


def render(overlay):
    done = run("kubectl", "kustomize", f"deploy/kubernetes/overlays/{overlay}")
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout


class KubernetesTest(unittest.TestCase):
    def test_rendered_resources_are_valid(self):
        for overlay in OVERLAYS:
            text = render(overlay)
            self.assertEqual({each["kind"] for each in yaml.safe_load_all(text)}, KINDS)
            with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
                file.write(text)
                file.flush()
                for version in VERSIONS:
                    with self.subTest(overlay=overlay, version=version):
                        done = run(VALIDATE, "--strict", "-k", version, file.name)
                        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                        passed = re.findall(r"passed for resource (\w+)/",
                                            done.stdout + done.stderr)
                        self.assertEqual(set(passed),
                                         {kind.lower() for kind in KINDS - WITHOUT_SCHEMA})

    def test_the_container_has_its_models_and_limits(self):
        for overlay in OVERLAYS:
            resources = {each["kind"]: each for each in yaml.safe_load_all(render(overlay))}
            container = resources["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]
            self.assertEqual(container["resources"]["requests"], container["resources"]["limits"])
            self.assertEqual(any(each.startswith("--model=") for each in container["args"]),
                             overlay == "cpu")


if __name__ == "__main__":
    if missing():
        print("SKIPPED:", missing())
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
