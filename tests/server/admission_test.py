"""Tests that jobs keep to the memory of the server: what does not fit is refused with settings that
do, and what fits together runs together."""
import os
import tempfile
import time
import unittest

import harness
import job_client
import rpc_client

LARGE = {"train": "texts", "batch": 16, "max_length": 256, "max_steps": 3, "epochs": 1000}
# Runs until it is cancelled.
ENDLESS = {"train": "texts", "batch": 2, "max_length": 64, "max_steps": 100_000, "epochs": 100_000}
DEFAULT_FRACTION = 0.9  # of --memory-fraction


def import_stubs():
    job_client.import_stubs()
    globals().update(rpc_client.import_stubs())


class AdmissionTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="whipsnake-admission-")
        cls.daemon = None
        cls.start()
        cls.client.upload("texts", job_client.texts(400))
        info = cls.info()
        cls.machine_bytes = info.memory_limit_bytes / DEFAULT_FRACTION
        cls.model_bytes = info.memory_used_bytes

    @classmethod
    def tearDownClass(cls):
        code = cls.daemon.close()
        cls.directory.cleanup()
        assert code == 0, code

    @classmethod
    def start(cls, *flags):
        if cls.daemon:
            assert cls.daemon.close() == 0
        cls.daemon = job_client.JobDaemon(os.path.join(cls.directory.name, "data"), *flags)
        cls.client = job_client.JobClient(cls.daemon)

    @classmethod
    def start_with(cls, job_bytes):
        """Starts the daemon again, with so much memory beside its models."""
        fraction = (cls.model_bytes + job_bytes) / cls.machine_bytes
        cls.start("--memory-fraction", f"{fraction:.9f}")

    @classmethod
    def info(cls):
        return cls.daemon.client.admin.GetServerInfo(admin_pb2.GetServerInfoRequest())

    def assert_within_its_plan(self, job):
        self.assertLessEqual(job.result.peak_bytes, job.plan.bytes)
        for event in self.client.events(job.id):
            self.assertLessEqual(event.step.peak_bytes, job.plan.bytes)

    def test_what_does_not_fit_is_refused_with_settings_that_do(self):
        needed = self.client.plan(**LARGE).plan.bytes
        self.start_with(needed * 3 // 4)
        self.client.create("too-large", **LARGE)
        refused = self.client.wait_for_state("too-large",
                                             fine_tuning_pb2.FINE_TUNING_JOB_STATE_FAILED)
        self.assertEqual(refused.error.reason, "PLAN_EXCEEDS_MEMORY")
        self.assertEqual(refused.plan.bytes, needed)
        self.assertIn(str(needed), refused.error.message)
        fitting = [candidate for candidate in refused.candidates if candidate.fits]
        self.assertTrue(fitting)
        available = self.client.plan(**LARGE).available_bytes
        for candidate in refused.candidates:
            self.assertEqual(candidate.fits, candidate.bytes <= available, candidate)
        self.assertIn(fitting[0].settings, refused.error.message)

        settings = {field.name: value for field, value in fitting[0].spec.ListFields()}
        self.client.create("with-settings", **LARGE, **settings)
        job = self.client.finish("with-settings")
        self.assertEqual(job.plan.bytes, fitting[0].bytes)
        self.assert_within_its_plan(job)

        self.client.create("with-budget", **LARGE, memory_budget=available)
        job = self.client.finish("with-budget")
        self.assertLessEqual(job.plan.bytes, available)
        self.assert_within_its_plan(job)

    def test_jobs_run_together_if_they_fit_together(self):
        running = fine_tuning_pb2.FINE_TUNING_JOB_STATE_RUNNING
        needed = self.client.plan(**ENDLESS).plan.bytes
        self.start_with(needed * 5 // 2)
        limit = self.info().memory_limit_bytes
        for name in ("first", "second"):
            self.client.create(name, **ENDLESS)
            self.client.wait_for_step(name, 2)
        self.client.create("third", **ENDLESS)
        while "of memory" not in self.client.get("third").waits_for:
            time.sleep(0.01)
        for name in ("first", "second"):
            job = self.client.get(name)
            self.assertEqual(job.state, running)
            self.client.wait_for_step(name, job.progress.step + 2)
            self.assertLessEqual(self.info().memory_used_bytes, limit)
            self.assert_within_its_plan(job)
        self.assertEqual(self.client.get("third").state,
                         fine_tuning_pb2.FINE_TUNING_JOB_STATE_QUEUED)
        self.client.cancel("first")
        self.client.wait_for_state("third", running)
        for name in ("second", "third"):
            self.client.cancel(name)
            self.client.wait_for_state(name, fine_tuning_pb2.FINE_TUNING_JOB_STATE_CANCELLED)
        self.assertEqual(self.daemon.metric("whipsnake_device_memory_purpose_bytes",
                                            device="cpu", purpose="jobs"), 0)


if __name__ == "__main__":
    harness.main(before_tests=import_stubs)
