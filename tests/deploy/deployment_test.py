"""The files of deploy/ agree with one another, with the program and with the documentation.
Starts nothing."""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SKIPPED = 77
try:
    import yaml
except ImportError:
    print("SKIPPED: no module yaml; apt-get install python3-yaml")
    sys.exit(SKIPPED)

import dashboards
import metric_names

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROVISIONING = "deploy/grafana/provisioning"
SEVERITIES = {"critical", "warning"}
UNITS = {"none", "s", "bytes", "percentunit", "reqps", "ops", "cps"}
ABORT_SECONDS = 10  # of requests and uploads after the grace period; see Daemon::Wait
MARGIN_SECONDS = 20  # for the step and the checkpoint of a job that runs


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def read_yaml(path):
    return yaml.safe_load(read(path))


def rules(kind):
    """Returns the rules with the key `kind`: alert or record."""
    return [rule for path in ("recording", "alerts")
            for group in read_yaml(f"deploy/prometheus/rules/{path}.yml")["groups"]
            for rule in group["rules"] if kind in rule]


def container():
    return stateful_set()["spec"]["template"]["spec"]["containers"][0]


def stateful_set():
    return read_yaml("deploy/kubernetes/base/stateful_set.yaml")


def flag(arguments, name, default=None):
    return next((each.split("=", 1)[1] for each in arguments if each.startswith(f"--{name}=")),
                default)


class PrometheusRulesTest(unittest.TestCase):
    def test_every_alert_says_what_an_operator_needs(self):
        runbook = read("docs/runbook.md")
        headings = {"#" + re.sub(r"[^\w-]", "", line[3:].strip().lower().replace(" ", "-"))
                    for line in runbook.splitlines() if line.startswith("## ")}
        for rule in rules("alert"):
            with self.subTest(alert=rule["alert"]):
                self.assertIn(rule["labels"]["severity"], SEVERITIES)
                self.assertEqual(rule["annotations"].keys(),
                                 {"summary", "description", "runbook_url"})
                page, anchor = re.fullmatch(r"(.*)(#.*)",
                                            rule["annotations"]["runbook_url"]).groups()
                self.assertEqual((page, anchor), ("docs/runbook.md", "#" + rule["alert"].lower()))
                self.assertIn(anchor, headings)
                if "model" in rule["expr"]:
                    self.assertRegex(rule["annotations"]["description"], r"\$labels\.(base_)?model")

    def test_the_runbook_has_no_section_of_an_alert_that_is_gone(self):
        sections = re.findall(r"^## (Whipsnake\w+)$", read("docs/runbook.md"), re.MULTILINE)
        self.assertEqual(sections, [rule["alert"] for rule in rules("alert")])

    def test_every_section_of_the_runbook_is_complete(self):
        for section in re.split(r"^## (?=Whipsnake)", read("docs/runbook.md"),
                                flags=re.MULTILINE)[1:]:
            for part in ("**What it means.**", "**What users feel.**", "**Look.**", "**Mend.**"):
                with self.subTest(section=section.split("\n")[0]):
                    self.assertIn(part, section)

    def test_every_alert_has_a_case_of_promtool(self):
        cases = "".join(read(path) for path in glob.glob(f"{ROOT}/tests/deploy/rules/*.yml"))
        for rule in rules("alert"):
            self.assertIn(f'alertname="{rule["alert"]}"', cases)

    def test_every_metric_of_a_rule_is_exported(self):
        recorded = {rule["record"] for rule in rules("record")}
        for rule in rules("alert") + rules("record"):
            self.check_metrics(rule["expr"], recorded, rule.get("alert") or rule["record"])

    def test_every_metric_of_a_panel_is_exported(self):
        recorded = {rule["record"] for rule in rules("record")}
        for name, dashboard in dashboards.read_dashboards(ROOT).items():
            for panel in dashboards.panels(dashboard):
                for expression, _ in dashboards.queries(panel):
                    self.check_metrics(expression, recorded, f"{name}, {panel['title']}")

    def check_metrics(self, expression, recorded, where):
        self.assertLessEqual(metric_names.recorded_in(expression), recorded, where)
        self.assertLessEqual(metric_names.exported_in(expression), metric_names.of_program(ROOT),
                             where)


