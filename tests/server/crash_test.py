"""Kills the daemon at random moments, and checks that nothing is lost and every result is the same.

    tests/server/crash_test.py --binary build/release/whipsnake --source . --rounds 100

In a round a client uploads a data set, fine-tunes the demo GPT-2 with it, follows the job's events,
promotes the result and asks it something; then it deletes a job and a version of earlier rounds. The
daemon is killed in some of the PHASES, and sometimes again while it starts. After each restart all
that replies have said is compared with what the daemon says now. All rounds share a data directory.

Prints its seed first, and last how often it has killed the daemon in each phase.
"""
import argparse
import collections
import glob
import os
import random
import subprocess
import sys
import tempfile
import threading
import time

import harness
import job_client
import rpc_client

STEPS = 24
CHECKPOINT_EVERY = 6
CHECKPOINT_SECONDS = 0.5  # of the daemon, which then writes a checkpoint although none is due
SPEC = {"max_steps": STEPS, "epochs": 1000, "batch": 4, "max_length": 64, "dropout": 0.1, "lr": 1e-3,
        "checkpoint_every": CHECKPOINT_EVERY, "keep_checkpoints": 2, "evaluate_every": STEPS // 2}
TUNED = "tuned"  # the model that all rounds promote to
KEPT_ROUNDS = 2  # whose jobs and versions are not deleted

# Where the daemon is killed, and within how many seconds after that has begun. Writing a checkpoint
# or a result begins when its temporary directory is there; the last checkpoint is killed when its
# directory is there, which is before its record is.
PHASES = {"upload": 0.03, "validation": 0.03, "creation": 0.01, "planning": 0.3, "training": 0.2,
          "checkpoint": 0.05, "last checkpoint": 0.005, "result": 0.03, "promotion": 0.2,
          "deletion": 0.02}
KILLS_IN_A_ROUND = 3
START = "start after a crash"
LONGEST_START = 0.2


def import_stubs():
    job_client.import_stubs()
    globals().update(rpc_client.import_stubs())


class Facts:
    """What replies of the daemon have said."""

    def __init__(self):
        self.received = {}  # bytes of uploads, by id
        self.datasets = {}  # complete ones, by id
        self.jobs = {}  # as last seen, by id
        self.events = collections.defaultdict(dict)  # by job and id
        self.checkpoints = collections.defaultdict(int)  # the last one of each job
        self.versions = {}  # by number
        self.deleted_jobs = set()
        self.deleted_versions = set()

    def check(self, client):
        for name, received in self.received.items():
            assert client.received_bytes(name) >= received, (name, received)
        for name, dataset in self.datasets.items():
            self.check_dataset(dataset, client.get_dataset(name))
        for name, job in self.jobs.items():
            self.check_job(job, client.get(name))
            self.check_events(name, client.events(name))
            steps = client.checkpoints(name)
            assert max(steps, default=0) >= self.checkpoints[name], (name, steps)
        for name in self.deleted_jobs:
            assert client.find(name) is None, name
        self.check_versions(client.versions(TUNED))

    @staticmethod
    def check_dataset(before, now):
        if before.state == dataset_pb2.DATASET_STATE_READY:
            assert now == before, (before, now)
        assert now.received_bytes == now.size_bytes, now
        assert (now.uid, now.digest) == (before.uid, before.digest), (before, now)

    @staticmethod
    def check_job(before, now):
        if before.state == fine_tuning_pb2.FINE_TUNING_JOB_STATE_SUCCEEDED:
            assert now == before, (before, now)
        for field in ("uid", "spec", "create_time", "train", "eval"):
            assert getattr(now, field) == getattr(before, field), (before, now)
        assert now.state != fine_tuning_pb2.FINE_TUNING_JOB_STATE_FAILED, now

    def check_events(self, name, events):
        ids = [event.id for event in events]
        assert ids == sorted(set(ids)), ids
        found = dict(zip(ids, events))
        for number, event in self.events[name].items():
            assert found.get(number) == event, (name, event, found.get(number))

    def check_versions(self, versions):
        for number, version in self.versions.items():
            for field in ("name", "source_job", "checkpoint_step", "create_time"):
                assert getattr(versions[number], field) == getattr(version, field), versions
        assert not self.deleted_versions & set(versions), versions
        serving = [number for number, version in versions.items() if version.serving]
        assert max(serving, default=0) >= max(self.versions, default=0), versions


class Killer:
    """Kills daemons in the phases that are planned for a round, one after the other."""

    def __init__(self, generator):
        self.random = generator
        self.deck = []  # of phases, so that all have their turn
        self.planned = set()
        self.kills = collections.Counter()
        self.thread = None  # of a kill that waits
        self.given_up = threading.Event()
        self.has_killed = False

    def plan_round(self):
        if len(self.deck) < KILLS_IN_A_ROUND:
            self.deck = list(PHASES)
            self.random.shuffle(self.deck)
        self.planned = {self.deck.pop() for _ in range(KILLS_IN_A_ROUND)}

    def enter(self, daemon, phase, has_begun):
        if self.thread is not None or phase not in self.planned:
            return
        self.planned.remove(phase)
        delay = self.random.uniform(0, PHASES[phase])
        self.thread = threading.Thread(target=self.kill, args=(daemon, phase, has_begun, delay))
        self.thread.start()

    def kill(self, daemon, phase, has_begun, delay):
        while not has_begun():
            if self.given_up.wait(0.001):
                return
        if not self.given_up.wait(delay):
            self.kills[phase] += 1
            self.has_killed = True
            daemon.process.kill()

    def reset(self):
        """Gives up the kill that waits, if there is one."""
        self.given_up.set()
        if self.thread is not None:
            self.thread.join()
        self.thread = None
        self.given_up.clear()
        self.has_killed = False


class Round:
    """What a client does with one data set, one job and one version. Each step can be repeated,
    because a daemon may be killed before or after it has done what was asked for."""

    def __init__(self, test, name):
        self.test, self.name = test, name
        self.facts = test.facts
        self.steps_seen = 0
        # At how many steps training begins for the killer.
        self.late = test.random.randrange(STEPS)
        self.pieces = 3  # of the upload: all but the last are cut off

    def run(self):
        while True:
            try:
                for step in (self.upload, self.validate, self.create, self.follow, self.promote,
                             self.ask, self.delete):
                    step()
                return
            except grpc.RpcError:
                if not self.test.killer.has_killed:
                    raise
            self.test.restart()

    @property
    def client(self):
        return self.test.client

    def enter(self, phase, has_begun=lambda: True):
        self.test.killer.enter(self.test.daemon, phase, has_begun)

    def upload(self):
        while self.name not in self.facts.datasets:
            self.enter("upload")
            received = self.client.received_bytes(self.name)
            assert received >= self.facts.received.get(self.name, 0), received
            self.facts.received[self.name] = received
            self.pieces -= 1
            end = received + len(self.test.contents) // 4 if self.pieces > 0 else None
            call = self.client.begin_upload(self.name, self.test.contents, received, end)
            if end is not None:
                time.sleep(self.test.random.uniform(0, 0.01))
                call.cancel()
                continue
            try:
                self.facts.datasets[self.name] = call.result().dataset
            except grpc.RpcError as error:
                # The call that was cut off still runs, or has received more meanwhile.
                if error.code() not in (grpc.StatusCode.ABORTED,
                                        grpc.StatusCode.FAILED_PRECONDITION):
                    raise

    def validate(self):
        self.enter("validation")
        self.facts.datasets[self.name] = self.client.wait_for_dataset(self.name)

    def create(self):
        self.enter("creation")
        self.facts.jobs[self.name] = self.client.create(self.name, train=self.name, eval=self.name,
                                                        **SPEC)
        self.enter("planning")
        self.hurry()

    def hurry(self):
        """Mostly does not wait for the next attempt after a crash: a resumed job runs at once."""
        job = self.client.get(self.name)
        if job.HasField("next_attempt_time") and self.test.random.random() < 0.9:
            self.client.pause(self.name)
            self.client.wait_for_state(self.name, fine_tuning_pb2.FINE_TUNING_JOB_STATE_PAUSED)
            job = self.client.resume(self.name)
        # If the daemon was killed between the two.
        if job.state == fine_tuning_pb2.FINE_TUNING_JOB_STATE_PAUSED:
            job = self.client.resume(self.name)
        self.facts.jobs[self.name] = job

    def follow(self):
        directory = self.client.directory_of(self.facts.jobs[self.name])
        last_checkpoint = f"{directory}/checkpoints/step-{STEPS:08d}"
        self.enter("training", lambda: self.steps_seen >= self.late)
        self.enter("checkpoint", lambda: glob.glob(directory + "/checkpoints/*.tmp-*"))
        self.enter("last checkpoint", lambda: os.path.exists(last_checkpoint))
        self.enter("result", lambda: glob.glob(directory + "/result.tmp-*"))
        events = self.facts.events[self.name]
        for event in self.client.watch(self.name, max(events, default=0)):
            assert event.id > max(events, default=0), event
            events[event.id] = event
            self.steps_seen = max(self.steps_seen, event.step.step)
            if event.HasField("checkpoint"):
                self.facts.checkpoints[self.name] = max(self.client.checkpoints(self.name))
        job = self.facts.jobs[self.name] = self.client.get(self.name)
        assert job.state == fine_tuning_pb2.FINE_TUNING_JOB_STATE_SUCCEEDED, job
        self.check_result(job)

    def check_result(self, job):
        assert self.client.digest_of_result(job) == self.test.reference.digest
        assert self.client.checkpoints(self.name) == self.client.checkpoints_on_disk(job)
        events = self.client.events(self.name)
        losses = {(event.step.step, event.step.loss) for event in events if event.HasField("step")}
        assert losses == self.test.reference.losses, losses ^ self.test.reference.losses
        check_repeated_work(events)

    def promote(self):
        versions = self.client.versions(TUNED)
        mine = [version for version in versions.values() if version.source_job == self.name]
        assert len(mine) <= 1, mine
        if not mine:
            self.enter("promotion")
            mine = [self.client.promote(self.name, TUNED, alias="stable")]
        self.facts.versions[mine[0].version] = mine[0]

    def ask(self):
        assert self.client.digest_of_version(TUNED) == self.test.reference.digest
        for model in (TUNED, TUNED + ":stable"):
            assert self.client.greedy_text(model) == self.test.reference.text

    def delete(self):
        self.enter("deletion")
        for name in self.test.old_jobs():
            self.facts.jobs.pop(name, None)  # from here on it may be gone
            self.client.delete(name)
            self.facts.deleted_jobs.add(name)
        for number in sorted(self.client.versions(TUNED))[:-KEPT_ROUNDS]:
            self.facts.versions.pop(number, None)
            self.client.delete_version(f"{TUNED}:{number}")
            self.facts.deleted_versions.add(number)


def check_repeated_work(events):
    """Checks that a new attempt takes no step again that a checkpoint has, and few others."""
    saved = 0  # the step of the last checkpoint
    unsaved = []  # the steps after it
    attempt = 1
    for event in events:
        if event.HasField("checkpoint"):
            saved, unsaved = event.checkpoint.step, []
        if not event.HasField("step"):
            continue
        if event.attempt > attempt:
            attempt = event.attempt
            assert event.step.step > saved, (event, saved)
            lost = [step for step in unsaved if step.step >= event.step.step]
            assert len(lost) <= CHECKPOINT_EVERY, lost
            # After all but the last there was no need of a checkpoint yet.
            assert sum(step.seconds for step in lost[:-1]) < CHECKPOINT_SECONDS, lost
            unsaved = unsaved[:len(unsaved) - len(lost)]
        unsaved.append(event.step)


Reference = collections.namedtuple("Reference", "digest losses text")


class CrashTest:
    def __init__(self, data, seed):
        self.data = data
        self.random = random.Random(seed)
        self.contents = job_client.texts(200)
        self.facts = Facts()
        self.killer = Killer(self.random)
        self.rounds = []
        self.daemon = self.client = None

    def start(self, data):
        self.daemon = job_client.JobDaemon(data, "--checkpoint-interval", str(CHECKPOINT_SECONDS))
        self.client = job_client.JobClient(self.daemon)

    def make_reference(self, data):
        """Runs the job without a crash."""
        self.start(data)
        self.client.upload("reference", self.contents)
        self.client.create("reference", train="reference", eval="reference", **SPEC)
        job = self.client.finish("reference")
        self.client.promote("reference", TUNED)
        self.reference = Reference(
            self.client.digest_of_result(job),
            {(event.step.step, event.step.loss) for event in self.client.events("reference")
             if event.HasField("step")},
            self.client.greedy_text(TUNED))
        assert len(self.reference.losses) == STEPS
        assert self.daemon.close() == 0

    def run(self, rounds):
        self.start(self.data)
        for number in range(rounds):
            self.killer.plan_round()
            self.rounds.append(f"round-{number}")
            Round(self, self.rounds[-1]).run()
            self.killer.reset()
            self.facts.check(self.client)
            print(f"round {number}: {sum(self.killer.kills.values())} kills", flush=True)
        assert self.daemon.close() == 0

    def restart(self):
        self.killer.reset()
        self.daemon.close()
        while self.random.random() < 0.3:
            self.kill_at_start()
        self.start(self.data)
        self.facts.check(self.client)

    def kill_at_start(self):
        self.killer.kills[START] += 1
        process = subprocess.Popen(
            [harness.arguments.binary, "serve", "--model", f"gpt2={job_client.demo_model()}",
             "--data", self.data, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(self.random.uniform(0, LONGEST_START))
        process.kill()
        process.wait()

    def old_jobs(self):
        """Returns the jobs that are to be deleted and may be there."""
        old = self.rounds[:-KEPT_ROUNDS]
        return [name for name in old if name not in self.facts.deleted_jobs]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, help="the whipsnake binary")
    parser.add_argument("--source", required=True, help="the repository")
    parser.add_argument("--work", default=tempfile.gettempdir(),
                        help="a directory for generated files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10 ** 6))
    harness.arguments = parser.parse_args()
    import_stubs()
    print(f"seed {harness.arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="whipsnake-crash-") as directory:
        test = CrashTest(os.path.join(directory, "data"), harness.arguments.seed)
        test.make_reference(os.path.join(directory, "reference"))
        try:
            test.run(harness.arguments.rounds)
        except Exception:
            if test.daemon.process.poll() is None:
                test.daemon.process.kill()
            print(test.daemon.read_log(), file=sys.stderr)
            raise
    for phase in [*PHASES, START]:
        print(f"killed in {phase}: {test.killer.kills[phase]}")


if __name__ == "__main__":
    main()
