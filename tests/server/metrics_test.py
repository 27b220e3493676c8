"""Tests of the metrics of a server that has served, refused, failed, trained and quantized: every
family of tests/goldens/metrics.txt is there, has the labels and buckets that stand there, and has
been set."""
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest

import harness
import job_client
import rpc_client

# What may be 0 all the time here: it takes an overload, a second server or a moment to see it.
STILL = {
    "whipsnake_connections_turned_away_total", "whipsnake_draining", "whipsnake_requests_waiting",
    "whipsnake_quantizations_running", "whipsnake_quantizations_waiting",
}
ENDLESS = {"train": "texts", "eval": "texts", "batch": 2, "max_length": 32, "max_steps": 100_000,
           "epochs": 100_000, "evaluate_every": 4, "scheduler": "slimfit", "freezing_rate": 0.5}
LONG = {"max_new_tokens": 480, "ignore_eos": True}


def import_stubs():
    job_client.import_stubs()
    globals().update(rpc_client.import_stubs())


class Golden:
    """A line of the golden file: NAME TYPE {LABEL,LABEL=VALUE|VALUE} le=BOUND,BOUND"""

    def __init__(self, line):
        self.name, self.type, labels, *bounds = line.split()
        self.labels = {}
        for label in filter(None, labels.strip("{}").split(",")):
            key, _, values = label.partition("=")
            self.labels[key] = set(values.split("|")) if values else None
        self.bounds = [float(bound) for bound in bounds[0][3:].split(",")] if bounds else []


class Page:
    """The samples of one scrape, by family."""

    def __init__(self, text):
        self.types, self.samples = {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, family, kind = line.split()
                self.types[family] = kind
                self.samples[family] = []
            elif not line.startswith("#"):
                name, labels, value = re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line).groups()
                pairs = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")
                self.samples[family].append((name, dict(pairs), float(value)))


class MetricsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="whipsnake-metrics-")
        cls.daemon = job_client.JobDaemon(os.path.join(cls.directory.name, "data"))
        cls.client = job_client.JobClient(cls.daemon)
        cls.pages = []
        with open(os.path.join(harness.arguments.source, "tests/goldens/metrics.txt"),
                  encoding="utf-8") as file:
            cls.golden = [Golden(line) for line in file]
        cls.serve()
        cls.refuse()
        cls.train()
        cls.fail_a_checkpoint()
        cls.quantize()
        cls.scrape()

    @classmethod
    def tearDownClass(cls):
        code = cls.daemon.close()
        cls.directory.cleanup()
        assert code == 0, code

    @classmethod
    def scrape(cls):
        cls.pages.append(Page(cls.daemon.get("/metrics")))

    @classmethod
    def stream(cls, model, text="1 2 3 4 5 6 7 8", **fields):
        parameters = generation_pb2.GenerationParameters(
            model=model, text=text, stopping=generation_pb2.Stopping(**LONG), **fields)
        return cls.daemon.client.generation.StreamGenerate(
            generation_pb2.StreamGenerateRequest(parameters=parameters), timeout=harness.PATIENCE)

    @classmethod
    def serve(cls):
        output = generation_pb2.OutputOptions(save_state=generation_pb2.StateRetention())
        for model in ("demo", job_client.MODEL):
            for _ in range(2):  # the second one finds the first one's prompt in the cache
                request = generation_pb2.GenerateRequest(
                    parameters=generation_pb2.GenerationParameters(
                        model=model, text="7 coil viper adder " * 8, output=output,
                        stopping=generation_pb2.Stopping(max_new_tokens=4)))
                cls.daemon.client.generation.Generate(request, timeout=harness.PATIENCE)
            stream = cls.stream(model)
            while next(stream).WhichOneof("event") != "delta":
                pass
            cls.scrape()
            stream.cancel()

    @classmethod
    def refuse(cls):
        """More requests than lines of one kind that the log takes at once."""
        for _ in range(60):
            try:
                list(cls.stream("demo", sampling=generation_pb2.Sampling(temperature=-1)))
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error

    @classmethod
    def train(cls):
        """Trains until training has let serving in, and some time has been measured of all."""
        cls.client.upload("texts", job_client.texts(40))
        cls.client.create("endless", **ENDLESS)
        deadline = time.monotonic() + harness.PATIENCE
        while not cls.daemon.metric("whipsnake_finetune_preemptions_total"):
            assert time.monotonic() < deadline
            cls.client.greedy_text(job_client.MODEL)
        cls.client.wait_for_step("endless", 5)
        cls.scrape()
        cls.client.pause("endless")
        cls.client.wait_for_state("endless", fine_tuning_pb2.FINE_TUNING_JOB_STATE_PAUSED)
        cls.scrape()

    @classmethod
    def fail_a_checkpoint(cls):
        job = cls.client.create("fails", checkpoint_every=3, **ENDLESS)
        cls.client.wait_for_step("fails", 1)
        checkpoints = os.path.join(cls.client.directory_of(job), "checkpoints")
        os.rename(checkpoints, checkpoints + ".away")
        with open(checkpoints, "w", encoding="utf-8"):  # nothing can be made below a file
            cls.daemon.wait_for_metric("whipsnake_finetune_checkpoints_total", 1, result="failed")
        cls.client.wait_for_state("fails", fine_tuning_pb2.FINE_TUNING_JOB_STATE_FAILED)

    @classmethod
    def quantize(cls):
        shutil.copytree(harness.demo_model(), os.path.join(cls.daemon.root, "float"))
        request = model_pb2.QuantizeModelRequest(path="float", output_path="int8",
                                                 texts=["adder boa coil viper"] * 100)
        job = cls.daemon.client.models.QuantizeModel(request).quantization
        for message in cls.daemon.client.models.WatchQuantization(
                model_pb2.WatchQuantizationRequest(id=job.id), timeout=harness.PATIENCE):
            last = message.quantization
        assert last.state == model_pb2.QUANTIZATION_STATE_SUCCEEDED, last

    def samples(self, name):
        return [sample for page in self.pages for sample in page.samples[name]]

    def test_the_families_are_those_of_the_golden_file(self):
        for page in self.pages:
            self.assertEqual(page.types, {golden.name: golden.type for golden in self.golden})

    def test_labels_and_buckets_are_those_of_the_golden_file(self):
        for golden in self.golden:
            with self.subTest(golden.name):
                for _, labels, _ in self.samples(golden.name):
                    self.assertEqual(labels.keys() - {"le"}, golden.labels.keys())
                    for label, values in golden.labels.items():
                        self.assertTrue(values is None or labels[label] in values, labels)
                bounds = {float(labels["le"]) for _, labels, _ in self.samples(golden.name)
                          if "le" in labels}
                self.assertEqual(sorted(bounds), golden.bounds)

    def test_every_family_is_set(self):
        for golden in self.golden:
            with self.subTest(golden.name):
                values = [value for _, _, value in self.samples(golden.name)]
                self.assertTrue(values, "it has no series")
                self.assertTrue(golden.name in STILL or any(values), "all values are 0")

    def test_counters_never_decrease(self):
        for golden in self.golden:
            if golden.type != "counter":
                continue
            seen = {}
            for _, labels, value in self.samples(golden.name):
                key = (golden.name, *sorted(labels.items()))
                self.assertGreaterEqual(value, seen.get(key, 0), key)
                seen[key] = value

    def test_a_job_that_ended_leaves_no_gauges(self):
        deadline = time.monotonic() + harness.PATIENCE
        while "slot=" in (text := self.daemon.get("/metrics")):
            self.assertLess(time.monotonic(), deadline, text)
            time.sleep(0.02)

    def test_a_failed_checkpoint_is_an_error_in_the_log_and_an_event(self):
        self.assertIn(" error a checkpoint could not be written ", self.daemon.read_log())
        self.assertGreater(self.daemon.metric("whipsnake_disk_errors_total", kind="other"), 0)
        texts = [event.message for event in self.client.events("fails") if event.message]
        self.assertTrue(any("could not be written" in text for text in texts), texts)
        self.assertFalse(any(self.directory.name in text for text in texts), texts)

    def test_the_messages_have_the_values_of_the_text(self):
        request = admin_pb2.GetMetricsRequest(format=admin_pb2.METRICS_FORMAT_MESSAGES)
        families = self.daemon.client.admin.GetMetrics(request).families
        self.assertEqual([family.name for family in families],
                         [golden.name for golden in self.golden])
        page = Page(self.daemon.get("/metrics"))
        # Of models: nothing changes these any more.
        for family in families:
            if not family.name.startswith("whipsnake_request"):
                continue
            samples = {}
            for metric in family.metric:
                labels = {label.name: label.value for label in metric.label}

                def put(suffix, value, **more):
                    key = (family.name + suffix, *sorted({**labels, **more}.items()))
                    samples[key] = value
                if metric.HasField("histogram"):
                    put("_count", metric.histogram.sample_count)
                    put("_sum", metric.histogram.sample_sum)
                    for bucket in metric.histogram.bucket:
                        put("_bucket", bucket.cumulative_count,
                            le=f"{bucket.upper_bound:g}".replace("inf", "+Inf"))
                else:
                    put("", metric.counter.value or metric.gauge.value)
            text = {(name, *sorted(labels.items())): value
                    for name, labels, value in page.samples[family.name]}
            self.assertEqual(samples.keys(), text.keys())
            for key, value in samples.items():
                self.assertAlmostEqual(value, text[key], places=4, msg=str(key))

    def test_the_command_prints_one_object_for_each_family(self):
        flags = ("server", "metrics", "--family", "whipsnake_request", "--server", self.daemon.grpc)
        lines = harness.whipsnake(*flags, "--json").stdout.splitlines()
        names = [json.loads(line)["name"] for line in lines]
        self.assertEqual(names, [golden.name for golden in self.golden
                                 if golden.name.startswith("whipsnake_request")])
        text = harness.whipsnake(*flags).stdout
        self.assertEqual([line.split()[2] for line in text.splitlines()
                          if line.startswith("# TYPE ")], names)

    def test_a_format_that_is_none_is_refused(self):
        with self.assertRaises(grpc.RpcError) as caught:
            self.daemon.client.admin.GetMetrics(admin_pb2.GetMetricsRequest(format=9))
        self.assertIn("METRICS_FORMAT_TEXT", caught.exception.details())

    def test_promtool_accepts_the_page(self):
        promtool = shutil.which("promtool")
        if promtool is None:
            self.skipTest("promtool is not installed (Debian's package prometheus)")
        checked = subprocess.run([promtool, "check", "metrics"], input=self.daemon.get("/metrics"),
                                 capture_output=True, text=True, check=False)
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)


if __name__ == "__main__":
    harness.main(import_stubs)