class DashboardsTest(unittest.TestCase):
    def test_the_files_are_those_of_the_generator(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, os.path.join(ROOT, "deploy/grafana/generator"), folder],
                           check=True, timeout=60,
                           env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
            for name in os.listdir(folder):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    self.assertEqual(file.read(), read("deploy/grafana/dashboards/" + name),
                                     f"{name} is stale: python3 deploy/grafana/generator")

    def test_panels_are_complete_and_do_not_overlap(self):
        for name, dashboard in dashboards.read_dashboards(ROOT).items():
            cells = set()
            for panel in dashboard["panels"]:
                grid = panel["gridPos"]
                taken = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"])
                         for y in range(grid["y"], grid["y"] + grid["h"])}
                self.assertFalse(cells & taken, f"{name}, {panel['title']}")
                self.assertLessEqual(grid["x"] + grid["w"], 24)
                cells |= taken
            for panel in dashboards.panels(dashboard):
                with self.subTest(dashboard=name, panel=panel["title"]):
                    defaults = panel["fieldConfig"]["defaults"]
                    self.assertTrue(panel["description"].endswith("."))
                    self.assertIn(defaults["unit"], UNITS)
                    self.assertTrue(defaults["noValue"])
                    self.assertEqual(panel["datasource"]["uid"], "${datasource}")
                    for target in panel["targets"]:
                        self.assertTrue(target["legendFormat"])

    def test_the_provisioned_data_source_is_that_of_the_dashboards(self):
        source = read_yaml(f"{PROVISIONING}/datasources/prometheus.yaml")["datasources"][0]
        for dashboard in dashboards.read_dashboards(ROOT).values():
            variable = dashboard["templating"]["list"][0]
            self.assertEqual(variable["current"]["value"], source["uid"])
            self.assertEqual(dashboard["links"][0]["tags"], dashboard["tags"])


