"""Tests of `whipsnake finetune`: jobs from their creation to their promotion, over crashes."""
import asyncio
import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import pty
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

import harness
import rpc_client
from harness import whipsnake

WORDS = ("adder", "boa", "coil", "fang", "scale", "slither", "strike", "viper")
SHAPE = ("--model", "gpt2", "--train", "texts", "--batch", "2", "--max-length", "32", "--epochs",
         "1000", "--lr", "1e-3")
SHORT = (*SHAPE, "--max-steps", "6")
# Long enough to be stopped in the middle, several times. With dropout, so that a run that goes on
# must restore the state of its random numbers too.
LONG_STEPS = 120
LONG = (*SHAPE, "--max-steps", str(LONG_STEPS), "--dropout", "0.1", "--checkpoint-every", "20",
        "--eval", "held-out", "--evaluate-every", "50")


def setUpModule():
    rpc_client.import_stubs()


def text_of(number, count):
    return " ".join(WORDS[(number * 7 + i * i * 3 + i * number) % len(WORDS)] for i in range(count))


def events_of(lines):
    return [line for line in lines if "event" in line]


def steps_of(lines):
    return [line["step"] for line in lines if line.get("event") == "step"]


class Proxy:
    """Forwards connections to a server, which can be replaced by another one, or by none."""

    def __init__(self, address):
        self.target = address
        self.connections = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                host, port = self.target.rsplit(":", 1)
                server = socket.create_connection((host, int(port)))
            except (OSError, ValueError):
                client.close()
                continue
            self.connections.append((client, server))
            threading.Thread(target=self.serve, args=(client, server), daemon=True).start()

    def serve(self, client, server):
        with client, server:
            back = threading.Thread(target=self.forward, args=(server, client))
            back.start()
            self.forward(client, server)
            back.join()

    @staticmethod
    def forward(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self):
        """Ends the connections that there are."""
        for connection in self.connections:
            for end in connection:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def close(self):
        """From here on there is no server."""
        self.target = ""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()


