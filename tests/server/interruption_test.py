"""Tests that pauses, stops of the server, and what is served beside it do not change what a job does:
the result is the same, bit for bit, and every step is taken once."""
import os
import tempfile
import unittest

import harness
import job_client
import rpc_client

STEPS = 30
# Dropout, several epochs and an evaluation, so that a job goes on in the middle of each.
SPEC = {"train": "texts", "eval": "texts", "max_steps": STEPS, "epochs": 1000, "batch": 4,
        "max_length": 64, "dropout": 0.1, "lr": 1e-3, "checkpoint_every": 10, "evaluate_every": 12}


def import_stubs():
    job_client.import_stubs()
    globals().update(rpc_client.import_stubs())


class InterruptionTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="whipsnake-interruption-")
        cls.start()
        cls.client.upload("texts", job_client.texts(100))
        cls.client.create("whole", **SPEC)
        cls.digest = cls.client.digest_of_result(cls.client.finish("whole"))
        cls.losses = cls.losses_of("whole")
        assert [step for step, _ in cls.losses] == list(range(1, STEPS + 1)), cls.losses

    @classmethod
    def tearDownClass(cls):
        code = cls.daemon.close()
        cls.directory.cleanup()
        assert code == 0, code

    @classmethod
    def start(cls, *flags):
        cls.daemon = job_client.JobDaemon(os.path.join(cls.directory.name, "data"), *flags)
        cls.client = job_client.JobClient(cls.daemon)

    @classmethod
    def losses_of(cls, name):
        """Returns the steps and losses that the events tell of, in their order."""
        return [(event.step.step, event.step.loss) for event in cls.client.events(name)
                if event.HasField("step")]

    def begin(self, name, step):
        """Makes a job and waits for a step."""
        self.client.create(name, **SPEC)
        self.client.wait_for_step(name, step)

    def pause(self, name):
        self.client.pause(name)
        self.client.wait_for_state(name, fine_tuning_pb2.FINE_TUNING_JOB_STATE_PAUSED)

    def stop(self):
        """Stops the daemon as an operator would."""
        self.assertEqual(self.daemon.close(), 0)

    def assert_as_uninterrupted(self, name):
        job = self.client.finish(name)
        self.assertEqual(self.client.digest_of_result(job), self.digest)
        self.assertEqual(self.losses_of(name), self.losses)
        self.assertEqual(job.attempt, 1)

    def test_pauses(self):
        self.begin("paused", 1)
        for step in (4, 12, 13):
            self.client.wait_for_step("paused", step)
            self.pause("paused")
            self.assertEqual(self.daemon.metric("whipsnake_device_memory_purpose_bytes",
                                                device="cpu", purpose="jobs"), 0)
            self.client.resume("paused")
        self.assert_as_uninterrupted("paused")

    def test_stops(self):
        self.begin("stopped", 5)
        for _ in range(2):
            self.stop()
            self.start()
            last = len(self.losses_of("stopped"))
            self.assertGreaterEqual(last, 5)
            self.client.wait_for_step("stopped", min(last + 3, STEPS))
        self.assert_as_uninterrupted("stopped")

    def test_a_stop_within_a_short_grace_period(self):
        self.stop()
        self.start("--grace-period", "0")
        self.begin("cut-off", 5)
        self.stop()
        self.start()
        self.assert_as_uninterrupted("cut-off")

    def test_a_pause_lasts_through_a_stop(self):
        self.begin("kept", 7)
        self.pause("kept")
        steps = self.losses_of("kept")
        self.stop()
        self.start()
        self.assertEqual(self.client.get("kept").state,
                         fine_tuning_pb2.FINE_TUNING_JOB_STATE_PAUSED)
        self.assertEqual(self.losses_of("kept"), steps)
        self.client.resume("kept")
        self.assert_as_uninterrupted("kept")

    def generate(self, tokens):
        """Begins a stream of so many tokens, and returns its events once there is one."""
        parameters = generation_pb2.GenerationParameters(
            model="demo", text="Elizabeth was", stopping=generation_pb2.Stopping(
                max_new_tokens=tokens, ignore_eos=True))
        events = self.client.stubs.generation.StreamGenerate(
            generation_pb2.StreamGenerateRequest(parameters=parameters), timeout=harness.PATIENCE)
        while not next(events).HasField("delta"):
            pass
        return events

    def test_a_request_in_progress_is_finished_while_a_job_stops(self):
        self.begin("beside", 2)
        events = self.generate(tokens=2000)
        self.daemon.terminate()
        self.assertTrue(list(events)[-1].HasField("finished"))
        self.assertEqual(self.daemon.wait(), 0)
        self.stop()
        self.start()
        self.assert_as_uninterrupted("beside")

    def test_shares_and_threads(self):
        for share, threads in (("0.1", "2"), ("0.9", "1")):
            self.stop()
            self.start("--training-share", share, "--threads", threads)
            name = "share-" + share
            self.begin(name, 2)
            self.assertTrue(list(self.generate(tokens=1000))[-1].HasField("finished"))
            self.assert_as_uninterrupted(name)
        self.stop()
        self.start()


if __name__ == "__main__":
    harness.main(before_tests=import_stubs)