class ComposeTest(unittest.TestCase):
    """The file's structure; no engine runs here."""

    def setUp(self):
        self.services = read_yaml("deploy/compose.yaml")["services"]

    @unittest.skipUnless(shutil.which("docker-compose"), "no docker-compose")
    def test_the_parser_of_compose_accepts_it(self):
        done = subprocess.run(["docker-compose", "-f", "deploy/compose.yaml", "config", "--quiet"],
                              cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_every_service_is_confined(self):
        for name, service in self.services.items():
            with self.subTest(service=name):
                self.assertTrue(service["read_only"])
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertEqual(service["security_opt"], ["no-new-privileges:true"])
                self.assertLessEqual({"cpus", "mem_limit", "pids_limit", "healthcheck", "restart"},
                                     service.keys())
                for port in service["ports"]:
                    self.assertTrue(port.startswith("127.0.0.1:"), port)

    def test_every_mounted_file_exists(self):
        volumes = read_yaml("deploy/compose.yaml")["volumes"]
        for service in self.services.values():
            for volume in service["volumes"]:
                place = re.sub(r"^\$\{\w+:-(.*?)\}", r"\1", volume).split(":")[0]
                path = os.path.join(ROOT, "deploy", place)
                self.assertTrue(place in volumes or os.path.exists(path), volume)

    def test_prometheus_finds_the_server_and_grafana_finds_prometheus(self):
        server = self.services["whipsnake"]["command"]
        port = flag(server, "http").rsplit(":", 1)[1]
        self.assertEqual(read_yaml("deploy/compose/targets.yml"),
                         [{"targets": [f"whipsnake:{port}"]}])
        source = read_yaml(f"{PROVISIONING}/datasources/prometheus.yaml")["datasources"][0]
        self.assertEqual(source["url"], "http://prometheus:9090")
        provider = read_yaml(f"{PROVISIONING}/dashboards/whipsnake.yaml")["providers"][0]
        mounts = [volume.split(":")[1] for volume in self.services["grafana"]["volumes"]]
        self.assertIn(provider["options"]["path"], mounts)

    def test_the_server_has_the_time_to_drain(self):
        server = self.services["whipsnake"]
        grace = int(flag(server["command"], "grace-period", 25))
        self.assertGreaterEqual(int(server["stop_grace_period"].removesuffix("s")),
                                grace + ABORT_SECONDS + MARGIN_SECONDS)

    def test_the_images_volume_is_where_the_data_are(self):
        directory = flag(self.services["whipsnake"]["command"], "data")
        self.assertEqual(os.path.dirname(directory), "/data")
        self.assertRegex(read("docker/Dockerfile"), r"install -d -o 65532 .* /data\n")


class KubernetesTest(unittest.TestCase):
    def test_the_rules_are_those_of_prometheus(self):
        rule = read_yaml("deploy/kubernetes/base/prometheus_rule.yaml")
        groups = [group for path in ("recording", "alerts")
                  for group in read_yaml(f"deploy/prometheus/rules/{path}.yml")["groups"]]
        self.assertEqual(rule["spec"]["groups"], groups,
                         "stale: python3 deploy/kubernetes/make_prometheus_rule.py")

    def test_the_pod_has_the_time_to_drain(self):
        wait = int(container()["lifecycle"]["preStop"]["exec"]["command"][1])
        grace = int(flag(container()["args"], "grace-period"))
        pod = stateful_set()["spec"]["template"]["spec"]
        self.assertGreaterEqual(pod["terminationGracePeriodSeconds"],
                                wait + grace + ABORT_SECONDS + MARGIN_SECONDS)
        liveness = container()["livenessProbe"]
        self.assertGreater(liveness["periodSeconds"] * liveness["failureThreshold"],
                           grace + ABORT_SECONDS)

    def test_the_probes_ask_the_health_service_on_the_port_of_grpc(self):
        port = int(flag(container()["args"], "listen").rsplit(":", 1)[1])
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            self.assertEqual(container()[probe]["grpc"]["port"], port)

    def test_the_pod_is_confined(self):
        pod = stateful_set()["spec"]["template"]["spec"]
        self.assertFalse(pod["automountServiceAccountToken"])
        self.assertTrue(pod["securityContext"]["runAsNonRoot"])
        self.assertEqual(pod["securityContext"]["runAsUser"], 65532)
        self.assertIn("USER 65532:65532", read("docker/Dockerfile"))
        self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
        self.assertEqual(container()["securityContext"], {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]}})

    def test_every_selector_selects_the_pods_of_the_server(self):
        base = "deploy/kubernetes/base/"
        labels = {"app.kubernetes.io/name": "whipsnake"}
        self.assertEqual(stateful_set()["spec"]["template"]["metadata"]["labels"], labels)
        for name, key in (("stateful_set", "selector"), ("pod_disruption_budget", "selector"),
                          ("service_monitor", "selector"), ("network_policy", "podSelector")):
            self.assertEqual(read_yaml(base + name + ".yaml")["spec"][key], {"matchLabels": labels},
                             name)
        self.assertEqual(read_yaml(base + "service.yaml")["spec"]["selector"], labels)

    def test_the_autoscalers_metric_is_that_of_the_adapter(self):
        scaler = read_yaml("deploy/kubernetes/base/horizontal_pod_autoscaler.yaml")
        metric = scaler["spec"]["metrics"][0]["pods"]["metric"]["name"]
        rule = read_yaml("deploy/kubernetes/prometheus_adapter.yaml")["rules"][0]
        self.assertEqual(rule["name"]["as"], metric)
        self.assertTrue(rule["seriesQuery"].startswith(metric + "{"))
        self.assertIn(metric, metric_names.of_program(ROOT))

    def test_ports_of_services_and_policies_are_those_of_the_container(self):
        ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
        service = read_yaml("deploy/kubernetes/base/service.yaml")["spec"]
        self.assertEqual({port["targetPort"]: port["port"] for port in service["ports"]}, ports)
        policy = read_yaml("deploy/kubernetes/base/network_policy.yaml")["spec"]["ingress"]
        self.assertEqual({rule["ports"][0]["port"] for rule in policy}, ports.keys())
        monitor = read_yaml("deploy/kubernetes/base/service_monitor.yaml")["spec"]["endpoints"][0]
        self.assertIn(monitor["port"], ports)


class SystemdTest(unittest.TestCase):
    UNIT = "deploy/systemd/whipsnake.service"

    def test_the_unit_waits_for_the_drain(self):
        stop = int(re.search(r"^TimeoutStopSec=(\d+)$", read(self.UNIT), re.MULTILINE)[1])
        grace = 25  # by default
        self.assertGreaterEqual(stop, grace + ABORT_SECONDS)

    @unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
    def test_the_sandbox_is_tight(self):
        rated = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager",
             os.path.join(ROOT, self.UNIT)], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(rated.returncode, 0, rated.stdout + rated.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