class Watch:
    """A `finetune watch --json` that runs."""

    def __init__(self, server, job, *flags):
        self.process = subprocess.Popen(
            [harness.arguments.binary, "finetune", "watch", job, "--json", "--server", server,
             *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        self.lines = []

    def wait_for(self, condition):
        """Reads lines until one satisfies the condition."""
        while line := self.process.stdout.readline():
            self.lines.append(json.loads(line))
            if condition(self.lines[-1]):
                return
        raise AssertionError(f"the watch ended: {self.lines} {self.process.stderr.read()}")

    def wait_for_step(self, step):
        self.wait_for(lambda line: line.get("event") == "step" and line["step"] >= step)

    def end(self):
        out, err = self.process.communicate(timeout=harness.PATIENCE)
        self.lines += [json.loads(line) for line in out.splitlines()]
        return self.process.returncode, err.decode()


class JobServer:
    """A daemon with a data directory that it keeps when it is started again."""

    def __init__(self, directory):
        self.data = os.path.join(directory, "data")
        self.start()
        self.proxy = Proxy(self.daemon.grpc)

    def start(self, *flags):
        self.daemon = harness.Daemon(
            "--data", self.data, "--model",
            "gpt2=" + os.path.join(harness.arguments.source, "deploy/models/gpt2-crrelu-demo"),
            *flags)
        self.client = rpc_client.Client(self.daemon.grpc)

    def restart(self, number, *flags):
        self.daemon.process.send_signal(number)
        self.daemon.wait()
        self.client.channel.close()
        self.proxy.cut()
        self.daemon.close()
        self.start(*flags)
        self.proxy.target = self.daemon.grpc

    def upload(self, name, rows):
        self.upload_lines(name, [json.dumps(row) for row in rows], ".jsonl", "--task", "causal-lm")

    def upload_lines(self, name, lines, suffix, *flags):
        with tempfile.NamedTemporaryFile("w", suffix=suffix) as file:
            file.writelines(line + "\n" for line in lines)
            file.flush()
            result = whipsnake("datasets", "upload", file.name, "--id", name, *flags, "--server",
                               self.daemon.grpc)
        assert result.returncode == 0, result.stdout + result.stderr

    def close(self):
        self.proxy.close()
        self.client.channel.close()
        self.daemon.close()

    def state(self, job):
        request = rpc_client.fine_tuning_pb2.GetFineTuningJobRequest(id=job)
        state = self.client.jobs.GetFineTuningJob(request).job.state
        return rpc_client.fine_tuning_pb2.FineTuningJobState.Name(state).split("STATE_")[1]

    def pause(self, job):
        """Asks for a pause and does not wait."""
        self.client.jobs.PauseFineTuningJob(
            rpc_client.fine_tuning_pb2.PauseFineTuningJobRequest(id=job))

    def digest(self, uid):
        """The digest of a job's result."""
        with open(f"{self.data}/jobs/{uid}/result/model.safetensors", "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()


class FinetuneTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="whipsnake-finetune-")
        cls.server = JobServer(cls.directory.name)
        cls.server.upload("texts", [{"text": text_of(i, 8 + i % 4)} for i in range(64)])
        cls.server.upload("held-out", [{"text": text_of(i, 9)} for i in range(100, 108)])

    @classmethod
    def tearDownClass(cls):
        cls.server.close()
        cls.directory.cleanup()

    def run_command(self, *flags, code=0, server=None):
        result = whipsnake("finetune", *flags, "--server", server or self.server.daemon.grpc)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        self.assertNotIn(self.server.data, result.stdout + result.stderr)
        return result

    def lines(self, *flags, code=0):
        out = self.run_command(*flags, "--json", code=code).stdout
        return [json.loads(line) for line in out.splitlines()]

    def object(self, *flags, code=0):
        lines = self.lines(*flags, code=code)
        self.assertEqual(len(lines), 1, lines)
        return lines[0]

    def wait_until(self, condition):
        deadline = time.monotonic() + harness.PATIENCE
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def refused(self, *flags):
        """Returns the code, the message and the details of a command's error."""
        error = self.object(*flags, code=1)["error"]
        return error["code"], error["message"], error["details"]

    def create(self, name, *flags):
        """Makes a job and does not wait."""
        return self.object("create", "--no-wait", "--id", name, *flags)["job"]

    def finish(self, name):
        """Waits for a job to succeed; returns it."""
        return self.lines("watch", name)[-1]["job"]


class JobTest(FinetuneTest):
    def test_create_prints_the_plan_and_watch_the_course(self):
        shown = self.run_command("create", "--id", "course", *SHORT, "--eval", "held-out",
                                 "--label", "team=search", "--scheduler", "slimfit").stdout
        for pattern in (r"course +(queued|running|succeeded)", "trains gpt2 with texts, evaluates "
                        "with held-out", "labels: team=search"):
            self.assertRegex(shown, pattern)
        course = self.run_command("watch", "course").stdout
        for pattern in (r"Z  validating\n", r"Z  queued\n", r"Z  running\n",
                        r"step 0: evaluation loss \d\.\d{4}", r"step 1/6  loss \d\.\d{4}  \d+/27 "
                        r"layers  ", r"step 6/6  loss", r"step 6: checkpoint, ", r"Z  succeeded\n",
                        r"course +succeeded +6/6", r"'whipsnake finetune promote course --model "
                        r"NAME --server \S+' lets it serve"):
            self.assertRegex(course, pattern)
        shown = self.run_command("get", "course").stdout
        self.assertRegex(shown, r"result: 6 steps in .*, at most .* of memory")
        job = self.object("get", "course")["job"]
        self.assertEqual((job["state"], job["labels"], job["priority"], job["attempt"]),
                         ("SUCCEEDED", {"team": "search"}, 0, 1))
        self.assertEqual(job["spec"]["max_steps"], 6)
        self.assertEqual((job["plan"]["steps"], job["result"]["steps"]), (6, 6))
        self.assertGreater(job["plan"]["bytes"], 0)

    def test_the_progress_is_that_of_the_last_evaluation_and_checkpoint(self):
        self.create("progress", *SHORT, "--eval", "held-out", "--evaluate-every", "4")
        events = events_of(self.lines("watch", "progress"))
        last = [event for event in events if event["event"] == "evaluation"][-1]
        progress = self.object("get", "progress")["job"]["progress"]
        self.assertEqual((last["step"], progress["checkpoint_step"]), (6, 6))
        self.assertEqual(progress["eval_loss"], last["loss"])

    def test_notes_have_no_path_of_the_server(self):
        self.create("notes", *SHORT)
        events = events_of(self.lines("watch", "notes"))
        self.assertEqual([event for event in events if event["event"] == "message"], [])

    def test_a_file_and_options_make_the_same_job(self):
        by_options = self.create("twins", *SHORT, "--memory-budget", "1GiB", "--group", "*.bias=0",
                                 "--freeze", "transformer.wte.*", "--seed", "7")
        settings = {"model": "gpt2", "train": "texts", "batch": 2, "max_length": 32,
                    "epochs": 1000, "lr": 1e-3, "max_steps": 6, "memory_budget": "1GiB",
                    "groups": [{"pattern": "*.bias", "lr_factor": 0.0}],
                    "freeze": ["transformer.wte.*"], "seed": 1}
        path = os.path.join(self.directory.name, "job.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(settings, file)
        by_file = self.create("twins", "--config", path, "--seed", "7")
        self.assertEqual(by_file["uid"], by_options["uid"])
        self.assertEqual(by_file["spec"]["memory_budget"], 1 << 30)
        code, message, details = self.refused("create", "--no-wait", "--id", "twins", "--config",
                                              path)
        self.assertEqual((code, details["reason"]), ("ALREADY_EXISTS", "JOB_EXISTS"), message)
        resolved = self.finish("twins")["resolved_spec"]
        self.assertEqual(resolved["freeze"], settings["freeze"])
        self.assertEqual(resolved["groups"], settings["groups"])

    def test_each_data_set_is_read_by_its_own_description(self):
        task = ("--task", "classification")
        lines = [f"{text_of(i, 6)},{'good' if i % 2 else 'bad'}" for i in range(16)]
        self.server.upload_lines("moods", ["text,mood", *lines], ".csv", *task, "--label-column",
                                 "mood")
        self.server.upload_lines("held-moods", lines[:4], ".csv", *task, "--no-header")
        self.create("columns", "--model", "gpt2", "--train", "moods", "--eval", "held-moods",
                    "--batch", "4", "--max-steps", "2")
        self.assertIn("eval_accuracy", self.finish("columns")["result"])

    def test_errors(self):
        create = ("create", "--model", "gpt2", "--train", "texts")
        for flags, code, words in (
                (("create", "--train", "texts"), "INVALID_ARGUMENT", "--model: nothing seen"),
                (("create", "--model", "gpt2"), "INVALID_ARGUMENT", "--train: nothing seen"),
                (("create", "--model", "nope", "--train", "texts"), "NOT_FOUND", "model: "),
                (("create", "--model", "../x", "--train", "texts"), "INVALID_ARGUMENT", "model: "),
                (("create", "--model", "gpt2", "--train", "nope"), "NOT_FOUND", "train: "),
                ((*create, "--eval", "nope"), "NOT_FOUND", "eval: "),
                ((*create, "--task", "dpo"), "INVALID_ARGUMENT", "train: "),
                ((*create, "--label", "team"), "INVALID_ARGUMENT", '--label: "team" seen'),
                ((*create, "--label", 64 * "k" + "=v"), "INVALID_ARGUMENT", "labels"),
                ((*create, "--priority", "101"), "INVALID_ARGUMENT", "priority: 101 seen"),
                ((*create, "--id", "No"), "INVALID_ARGUMENT", "id: "),
                ((*create, "--micro-batch", "9"), "INVALID_ARGUMENT", "--micro-batch: 9 seen"),
                ((*create, "--memory-budget", "much"), "INVALID_ARGUMENT", "--memory-budget: "),
                ((*create, "--group", "x"), "INVALID_ARGUMENT", "--group: "),
                (("plan", "--model", "gpt2", "--train", "nope"), "NOT_FOUND", "train: "),
                (("get", "nope"), "NOT_FOUND", '"nope"'),
                (("watch", "nope"), "NOT_FOUND", '"nope"'),
                (("events", "nope"), "NOT_FOUND", '"nope"'),
                (("checkpoints", "nope"), "NOT_FOUND", '"nope"'),
                (("promote", "nope", "--model", "x"), "NOT_FOUND", '"nope"'),
                (("list", "--filter", "colour = red"), "INVALID_ARGUMENT", "filter: "),
                (("list", "--order-by", "colour"), "INVALID_ARGUMENT", "order_by: ")):
            with self.subTest(flags=flags):
                seen, message, _ = self.refused(*flags)
                self.assertEqual(seen, code, message)
                self.assertIn(words, message)
                self.assertNotRegex(message, r"^[a-z_]+: [a-z_]+: ")

    def test_errors_of_a_file(self):
        path = os.path.join(self.directory.name, "bad.json")
        for settings, words in (({"learning_rate": 1}, '"learning_rate": unknown setting'),
                                ({"out": "here"}, 'out: "here" seen'),
                                ({"max_steps": "6"}, 'max_steps: "6" seen'),
                                ({"model": ""}, "model: nothing seen")):
            with open(path, "w", encoding="utf-8") as file:
                json.dump({"model": "gpt2", "train": "texts", **settings}, file)
            with self.subTest(settings):
                code, message, _ = self.refused("create", "--config", path)
                self.assertEqual(code, "INVALID_ARGUMENT")
                self.assertIn(words, message)

    def test_a_job_that_is_too_large_is_refused_with_settings_that_fit(self):
        flags = ("--id", "large", *SHORT, "--memory-budget", "1MB")
        shown = self.run_command("create", *flags, code=1).stdout
        self.assertRegex(shown, r"large +failed")
        self.assertIn("(PLAN_EXCEEDS_MEMORY)", shown)
        self.assertRegex(shown, r"\nSettings +MiB +step +fits\n")
        self.assertEqual(self.object("get", "large")["job"]["error"]["reason"],
                         "PLAN_EXCEEDS_MEMORY")
        plan = self.object("plan", *flags[2:], code=1)
        self.assertFalse(plan["fits"])
        self.assertFalse(any(candidate["fits"] for candidate in plan["candidates"]))

    def test_plan(self):
        names = {job["id"] for job in self.object("list")["jobs"]}
        plan = self.object("plan", *SHORT)
        self.assertTrue(plan["fits"])
        self.assertEqual(plan["plan"]["steps"], 6)
        self.assertEqual(plan["resolved_spec"]["optimizer"], "adamw")
        self.assertEqual(plan["candidates"][0]["bytes"], plan["plan"]["bytes"])
        shown = self.run_command("plan", *SHORT).stdout
        self.assertRegex(shown, r"admitted with +\d+\.\d\n")
        self.assertIn("6 steps about", shown)
        self.assertLessEqual(max(map(len, shown.splitlines())), 80)
        self.assertEqual({job["id"] for job in self.object("list")["jobs"]}, names)

    def test_lists(self):
        for name, labels, priority in (("list-a", {"team": "a", "kind": "x"}, 1),
                                       ("list-b", {"team": "a"}, 5), ("list-c", {"team": "b"}, 9)):
            flags = [part for key, value in labels.items() for part in ("--label", f"{key}={value}")]
            self.create(name, *SHORT, *flags, "--priority", str(priority))
            self.finish(name)

        def listed(*flags):
            jobs = self.object("list", *flags)["jobs"]
            return [job["id"] for job in jobs if job["id"].startswith("list-")]

        self.assertEqual(listed(), ["list-c", "list-b", "list-a"])
        self.assertEqual(listed("--order-by", "create_time"), ["list-a", "list-b", "list-c"])
        self.assertEqual(listed("--order-by", "priority desc"), ["list-c", "list-b", "list-a"])
        for condition, names in (('labels.team = "a"', ["list-b", "list-a"]),
                                 ('labels.team = a AND priority >= 5', ["list-b"]),
                                 ("labels.kind = x AND state = SUCCEEDED", ["list-a"]),
                                 ("state = FAILED", []), ("model = gpt2 AND id = list-c", ["list-c"]),
                                 ("labels.team != a AND labels.team != c", ["list-c"])):
            with self.subTest(condition):
                self.assertEqual(listed("--filter", condition), names)
        table = self.run_command("list", "--filter", "id = list-a").stdout
        self.assertRegex(table, r"^ID +STATE +STEP +LOSS +PRIORITY +AGE +WAITS FOR\n"
                                r"list-a +succeeded +6/6 +\d\.\d{4} +1 +.+ +-\n$")

    def test_events_from_any_cursor_are_those_of_the_watch(self):
        self.create("cursor", *SHORT)
        watched = events_of(self.lines("watch", "cursor"))
        self.assertEqual(self.lines("events", "cursor"), watched)
        self.assertEqual(steps_of(watched), list(range(1, 7)))
        for count in (1, len(watched) // 2, len(watched)):
            after = ("--after", str(watched[count - 1]["id"]))
            self.assertEqual(self.lines("events", "cursor", *after), watched[count:])
            self.assertEqual(events_of(self.lines("watch", "cursor", *after)), watched[count:])
        self.assertRegex(self.run_command("events", "cursor").stdout,
                         r" +\d+  \S+Z  step 6/6  loss \d\.\d{4}")

    def test_cancel_and_delete(self):
        job = self.create("gone", *LONG)
        watch = Watch(self.server.daemon.grpc, "gone")
        watch.wait_for_step(1)
        self.assertEqual(self.refused("delete", "gone")[0], "FAILED_PRECONDITION")
        code, _, details = self.refused("cancel", "gone", "--etag", "1")
        self.assertEqual((code, details["reason"]), ("ABORTED", "ETAG_MISMATCH"))
        cancelled = self.object("cancel", "gone")["job"]
        self.assertEqual(cancelled["state"], "CANCELLED")
        self.assertEqual(watch.end(), (1, ""))
        self.assertEqual(watch.lines[-1]["job"]["state"], "CANCELLED")
        self.assertIn("cancelled", self.run_command("cancel", "gone").stdout)
        self.assertEqual(self.refused("resume", "gone")[0], "FAILED_PRECONDITION")
        files = f"{self.server.data}/jobs/{job['uid']}"
        self.assertTrue(os.path.isdir(files))
        self.assertEqual(self.refused("delete", "gone", "--etag", job["etag"])[0], "ABORTED")
        self.assertEqual(self.object("delete", "gone", "--etag", cancelled["etag"]),
                         {"deleted": "gone"})
        self.wait_until(lambda: not os.path.exists(files))  # they go after the answer
        self.assertEqual(self.refused("get", "gone")[0], "NOT_FOUND")


class WatchTest(FinetuneTest):
    def test_ctrl_c_ends_the_watch_and_not_the_job(self):
        self.create("alone", *LONG)
        process = subprocess.Popen(
            [harness.arguments.binary, "finetune", "watch", "alone", "--server",
             self.server.daemon.grpc], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for line in process.stdout:
            if "step 1/" in line:
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=harness.PATIENCE)
        self.assertEqual(process.returncode, 130, errors)
        self.assertRegex(errors, r"job alone continues in the server: 'whipsnake finetune watch "
                                 r"alone --after \d+ --server \S+' shows the rest")
        self.assertEqual(self.finish("alone")["state"], "SUCCEEDED")

    def test_a_watch_continues_after_its_connection_is_cut(self):
        self.create("cut", *LONG)
        watch = Watch(self.server.proxy.address, "cut")
        for step in (20, 40, 60):
            watch.wait_for_step(step)
            self.server.proxy.cut()
        self.assertEqual(watch.end(), (0, ""))
        self.assertEqual(events_of(watch.lines), self.lines("events", "cut"))
        self.assertEqual(steps_of(watch.lines), list(range(1, LONG_STEPS + 1)))

    def test_a_watch_gives_up_in_the_end(self):
        self.create("given-up", *LONG)
        proxy = Proxy(self.server.daemon.grpc)
        watch = Watch(proxy.address, "given-up", "--retry", "0.5")
        watch.wait_for_step(5)
        proxy.close()
        self.assertEqual(watch.end()[0], 1)
        self.assertIn("no connection for", watch.lines[-1]["error"]["message"])
        self.assertRegex(watch.lines[-1]["error"]["message"], r"which --after \d+ continues after")
        self.object("cancel", "given-up")

    def test_many_watchers_with_cuts_see_every_event_once(self):
        self.create("crowd", *LONG)
        module = rpc_client.fine_tuning_pb2
        cuts = 0

        async def watch(stub, seed):
            nonlocal cuts
            chance = random.Random(seed)
            seen = []
            while True:
                request = module.WatchFineTuningJobRequest(
                    id="crowd", after_event_id=seen[-1] if seen else 0)
                call = stub.WatchFineTuningJob(request, timeout=harness.PATIENCE)
                messages = chance.randrange(1, 12)
                async for response in call:
                    seen += [event.id for event in response.events]
                    messages -= 1
                    if messages == 0:
                        break
                else:
                    return seen
                call.cancel()
                cuts += 1

        async def watch_all():
            async with rpc_client.grpc.aio.insecure_channel(self.server.daemon.grpc) as channel:
                stub = rpc_client.fine_tuning_pb2_grpc.FineTuningServiceStub(channel)
                return await asyncio.gather(*(watch(stub, seed) for seed in range(200)))

        seen = asyncio.run(watch_all())
        expected = [event["id"] for event in self.lines("events", "crowd")]
        self.assertGreater(len(expected), LONG_STEPS)
        self.assertEqual([number for number, ids in enumerate(seen) if ids != expected], [])
        self.assertGreater(cuts, 0)

    def test_live_on_a_terminal(self):
        self.create("live", *LONG, "--scheduler", "slimfit")
        for columns in (80, 120):
            terminal, end = pty.openpty()
            fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
            process = subprocess.Popen(
                [harness.arguments.binary, "finetune", "watch", "live", "--server",
                 self.server.daemon.grpc], stdout=end, stderr=end)
            os.close(end)
            screen = b""
            with contextlib.suppress(OSError):  # the end of a terminal
                while data := os.read(terminal, 65536):
                    screen += data
            os.close(terminal)
            self.assertEqual(process.wait(timeout=harness.PATIENCE), 0)
            screen = screen.decode()
            self.assertIn("succeeded", screen)
            self.assertIn(f"step {LONG_STEPS}: evaluation loss", screen)
            # What is drawn again begins with the erasure of what was there.
            for frame in screen.split("\x1b[J")[:-1]:
                for line in frame.splitlines()[-4:]:
                    if line.startswith(("  step", "  loss", "  layers")):
                        self.assertLess(len(line), columns)
            self.assertRegex(screen, r"  layers [█·]{27}  \d+/27")
            self.assertRegex(screen, r"  loss \d\.\d{4}  [▁▂▃▄▅▆▇█]{2,40}  ")


class ContinuationTest(FinetuneTest):
    """A job that is stopped, by whatever, ends with the weights of one that is not."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        result = whipsnake("finetune", "create", "--id", "whole", *LONG, "--watch", "--json",
                           "--server", cls.server.daemon.grpc)
        assert result.returncode == 0, result.stdout + result.stderr
        job = json.loads(result.stdout.splitlines()[-1])["job"]
        cls.whole, cls.loss = cls.server.digest(job["uid"]), job["result"]["loss"]

    def check(self, watch):
        """Checks what a watch has seen of a job that was stopped, and the job's result."""
        self.assertEqual(watch.end(), (0, ""))
        self.assertEqual(events_of(watch.lines), self.lines("events", watch.lines[-1]["job"]["id"]))
        last = {}
        for line in watch.lines:
            if line.get("event") == "step":
                last[line["step"]] = line["loss"]
        self.assertEqual(sorted(last), list(range(1, LONG_STEPS + 1)))
        job = watch.lines[-1]["job"]
        self.assertEqual(job["result"]["loss"], self.loss)
        self.assertEqual(self.server.digest(job["uid"]), self.whole)
        return job

    def test_pauses(self):
        self.create("paused", *LONG)
        watch = Watch(self.server.proxy.address, "paused")
        for step in (10, 60):
            watch.wait_for_step(step)
            self.server.pause("paused")
            shown = self.run_command("pause", "paused").stdout
            self.assertRegex(shown, r"paused +paused +\d+/120")
            self.assertIn("'whipsnake finetune resume paused --server ", shown)
            self.object("resume", "paused")
        job = self.check(watch)
        self.assertEqual(job["attempt"], 1)
        states = [line["state"] for line in watch.lines if line.get("event") == "state"]
        self.assertEqual(states, ["VALIDATING", "QUEUED", "RUNNING",
                                  *["PAUSING", "PAUSED", "QUEUED", "RUNNING"] * 2, "SUCCEEDED"])

    def test_a_crash_and_a_stop_of_the_server(self):
        self.create("crashed", *LONG)
        watch = Watch(self.server.proxy.address, "crashed")
        watch.wait_for(lambda line: line.get("event") == "checkpoint" and line["step"] >= 20)
        self.server.restart(signal.SIGKILL, "--job-retry-delay", "600")
        job = self.object("get", "crashed")["job"]
        self.assertEqual((job["state"], job["error"]["reason"]), ("QUEUED", "SERVER_CRASHED"))
        self.assertIn("the server crashed while it ran", job["error"]["message"])
        wait = (datetime.datetime.fromisoformat(job["next_attempt_time"].replace("Z", "+00:00"))
                - datetime.datetime.now(datetime.timezone.utc))
        self.assertGreater(wait.total_seconds(), 300)
        self.object("pause", "crashed")
        self.object("resume", "crashed")
        watch.wait_for_step(80)
        self.server.restart(signal.SIGTERM)
        job = self.check(watch)
        self.assertEqual(job["attempt"], 2)
        self.assertNotIn("error", job)


class PromotionTest(FinetuneTest):
    def promote(self, *flags, code=0):
        return self.run_command("promote", *flags, code=code)

    def generate(self, model):
        result = whipsnake("generate", "--json", "--server", self.server.daemon.grpc, "--model",
                           model, "--max-tokens", "4", "--temperature", "0", "adder boa")
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout.splitlines()[-1])

    def test_promotion_and_rollback(self):
        self.create("first", *SHORT, "--checkpoint-every", "2", "--keep-checkpoints", "2")
        self.create("second", *SHORT, "--seed", "1")
        self.finish("first")
        self.finish("second")
        steps = [checkpoint["step"] for checkpoint in
                 self.object("checkpoints", "first")["checkpoints"]]
        self.assertEqual(steps, [4, 6])
        # A crash between a checkpoint and its record leaves the record of what it replaced.
        uid = self.object("get", "first")["job"]["uid"]
        checkpoints = f"{self.server.data}/jobs/{uid}/checkpoints"
        os.rename(f"{checkpoints}/step-00000004", f"{checkpoints}/aside")
        self.assertEqual([checkpoint["step"] for checkpoint in
                          self.object("checkpoints", "first")["checkpoints"]], [6])
        os.rename(f"{checkpoints}/aside", f"{checkpoints}/step-00000004")
        self.assertRegex(self.run_command("checkpoints", "first").stdout,
                         r"STEP +LOSS +EVALUATION +SIZE +WRITTEN\n +4 +\d\.\d{4} +- +")
        shown = self.promote("first", "--model", "support").stdout
        for pattern in (r"support:1 +yes +- +first +6 ", r"Try it:  'whipsnake generate --model "
                        r"support", r"Go back: 'whipsnake models rollback support --server"):
            self.assertRegex(shown, pattern)
        self.generate("support")
        version = self.object("promote", "second", "--model", "support", "--alias", "stable",
                              "--keep-loaded")["version"]
        self.assertEqual((version["name"], version["source_job"], version["serving"],
                          version["aliases"]), ("support:2", "second", True, ["support:stable"]))
        self.object("promote", "first", "--model", "support", "--step", "4")
        result = whipsnake("models", "rollback", "support", "--json", "--server",
                           self.server.daemon.grpc)
        self.assertEqual(json.loads(result.stdout)["version"]["name"], "support:2")
        for model in ("support", "support:stable"):
            self.generate(model)
        for flags, code in ((("first", "--model", "support", "--step", "5"), "NOT_FOUND"),
                            (("first", "--model", "No!"), "INVALID_ARGUMENT"),
                            (("first", "--model", "support", "--scheme", "no"), "INVALID_ARGUMENT"),
                            (("first", "--model", "support", "--etag", "no"), "ABORTED")):
            with self.subTest(flags=flags):
                self.assertEqual(self.refused("promote", *flags)[0], code)

    def test_a_job_without_a_result_is_not_promoted(self):
        self.create("unfinished", *LONG)
        code, _, details = self.refused("promote", "unfinished", "--model", "early")
        self.assertEqual((code, details["reason"]), ("FAILED_PRECONDITION", "JOB_STATE"))
        self.object("cancel", "unfinished")

    def test_a_version_that_a_job_trains_is_not_deleted(self):
        model_pb2 = rpc_client.model_pb2
        self.create("first-of-two", *SHORT)
        self.finish("first-of-two")
        self.promote("first-of-two", "--model", "bases")
        self.create("tunes-a-version", "--model", "bases", *LONG[2:])
        self.wait_until(lambda: self.server.state("tunes-a-version") != "VALIDATING")
        self.promote("first-of-two", "--model", "bases")
        delete = model_pb2.DeleteModelVersionRequest(name="bases:1")
        with self.assertRaises(rpc_client.grpc.RpcError) as caught:
            self.server.client.models.DeleteModelVersion(delete)
        self.assertEqual(caught.exception.code(), rpc_client.grpc.StatusCode.FAILED_PRECONDITION)
        self.assertIn("job tunes-a-version", caught.exception.details())
        self.object("cancel", "tunes-a-version")
        self.wait_until(lambda: self.server.state("tunes-a-version") == "CANCELLED")
        self.server.client.models.DeleteModelVersion(delete)

    def test_the_example_in_python(self):
        example = os.path.join(harness.arguments.source, "docs/examples/fine_tune.py")
        result = subprocess.run([sys.executable, example, "gpt2", self.server.daemon.grpc],
                                capture_output=True, text=True, timeout=harness.PATIENCE,
                                check=False)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, r"step 20/20: loss \d\.\d{4}\n(.*\n)*"
                                        r"FINE_TUNING_JOB_STATE_SUCCEEDED \nsnakes:1 serves\n"
                                        r"The boa.+")


if __name__ == "__main__":
    harness.main()
