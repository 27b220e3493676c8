"""Tests of `whipsnake train`: interruptions, repeatability, wrong input, output, use of results."""
import fcntl
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import harness
from harness import whipsnake

STEPS = 40
# Dropout and several epochs, so that a resumed run must go on in the middle of both.
CAUSAL_LM = ("--task", "causal-lm", "--train", "texts.jsonl", "--max-length", "32", "--batch", "4",
             "--dropout", "0.1", "--lr", "1e-2", "--epochs", "100", "--max-steps", str(STEPS))
CLASSIFICATION = ("--task", "classification", "--train", "reviews.jsonl", "--batch", "8",
                  "--lr", "1e-2", "--epochs", "100", "--max-steps", str(STEPS))
DPO = ("--task", "dpo", "--train", "pairs.jsonl", "--batch", "8", "--lr", "1e-2", "--epochs", "100",
       "--max-steps", str(STEPS))
REGRESSION = ("--task", "regression", "--train", "scores.csv", "--batch", "8", "--lr", "1e-2",
              "--epochs", "100", "--max-steps", str(STEPS))
WORDS = ("adder", "boa", "coil", "fang", "scale", "slither", "strike", "viper")


def text_of(number, count):
    """Returns one of many texts of `count` words."""
    return " ".join(WORDS[(number * 7 + i * i * 3 + i * number) % len(WORDS)] for i in range(count))


def write_rows(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(row if isinstance(row, str) else json.dumps(row))
            file.write("\n")


def read(path):
    with open(path, "rb") as file:
        return file.read()


def read_json(path):
    return json.loads(read(path))


def without_fields(log, fields):
    """Returns the records of a log without the fields that may differ."""
    return {kind: [{key: value for key, value in record.items() if key not in fields}
                   for record in records]
            for kind, records in log.items()}


class Run:
    """A run with --json that can be ended while it trains. It cannot end by itself before that:
    each step writes a line, and the pipe holds only a page of them."""

    def __init__(self, *flags):
        # Python ignores SIGXFSZ; with restore_signals the command would not.
        self.process = subprocess.Popen(
            [harness.arguments.binary, "train", "--json", *flags], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, bufsize=0, restore_signals=False)
        fcntl.fcntl(self.process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        self.lines = []

    def wait_for_checkpoint(self, step):
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise AssertionError(self.lines, self.process.stderr.read())
            self.lines.append(json.loads(line))
            if self.lines[-1].get("event") == "checkpoint" and self.lines[-1]["step"] >= step:
                return

    def end(self, number=None):
        """Sends a signal, if there is one, and returns the exit code."""
        if number:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=harness.PATIENCE)
        self.stderr = err.decode()
        if number != signal.SIGKILL:
            self.lines += [json.loads(line) for line in out.splitlines()]
        return self.process.returncode


class TrainTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="whipsnake-train-")
        cls.before = os.getcwd()
        os.chdir(cls.directory.name)
        harness.make_tiny_model("gpt2", contents=harness.TINY_GPT2_CONFIG)
        harness.make_tiny_model("mamba", contents={**harness.TINY_CONFIG, "eos_token_id": 0})
        write_rows("texts.jsonl", [{"text": text_of(i, 5 + i % 4)} for i in range(40)])
        write_rows("held-out.jsonl", [{"text": text_of(i, 6)} for i in range(100, 110)])
        for name, first, count in (("reviews.jsonl", 0, 48), ("more-reviews.jsonl", 100, 16)):
            write_rows(name, [{"text": text_of(i, 3) + (" good" if i % 2 else " bad"),
                               "label": "good" if i % 2 else "bad"}
                              for i in range(first, first + count)])
        write_rows("pairs.jsonl", [{"prompt": text_of(i, 2), "chosen": " yes " + text_of(i, 1),
                                    "rejected": " no " + text_of(i + 1, 1)} for i in range(32)])
        write_rows("scores.csv", ["text,label"] + [f"{'up ' * (i % 5)}{text_of(i, 1)},{i % 5 / 2}"
                                                   for i in range(40)])
        cls.numbers = itertools.count()

    @classmethod
    def tearDownClass(cls):
        os.chdir(cls.before)
        cls.directory.cleanup()

    def new_path(self):
        return f"out-{next(self.numbers)}"

    def train(self, *flags):
        """Trains and returns the directory of the result."""
        out = self.new_path()
        result = whipsnake("train", *flags, "--out", out)
        self.assertEqual(result.returncode, 0, result.stderr)
        return out

    def assert_same_result(self, first, second, but_for=("seconds",)):
        self.assertTrue(read(first + "/model.safetensors") == read(second + "/model.safetensors"))
        logs = [without_fields(read_json(out + "/training.json")["log"], but_for)
                for out in (first, second)]
        self.assertEqual(*logs)

    def assert_refused(self, flags, *words, code=1, out=None):
        """Checks that a command fails with one line that has the words, and writes nothing. Returns
        what it wrote to stdout."""
        out = out or self.new_path()
        files = sorted(os.listdir("."))
        result = whipsnake("train", *flags, "--out", out)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        lines = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
        self.assertTrue(lines[0].startswith("error: "), result.stderr)
        self.assertEqual(len(lines), 1 if code == 1 else 2, result.stderr)
        for word in words:
            self.assertIn(word, lines[0])
        self.assertEqual(sorted(os.listdir(".")), files)
        return result.stdout


class InterruptionTest(TrainTest):
    """A run that is ended and resumed is the run that was not."""

    def runs(self):
        gpt2, mamba = ("--model", "gpt2"), ("--model", "mamba")
        held_out = ("--eval", "held-out.jsonl", "--evaluate-every", "7")
        yield "fp32 moments", (*gpt2, *CAUSAL_LM, *held_out)
        yield "8-bit moments", (*gpt2, *CAUSAL_LM, "--moments", "8bit")
        yield "classifier", (*mamba, *CLASSIFICATION, "--eval", "more-reviews.jsonl",
                             "--moments", "8bit")
        yield "DPO", (*gpt2, *DPO, "--dropout", "0.1", "--eval", "pairs.jsonl")
        yield "patience", (*gpt2, *CAUSAL_LM, *held_out, "--patience", "20", "--micro-batch", "3")
        yield "bf16", (*gpt2, *CAUSAL_LM, "--precision", "bf16", "--update-in-backward")
        yield "slimfit", (*gpt2, *CAUSAL_LM, "--scheduler", "slimfit", "--moments", "8bit")
        yield "misa", (*mamba, *CLASSIFICATION, "--scheduler", "misa", "--switch-every", "4",
                       "--moments", "drop", "--compression", "8bit")

    def check(self, flags, number, code):
        """Ends a run twice and resumes it each time."""
        whole = self.train(*flags)
        flags = (*flags, "--checkpoint-every", "1")
        out = self.new_path()
        for step, resume in ((5, ()), (17, ("--resume",))):
            run = Run(*flags, "--out", out, *resume)
            run.wait_for_checkpoint(step)
            self.assertEqual(run.end(number), code, run.stderr)
            self.assertEqual(run.stderr, "")
            self.assertFalse(os.path.exists(out))
            steps = [line["step"] for line in run.lines if line.get("event") == "step"]
            self.assertEqual(steps, list(range(steps[0], steps[-1] + 1)))
            self.assertEqual(steps[0] > 1, bool(resume))
            self.assertLess(steps[-1], STEPS)
        resumed = whipsnake("train", *flags, "--out", out, "--resume")
        self.assertEqual(resumed.returncode, 0, resumed.stderr)
        self.assert_same_result(out, whole)
        return run

    def test_after_sigkill(self):
        for name, flags in self.runs():
            with self.subTest(name):
                self.check(flags, signal.SIGKILL, -signal.SIGKILL)

    def test_after_ctrl_c(self):
        for name, flags in self.runs():
            if name not in ("8-bit moments", "DPO"):
                continue
            with self.subTest(name):
                run = self.check(flags, signal.SIGINT, 128 + signal.SIGINT)
                last = run.lines[-1]
                self.assertEqual(last["ended"], "cancelled")
                self.assertTrue(os.path.isdir(last["checkpoints"]))
                self.assertNotIn("path", last)

    def test_ctrl_c_says_how_to_go_on(self):
        out = self.new_path()
        process = subprocess.Popen(
            [harness.arguments.binary, "train", "--model", "gpt2", "--train", "texts.jsonl",
             "--epochs", "100000", "--checkpoint-every", "5", "--out", out],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + harness.PATIENCE
        while not os.path.exists(out + ".checkpoints/step-00000005"):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        shown, errors = process.communicate(timeout=harness.PATIENCE)
        self.assertEqual((process.returncode, errors), (130, ""))
        self.assertRegex(shown, r"Stopped after step \d+\. .*\.checkpoints; the same command with "
                                r"--resume goes on from there\.")

    def test_ctrl_c_ends_an_evaluation(self):
        write_rows("long.jsonl", [{"text": text_of(i, 9)} for i in range(20000)])
        run = Run("--model", "gpt2", "--train", "texts.jsonl", "--eval", "long.jsonl", "--out",
                  self.new_path())
        self.assertEqual(json.loads(run.process.stdout.readline())["event"], "data")
        time.sleep(0.3)
        self.assertEqual(run.end(signal.SIGINT), 130)
        self.assertEqual([line for line in run.lines if line.get("event") == "evaluation"], [])
        last = run.lines[-1]
        if "error" in last:  # it had not even begun
            self.assertEqual(last["error"]["code"], "CANCELLED")
        else:
            self.assertEqual((last["ended"], last["steps"]), ("cancelled", 0))

    def test_two_runs_with_the_same_checkpoints(self):
        out = self.new_path()
        flags = ("--model", "gpt2", *CAUSAL_LM, "--checkpoint-every", "1")
        run = Run(*flags, "--out", out)
        run.wait_for_checkpoint(1)
        self.assert_refused((*flags, "--resume"), out + ".checkpoints: in use by process "
                            f"{run.process.pid}, expected a directory of its own", out=out)
        run.end(signal.SIGKILL)

    def test_with_a_damaged_checkpoint(self):
        flags = ("--model", "gpt2", *CAUSAL_LM, "--checkpoint-every", "1")
        whole = self.train(*flags)
        for name, damage in (("model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
                             ("optimizer.safetensors", lambda data: data[:1000]),
                             ("state.json", lambda data: data.replace(b"0.9", b"0.8")),
                             ("state.json", lambda data: b"")):
            with self.subTest(name):
                out = self.new_path()
                run = Run(*flags, "--out", out)
                run.wait_for_checkpoint(9)
                run.end(signal.SIGKILL)
                last = sorted(path for path in os.listdir(out + ".checkpoints")
                              if path.startswith("step-") and not "." in path)[-1]
                path = f"{out}.checkpoints/{last}/{name}"
                contents = damage(read(path))
                with open(path, "wb") as file:
                    file.write(contents)
                resumed = whipsnake("train", *flags, "--out", out, "--resume")
                self.assertEqual(resumed.returncode, 0, resumed.stderr)
                self.assertRegex(resumed.stderr, rf"note: .*{last}.*; renamed to {last}.damaged-1")
                self.assert_same_result(out, whole)

    def test_without_space_for_a_checkpoint(self):
        flags = ("--model", "gpt2", *CAUSAL_LM, "--checkpoint-every", "1")
        out = self.new_path()
        run = Run(*flags, "--out", out)
        run.wait_for_checkpoint(9)
        resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (1000, 1000))
        self.assertEqual(run.end(), 1, run.stderr)
        message = run.lines[-1]["error"]["message"]
        saved = [line["step"] for line in run.lines if line.get("event") == "checkpoint"][-1]
        self.assertIn("File too large", message)
        self.assertIn(f"the last checkpoint, of step {saved}, is in {out}.checkpoints", message)
        self.assertFalse(os.path.exists(out))
        resumed = whipsnake("train", *flags, "--out", out, "--resume")
        self.assertEqual((resumed.returncode, resumed.stderr), (0, ""))
        self.assert_same_result(out, self.train(*flags))

    def test_checkpoints_of_another_run(self):
        flags = ["--model", "gpt2", *CAUSAL_LM, "--checkpoint-every", "1"]
        out = self.train(*flags)
        os.rename(out, out + "-kept")
        shutil.copytree("gpt2", "other-gpt2")
        harness.make_tiny_model("another-gpt2", seed=2, contents=harness.TINY_GPT2_CONFIG)
        write_rows("other-texts.jsonl", [{"text": "other"}] * 200)
        self.assert_refused(flags, "checkpoints", "step 40", "expected none for a new run", out=out)

        def changed(option, value):
            return [value if before == option else flag
                    for before, flag in zip([None] + flags, flags)]
        for option, value, words in (
                ("--lr", "2e-2", ("lr: 0.01 in the checkpoint, 0.02 now",)),
                ("--dropout", "0.2", ("dropout: 0.1", "0.2")),
                ("--max-length", "16", ("max_length: 32 in the checkpoint, 16 now",)),
                ("--train", "other-texts.jsonl", ("training_data: ",)),
                ("--model", "another-gpt2", ("model: ",))):
            with self.subTest(option):
                self.assert_refused([*changed(option, value), "--resume"],
                                    out + ".checkpoints has another run", *words, out=out)
        with_evaluation = [*flags, "--resume", "--eval", "held-out.jsonl"]
        self.assert_refused(with_evaluation, "evaluation_data: ", out=out)
        # The place of the files makes no difference. The run is over: only its result is written.
        moved = whipsnake("train", *changed("--model", "other-gpt2"), "--resume", "--out", out)
        self.assertEqual(moved.returncode, 0, moved.stderr)
        self.assert_same_result(out, out + "-kept")

    def test_resume_without_a_checkpoint_begins(self):
        out = self.new_path()
        flags = ("--model", "gpt2", *CAUSAL_LM)
        result = whipsnake("train", *flags, "--out", out, "--resume")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("there is no checkpoint: training begins at the first step", result.stderr)
        self.assert_same_result(out, self.train(*flags))


class RepeatabilityTest(TrainTest):
    def test_threads_do_not_change_results(self):
        for model, flags in (("gpt2", CAUSAL_LM), ("mamba", CLASSIFICATION),
                             ("gpt2", (*DPO, "--checkpointing"))):
            with self.subTest(model=model, task=flags[1]):
                one, two, three = [self.train("--model", model, *flags, "--threads", threads)
                                   for threads in ("1", "2", "3")]
                self.assert_same_result(one, two)
                self.assert_same_result(one, three)

    def test_a_busy_machine_does_not_change_results(self):
        flags = ("--model", "gpt2", *CAUSAL_LM, "--threads", "3")
        alone = self.train(*flags)
        busy = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(3)]
        try:
            self.assert_same_result(self.train(*flags), alone)
        finally:
            for process in busy:
                process.kill()
                process.wait()

    def test_gradient_checkpointing_does_not_change_results(self):
        for model in ("gpt2", "mamba"):
            flags = ("--model", model, *CAUSAL_LM[:8], "--max-steps", "10")
            self.assert_same_result(self.train(*flags), self.train(*flags, "--checkpointing"),
                                    but_for=("seconds", "heap_bytes", "class_bytes"))

    def test_updates_in_the_backward_pass_do_not_change_results(self):
        for model in ("gpt2", "mamba"):
            flags = ("--model", model, *CAUSAL_LM, "--micro-batch", "2")
            early = self.train(*flags, "--update-in-backward")
            late = self.train(*flags, "--max-gradient-norm", "0")
            self.assertTrue(read(early + "/model.safetensors") == read(late + "/model.safetensors"))

    def test_config_file(self):
        out = self.train(
            "--model", "gpt2", *CAUSAL_LM, "--eval", "held-out.jsonl", "--unpacked", "--warmup",
            "0.1", "--schedule", "cosine", "--moments", "8bit", "--group", "transformer.wpe.*=0",
            "--group", "*.bias=0.5,0.1", "--micro-batch", "3", "--seed", "5")
        job = {
            "model": "gpt2", "task": "causal-lm", "train": "texts.jsonl", "max_length": 32,
            "batch": 4, "dropout": 0.1, "lr": 1e-2, "epochs": 100, "max_steps": STEPS,
            "eval": "held-out.jsonl", "packed": False, "warmup": 0.1, "schedule": "cosine",
            "moments": "8bit", "micro_batch": 3, "seed": 5,
            "groups": [{"pattern": "transformer.wpe.*", "lr_factor": 0},
                       {"pattern": "*.bias", "lr_factor": 0.5, "weight_decay": 0.1}]}
        files = {key: job[key] for key in ("model", "train", "eval")}
        for settings in (job, {**read_json(out + "/training.json")["options"], **files}):
            write_rows("job.json", [settings])
            self.assert_same_result(self.train("--config", "job.json"), out)
        # The command line takes precedence.
        write_rows("job.json", [{**job, "lr": 1, "seed": 6}])
        self.assert_same_result(self.train("--config", "job.json", "--lr", "0.01", "--seed", "5"),
                                out)

    def test_patience_keeps_the_best_model(self):
        flags = ("--model", "gpt2", "--task", "classification", "--train", "reviews.jsonl",
                 "--eval", "flipped.jsonl", "--lr", "2e-2", "--schedule", "constant", "--batch",
                 "8", "--evaluate-every", "2", "--epochs", "50")
        # Labels of the evaluation that contradict the training data: its loss rises in the end.
        write_rows("flipped.jsonl", [{"text": text_of(i, 3), "label": "bad" if i % 3 else "good"}
                                     for i in range(200, 230)])
        out = self.train(*flags, "--patience", "3")
        report = read_json(out + "/training.json")
        best = report["best_evaluation"]
        losses = [record["loss"] for record in report["log"]["evaluations"]]
        self.assertEqual(report["ended"], "stopped early")
        self.assertEqual(best["loss"], min(losses))
        self.assertEqual(report["eval_loss"], best["loss"])
        self.assertEqual(report["steps"], best["step"] + 3 * 2)
        self.assertGreater(best["step"], 0)
        shorter = self.train(*flags, "--max-steps", str(best["step"]))
        self.assertTrue(read(out + "/model.safetensors") == read(shorter + "/model.safetensors"))


class WrongInputTest(TrainTest):
    """Each error names the field, the value and what was expected, before anything is written."""

    LM = ("--model", "gpt2", "--task", "causal-lm", "--train", "texts.jsonl")
    CLASSIFIER = ("--model", "gpt2", "--task", "classification", "--train", "reviews.jsonl")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for model in ("gpt2", "mamba"):
            made = whipsnake("quantize", "--model", model, "--calibration", "texts.jsonl", "--out",
                             model + "-int8")
            assert made.returncode == 0, made.stderr
        made = whipsnake("train", *cls.CLASSIFIER, "--max-steps", "1", "--out", "classifier")
        assert made.returncode == 0, made.stderr

    def test_rows(self):
        write_rows("bad.jsonl", [{"text": "a", "label": "x"}, {"text": "b"}, {"label": "x"},
                                 "nonsense", {"text": 5, "label": "y"}])
        flags = ("--model", "gpt2", "--task", "classification", "--train", "bad.jsonl")
        self.assert_refused(flags, "bad.jsonl: bad rows: 4 of 5", "line 2: label: nothing seen",
                            "line 3: text: nothing seen, expected a string", "line 4: row: ")
        write_rows("unknown.jsonl", [{"text": "a", "label": "good"}, {"text": "b", "label": "new"}])
        expected = 'line 2: label: "new" seen, expected one of "bad", "good"'
        self.assert_refused((*self.CLASSIFIER, "--eval", "unknown.jsonl"), "unknown.jsonl",
                            expected)
        self.assert_refused(("--model", "classifier", "--task", "classification", "--train",
                             "unknown.jsonl"), "unknown.jsonl", expected)
        write_rows("empty.jsonl", [])
        write_rows("header.csv", ["text,label"])
        for name in ("empty.jsonl", "header.csv"):
            self.assert_refused((*self.CLASSIFIER[:-1], name), name, "no rows seen, expected")
        self.assert_refused((*self.CLASSIFIER[:-1], "texts.jsonl"), "bad rows: 40 of 40",
                            "line 1: label: nothing seen, expected a string or an integer")
        self.assert_refused((*self.CLASSIFIER, "--label-column", "mark"), "line 1: mark: nothing")
        one_label = [{"text": "a", "label": "x"}] * 4
        write_rows("one-label.jsonl", one_label)
        self.assert_refused((*self.CLASSIFIER[:-1], "one-label.jsonl"), 'labels: "x" seen',
                            "at least 2")

    def test_values(self):
        write_rows("job.json", [{"model": "gpt2"}])
        for option, value, *words in (
                ("--max-length", "1000", "max_length: 1000 seen", "the model's 64 positions"),
                ("--max-length", "1", "max-length: 1 seen, expected at least 2"),
                ("--micro-batch", "9", "--micro-batch: 9 seen, expected a number from 1 to the "
                                       "batch size, 8"),
                ("--batch", "0", "--batch: 0 seen, expected a number from 1 to 65536"),
                ("--lr", "0", "--lr: 0 seen, expected a number above 0"),
                ("--lr", "-1", "--lr: -1 seen, expected a number from 0"),
                ("--lr", "1e6", "--lr: 1e+06 seen, expected a number from 0 to 1000"),
                ("--epochs", "0", "--epochs: 0 seen, expected a number above 0"),
                ("--max-steps", "-1", "--max-steps: -1 seen, expected"),
                ("--seed", "-1", "--seed: -1 seen, expected an integer from 0"),
                ("--warmup", "2", "--warmup: 2 seen, expected a number from 0 to 1"),
                ("--dropout", "1", "--dropout: 1 seen, expected a number from 0 to 0.99"),
                ("--beta1", "1", "--beta1: 1 seen, expected a number from 0 to 0.999999"),
                ("--momentum", "-1", "--momentum: -1 seen, expected a number from 0 to"),
                ("--crrelu-epsilon-factor", "-1", "--crrelu-epsilon-factor: -1 seen, expected"),
                ("--patience", "2", "--patience: 2 seen, expected 0 without eval"),
                ("--keep-checkpoints", "0", "--keep-checkpoints: 0 seen, expected at least 1"),
                ("--group", "bias", '--group: "bias" seen, expected PATTERN=FACTOR'),
                ("--group", "*=x", '--group: "*=x" seen, expected PATTERN=FACTOR'),
                ("--group", "*=-1", "groups.lr_factor: -1 seen, expected a number from 0"),
                ("--checkpoints", "missing/dir", "checkpoints: missing/dir seen, expected"),
                ("--eval", "missing.jsonl", "missing.jsonl: No such file or directory")):
            with self.subTest(option=option, value=value):
                self.assertEqual(self.assert_refused((*self.LM, option, value), *words), "")
        for option, value in (("--lr", "nan"), ("--epochs", "inf"), ("--weight-decay", "nan")):
            self.assert_refused((*self.LM, option, value), f'{option}: "{value}" seen', "a number",
                                code=2)
        # Only the loaded model has the names of its tensors.
        self.assert_refused((*self.LM, "--group", "lost.*=1"), 'groups.pattern: "lost.*" seen',
                            "expected a pattern that matches a tensor of the model")
        self.assert_refused((*self.LM, "--optimizer", "sgd", "--moments", "8bit"),
                            "--moments: 8bit seen, expected keep or drop with sgd")
        self.assert_refused((*self.LM, "--update-in-backward", "--max-gradient-norm", "1"),
                            "--max-gradient-norm: 1 seen, expected 0 with update_in_backward")

    def test_wrong_options_exit_with_2(self):
        for flags in (("--lr", "fast"), ("--task", "poetry"), ("--no-such-option",), ("extra",),
                      ("--threads", "0"), ("--optimizer", "adam"), ("--batch", "2.5")):
            with self.subTest(flags=flags):
                self.assert_refused((*self.LM[:2], "--train", "texts.jsonl", *flags), flags[0],
                                    code=2)

    def test_config(self):
        job = {"model": "gpt2", "train": "texts.jsonl"}
        for setting, *words in (
                ({"modle": "x"}, '"modle": unknown setting; known are', "groups", "model"),
                ({"lr": "x"}, 'lr: "x" seen, expected a number'),
                ({"batch": 2.5}, "batch: 2.5 seen, expected an integer"),
                ({"precision": "fp16"}, 'precision: "fp16" seen, expected fp32 or bf16'),
                ({"out_type": 5}, "out_type: 5 seen, expected"),
                ({"moments": "4bit"}, 'moments: "4bit" seen, expected keep, 8bit or drop'),
                ({"groups": {}}, "groups: ", "expected a list of objects"),
                ({"groups": [1]}, "groups: 1 seen, expected a list of objects"),
                ({"groups": [{"lr": 1}]}, 'groups: "lr": unknown setting'),
                ({"resume": 1}, "resume: 1 seen, expected true or false")):
            with self.subTest(setting=setting):
                write_rows("job.json", [{**job, **setting}])
                self.assertEqual(self.assert_refused(("--config", "job.json"), *words), "")
        for text, word in (("[1]", "an array seen"), ('{"lr":', "malformed JSON")):
            write_rows("job.json", [text])
            self.assert_refused(("--config", "job.json"), "job.json: " + word)
        self.assert_refused(("--config", "missing.json"), "missing.json: No such file")
        self.assert_refused(("--train", "texts.jsonl"), "--model: nothing seen, expected a path")
        self.assert_refused(("--model", "gpt2"), "--train: nothing seen, expected a path")

    def test_models(self):
        for model, scheme in (("gpt2-int8", "w8a8"), ("mamba-int8", "quamba-w8a8")):
            self.assertEqual(self.assert_refused(
                ("--model", model, "--train", "texts.jsonl"), f"quantized with {scheme}",
                "expected float weights; train the model that it was quantized from"), "")
        for task, data in (("causal-lm", "texts.jsonl"), ("dpo", "pairs.jsonl")):
            self.assertEqual(self.assert_refused(
                ("--model", "classifier", "--task", task, "--train", data), f"task: {task} seen",
                'as the model is a classifier: "bad", "good"'), "")
        self.assert_refused(("--model", "classifier", "--task", "regression", "--train",
                             "scores.csv"), 'labels: "bad", "good" seen')
        self.assert_refused(("--model", "missing", "--train", "texts.jsonl"),
                            "missing/config.json: No such file or directory")

    def test_out(self):
        os.makedirs("full", exist_ok=True)
        write_rows("full/file", [])
        write_rows("file", [])
        for out, *words in (("full", "out: full exists, expected a new or empty directory"),
                            ("file", "out: file exists"),
                            ("missing/new", "out: missing/new seen", "missing does not")):
            with self.subTest(out=out):
                files = sorted(os.listdir("."))
                result = whipsnake("train", *self.LM, "--out", out)
                self.assertEqual((result.returncode, result.stdout), (1, ""))
                for word in words:
                    self.assertIn(word, result.stderr)
                self.assertEqual(sorted(os.listdir(".")), files)
        nothing = whipsnake("train", *self.LM, "--out", "")
        self.assertEqual((nothing.returncode, nothing.stdout), (2, ""))
        self.assertIn('--out: "" seen', nothing.stderr)
        os.makedirs("empty", exist_ok=True)
        for out in ("empty/", "new/"):
            result = whipsnake("train", *self.LM, "--max-steps", "1", "--out", out)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertTrue(os.path.exists(out + "model.safetensors"))
            self.assertTrue(os.path.isdir(out[:-1] + ".checkpoints"))

    def test_numbers_that_are_not_finite(self):
        """The last good checkpoint stays, and is good enough to go on with."""
        for model, flags, *words in (
                ("mamba", ("--checkpoint-every", "1"), "step 2: the loss is", "block 0"),
                ("gpt2", ("--checkpoint-every", "1"), "step 2: the gradient of transformer."),
                ("gpt2", ("--checkpoint-every", "1", "--update-in-backward", "--optimizer", "sgd"),
                 "is not a finite number")):
            with self.subTest(model=model, flags=flags):
                out = self.new_path()
                run = ("train", "--model", model, "--train", "texts.jsonl", "--max-length", "32",
                       "--batch", "4", "--lr", "1000", *flags, "--out", out)
                for result in (whipsnake(*run), whipsnake(*run, "--resume")):
                    self.assertEqual((result.returncode, result.stderr.count("\n")), (1, 1),
                                     result.stderr)
                    for word in (*words, "use a lower learning rate than 1000",
                                 "the last checkpoint, of step ", f"is in {out}.checkpoints"):
                        self.assertIn(word, result.stderr)
                    self.assertFalse(os.path.exists(out))

    def test_an_evaluation_that_is_not_finite(self):
        out = self.new_path()
        result = whipsnake("train", "--model", "mamba", "--train", "texts.jsonl", "--max-length",
                           "32", "--lr", "1000", "--max-steps", "1", "--eval", "held-out.jsonl",
                           "--out", out)
        self.assertEqual(result.returncode, 1)
        self.assertIn("error: evaluation after step 1: the loss is", result.stderr)
        self.assertFalse(os.path.exists(out))
        self.assertEqual(os.listdir(out + ".checkpoints"), ["lock"])

    def test_validate_only(self):
        for flags in (self.LM, (*self.LM, "--eval", "held-out.jsonl")):
            result = whipsnake("train", *flags, "--validate-only")
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            self.assertIn("rows: 40 good, 0 bad", result.stdout)
            self.assertNotIn("step ", result.stdout)
        write_rows("bad.jsonl", [{"text": "a"}, {"txt": "b"}])
        flags = ("train", *self.LM[:-1], "bad.jsonl", "--validate-only")
        result = whipsnake(*flags)
        self.assertEqual(result.returncode, 1)
        self.assertIn("line 2: text: nothing seen, expected a string", result.stdout)
        self.assertIn("error: bad.jsonl: bad rows: 1 of 2", result.stderr)
        lines = whipsnake(*flags, "--json").stdout.splitlines()
        report, error = [json.loads(line) for line in lines]
        self.assertEqual(report["train"]["first_bad_rows"][0]["line"], 2)
        self.assertEqual(error["error"]["code"], "INVALID_ARGUMENT")


class OutputTest(TrainTest):
    def test_json(self):
        out = self.new_path()
        result = whipsnake("train", "--json", "--model", "gpt2", *CLASSIFICATION, "--eval",
                           "more-reviews.jsonl", "--checkpoint-every", "20", "--out", out)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        events = [line.get("event") for line in lines]
        self.assertEqual(events[0], "data")
        self.assertEqual(events.count("step"), STEPS)
        self.assertEqual(events.count("checkpoint"), 2)
        self.assertGreater(events.count("evaluation"), 2)
        self.assertIn("warning", events)  # of the new head
        last = lines[-1]
        self.assertEqual((last["steps"], last["path"], last["ended"]), (STEPS, out, "finished"))
        for key in ("eval_loss", "step_seconds_p50", "peak_bytes", "activation_peak_bytes"):
            self.assertGreater(last[key], 0, key)
        self.assertGreater(last["planned_peak_bytes"], 0)
        self.assertEqual("whipsnake " + last["version"],
                         whipsnake("--version").stdout.split(" (")[0].strip())
        for key in ("log", "data", "options"):
            self.assertNotIn(key, last)
            self.assertIn(key, read_json(out + "/training.json"))

    def test_errors_as_json(self):
        for flags, code, word in ((("--lr", "0"), 1, "--lr"), (("--no-such-option",), 2, "--no-")):
            result = whipsnake("train", "--json", "--model", "gpt2", "--train", "texts.jsonl",
                               *flags, "--out", self.new_path())
            self.assertEqual((result.returncode, result.stderr), (code, ""))
            error = json.loads(result.stdout)["error"]
            self.assertEqual(error["code"], "INVALID_ARGUMENT")
            self.assertIn(word, error["message"])

    def test_text_names_the_next_command(self):
        out = self.new_path()
        result = whipsnake("train", "--model", "gpt2", *CAUSAL_LM, "--eval", "held-out.jsonl",
                           "--out", out)
        self.assertIn("step 0: evaluation loss ", result.stdout)
        self.assertTrue(result.stdout.endswith(f"whipsnake serve --model tuned={out}\n"))
        out = self.new_path()
        result = whipsnake("train", "--model", "gpt2", *CLASSIFICATION, "--out", out)
        self.assertTrue(result.stdout.endswith(
            f"whipsnake evaluate --model {out} --task classification --data FILE\n"))


class FreezingTest(TrainTest):
    """The options of schedulers, and what they leave in the result."""
    LM = ("--model", "gpt2", "--train", "texts.jsonl", "--max-length", "32", "--batch", "4",
          "--epochs", "100")

    def test_options_reach_the_run(self):
        for flags, settings in (
                (("--scheduler", "slimfit", "--freezing-rate", "0.7", "--score", "norm-ratio",
                  "--legacy-drift", "true"),
                 {"recipe": "default", "freezing_rate": 0.7, "freezing_unit": "bytes",
                  "score": "norm-ratio", "refresh_at_zero_rate": False, "legacy_drift": True,
                  "train_biases": False, "compression": "8bit"}),
                (("--scheduler", "slimfit", "--recipe", "published", "--train-biases", "false",
                  "--compression", "none"),
                 {"recipe": "published", "freezing_rate": 0.9, "freezing_unit": "layers",
                  "score": "distance", "refresh_at_zero_rate": True, "train_biases": False,
                  "compression": "none"}),
                (("--scheduler", "random", "--freezing-unit", "layers"),
                 {"freezing_unit": "layers", "switch_every": 1, "compression": "none"}),
                (("--scheduler", "lisa", "--lisa-blocks", "1", "--switch-every", "3"),
                 {"lisa_blocks": 1, "switch_every": 3}),
                (("--scheduler", "badam", "--badam-order", "descending"),
                 {"badam_order": "descending", "switch_every": 50}),
                (("--scheduler", "misa", "--misa-temperature", "2"), {"misa_temperature": 2})):
            with self.subTest(flags=flags):
                report = read_json(self.train(*self.LM, *flags, "--max-steps", "3")
                                   + "/training.json")
                self.assertEqual(report["options"]["scheduler"], flags[1])
                for key, value in settings.items():
                    self.assertEqual(report["options"][key], value, key)

    def test_the_report_has_the_layers(self):
        out = self.train(*self.LM, "--scheduler", "round-robin", "--freezing-unit", "layers",
                         "--max-steps", str(STEPS))
        report = read_json(out + "/training.json")
        counts = [layer["active_steps"] for layer in report["layers"]]
        self.assertGreater(min(counts), 0)
        self.assertLessEqual(max(counts) - min(counts), 1)
        self.assertGreater(report["memory"]["classes"]["gradient"], 0)
        self.assertIn("active", report["log"]["steps"][0])
        page = read(out + "/training.html").decode()
        for text in ("Layers that trained", report["layers"][0]["name"], "Memory by step"):
            self.assertIn(text, page)
        page = read(self.train(*self.LM, "--max-steps", "3") + "/training.html").decode()
        self.assertNotIn("Layers that trained", page)
        self.assertIn("Memory by step", page)

    def test_wrong_options(self):
        for flags, *words in (
                (("--scheduler", "lisa", "--score", "distance"),
                 '--score: "distance" seen, expected nothing with scheduler lisa'),
                (("--freezing-rate", "0.5"), "--freezing-rate: 0.5 seen", "scheduler full"),
                (("--scheduler", "slimfit", "--freezing-rate", "1"),
                 "--freezing-rate: 1 seen, expected a number from 0 to below 1"),
                (("--scheduler", "lisa", "--lisa-blocks", "99"), "lisa_blocks: 99 seen"),
                (("--scheduler", "slimfit", "--legacy-drift", "true", "--moments", "drop"),
                 "--legacy-drift: true seen")):
            with self.subTest(flags=flags):
                self.assert_refused((*self.LM, *flags), *words)
        self.assert_refused((*self.LM, "--scheduler", "slimfit", "--train-biases", "maybe"),
                            "--train-biases", code=2)

    def test_checkpoints_of_another_scheduler(self):
        flags = (*self.LM, "--max-steps", "4", "--scheduler")
        out = self.train(*flags, "slimfit")
        os.rename(out, out + "-kept")
        self.assert_refused((*flags, "random", "--resume"), out + ".checkpoints has another run",
                            'scheduler: "slimfit" in the checkpoint, "random" now', out=out)


class PlanTest(TrainTest):
    """What a run needs, before it runs, and settings for a memory budget."""

    # With activations that are large beside the parameters.
    WIDE = ("--model", "wide", "--task", "causal-lm", "--train", "texts.jsonl", "--max-length",
            "64", "--batch", "16", "--epochs", "100", "--max-steps", "12")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        harness.make_tiny_model("wide", contents={**harness.TINY_GPT2_CONFIG, "n_embd": 64,
                                                  "n_layer": 6})

    def plan(self, *flags, code=0):
        files = sorted(os.listdir("."))
        result = whipsnake("train", "--json", "--plan", *flags)
        self.assertEqual((result.returncode, result.stderr), (code, ""), result.stdout)
        self.assertEqual(sorted(os.listdir(".")), files)
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        return lines[0] if code == 0 else lines

    def test_json(self):
        plan = self.plan("--model", "gpt2", *CAUSAL_LM)
        self.assertEqual((plan["event"], plan["scheduler"], plan["plan"]["steps"]),
                         ("plan", "full", STEPS))
        self.assertTrue(plan["fits"])
        self.assertEqual(plan["peak_bytes"], plan["plan"]["peak_bytes"])
        self.assertAlmostEqual(plan["total_seconds"], STEPS * plan["step_seconds"])
        self.assertGreater(plan["step_seconds"], 0)
        self.assertEqual(plan["peak_bytes"], plan["candidates"][0]["peak_bytes"])
        self.assertIn("slimfit", [candidate["scheduler"] for candidate in plan["candidates"]])
        for key in ("product_flops", "attention_flops", "scan_elements", "bytes"):
            self.assertGreater(plan["rates"][key], 0, key)

    def test_text(self):
        result = whipsnake("train", "--plan", "--model", "mamba", *CLASSIFICATION)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for word in ("Settings: full, moments keep", "weights", "moments", "peak", "fits",
                     "slimfit 0.95", f"{STEPS} steps"):
            self.assertIn(word, result.stdout)
        self.assertLessEqual(max(map(len, result.stdout.splitlines())), 80)

    def test_the_plan_is_the_peak_of_the_run(self):
        for flags in (("--model", "gpt2", *CAUSAL_LM, "--eval", "held-out.jsonl"),
                      ("--model", "mamba", *CLASSIFICATION, "--moments", "8bit"),
                      ("--model", "gpt2", *DPO, "--eval", "pairs.jsonl", "--checkpointing"),
                      (*self.WIDE, "--memory-budget", "20MB")):
            with self.subTest(flags=flags):
                report = read_json(self.train(*flags) + "/training.json")
                self.assertGreater(report["planned_peak_bytes"], 0)
                self.assertAlmostEqual(report["planned_peak_bytes"] / report["peak_bytes"], 1,
                                       delta=0.02)

    def test_a_budget_that_fits(self):
        model = (*self.WIDE, "--max-gradient-norm", "0")
        candidates = self.plan(*model)["candidates"]
        full = candidates[0]["peak_bytes"]
        for wanted in (0, 1, len(candidates) // 2):
            budget = candidates[wanted]["sufficient_bytes"]
            # The first that fits, which an earlier candidate may do as well.
            wanted = next(c for c in candidates if c["sufficient_bytes"] <= budget)
            plan = self.plan(*model, "--memory-budget", str(budget))
            for key in ("scheduler", "checkpointing", "moments", "update_in_backward"):
                self.assertEqual(plan[key], wanted[key], key)
            out = self.new_path()
            run = ("train", *model, "--memory-budget", str(budget), "--out", out)
            result = whipsnake(*run)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn("note: for the memory budget, the settings are "
                          + wanted["scheduler"], result.stderr)
            report = read_json(out + "/training.json")
            self.assertEqual(report["options"]["moments"], wanted["moments"])
            self.assertLessEqual(report["peak_bytes"], budget)
        self.assertLess(budget, full)

    def test_what_is_given_stays(self):
        plan = self.plan("--model", "gpt2", *CAUSAL_LM, "--moments", "8bit", "--checkpointing")
        for candidate in plan["candidates"]:
            self.assertEqual((candidate["moments"], candidate["checkpointing"]), ("8bit", True))

    def test_without_a_budget_the_settings_are_those_of_the_run(self):
        plan = self.plan("--model", "gpt2", *CAUSAL_LM, "--scheduler", "slimfit")
        self.assertEqual((plan["freezing_rate"], plan["compression"], plan["moments"]),
                         (0.9, "8bit", "keep"))
        self.assertEqual(plan["candidates"][0]["freezing_rate"], 0.5)

    def test_a_budget_in_a_file(self):
        for budget in ("1GiB", 1 << 30):
            write_rows("job.json", [{"model": "gpt2", "train": "texts.jsonl",
                                     "memory_budget": budget}])
            self.assertEqual(self.plan("--config", "job.json")["limit_bytes"], 1 << 30)
        for budget in (-1, 1.5, "much", [], True):
            write_rows("job.json", [{"model": "gpt2", "train": "texts.jsonl",
                                     "memory_budget": budget}])
            self.assert_refused(("--config", "job.json"), "memory_budget: ",
                                "expected a number of bytes")

    def test_a_resumed_run_chooses_the_same(self):
        flags = (*self.WIDE, "--memory-budget", "20MB", "--checkpoint-every", "1")
        out = self.new_path()
        run = Run(*flags, "--out", out)
        run.wait_for_checkpoint(3)
        self.assertEqual(run.end(signal.SIGKILL), -signal.SIGKILL)
        resumed = whipsnake("train", *flags, "--out", out, "--resume")
        self.assertEqual(resumed.returncode, 0, resumed.stderr)
        self.assert_same_result(out, self.train(*flags))

    def test_nothing_fits(self):
        model = self.WIDE
        least = min(c["sufficient_bytes"] for c in self.plan(*model)["candidates"])
        budget = str(least - 1)
        self.assert_refused((*model, "--memory-budget", budget),
                            f"memory_budget: {budget} bytes seen, expected at least {least}",
                            "(", ") with ", "a smaller micro_batch needs less")
        plan, error = self.plan(*model, "--memory-budget", budget, code=1)
        self.assertFalse(plan["fits"])
        self.assertEqual(error["error"]["code"], "RESOURCE_EXHAUSTED")
        self.assertEqual(error["error"]["details"]["field"], "memory_budget")

    def test_bad_sizes(self):
        for size in ("much", "-1GB", "2XB", "0"):
            self.assert_refused(("--model", "gpt2", *CAUSAL_LM, "--memory-budget", size),
                                "--memory-budget: ", "expected a number of bytes such as 2GB")
        result = whipsnake("train", "--plan", "--validate-only", "--model", "gpt2")
        self.assertEqual(result.returncode, 2)


class EndToEndTest(TrainTest):
    """What is trained can be quantized, served and evaluated."""

    def evaluate(self, model, data, task):
        result = whipsnake("evaluate", "--json", "--model", model, "--data", data, "--task", task)
        self.assertEqual(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)

    def quantize(self, model):
        result = whipsnake("quantize", "--model", model, "--calibration", "texts.jsonl", "--out",
                           model + "-int8")
        self.assertEqual(result.returncode, 0, result.stderr)
        return model + "-int8"

    def test_language_models(self):
        served = {}
        for model in ("gpt2", "mamba"):
            for out_type in ("fp32", "bf16"):
                tuned = self.train("--model", model, *CAUSAL_LM, "--out-type", out_type)
                served[f"{model}-{out_type}"] = tuned
                served[f"{model}-{out_type}-int8"] = self.quantize(tuned)
        daemon = harness.Daemon(*itertools.chain.from_iterable(
            ("--model", f"{name}={os.path.abspath(path)}") for name, path in served.items()))
        self.addCleanup(daemon.close)
        for name in served:
            with self.subTest(name):
                result = whipsnake("generate", "--json", "--server", daemon.grpc, "--model", name,
                                   "--max-tokens", "8", "--temperature", "0", "adder boa")
                self.assertEqual(result.returncode, 0, result.stderr)
                last = json.loads(result.stdout.splitlines()[-1])
                self.assertEqual(last["usage"]["generated_tokens"], 8, last)

    def test_classifiers(self):
        for model in ("gpt2", "mamba"):
            with self.subTest(model):
                tuned = self.train("--model", model, *CLASSIFICATION, "--eval",
                                   "more-reviews.jsonl")
                report = read_json(tuned + "/training.json")
                evaluations = report["log"]["evaluations"]
                self.assertLess(evaluations[-1]["loss"], evaluations[0]["loss"])
                found = self.evaluate(tuned, "more-reviews.jsonl", "classification")
                self.assertAlmostEqual(found["loss"], report["eval_loss"], places=5)
                self.assertEqual(found["accuracy"], report["eval_accuracy"])
                if model == "gpt2":
                    found = self.evaluate(self.quantize(tuned), "more-reviews.jsonl",
                                          "classification")
                    self.assertAlmostEqual(found["loss"], report["eval_loss"], delta=0.1)
                # A classifier can be trained further, with the same labels.
                again = self.train("--model", tuned, *CLASSIFICATION)
                self.assertEqual(read_json(again + "/training.json")["model"]["fresh"], [])

    def test_regression(self):
        for model in ("gpt2", "mamba"):
            with self.subTest(model):
                tuned = self.train("--model", model, *REGRESSION, "--eval", "scores.csv")
                report = read_json(tuned + "/training.json")
                evaluations = report["log"]["evaluations"]
                self.assertLess(evaluations[-1]["loss"], 0.5 * evaluations[0]["loss"])
                found = self.evaluate(tuned, "scores.csv", "regression")
                self.assertAlmostEqual(found["mean_squared_error"], report["eval_loss"], places=4)

    def test_dpo(self):
        for model in ("gpt2", "mamba"):
            with self.subTest(model):
                tuned = self.train("--model", model, *DPO, "--eval", "pairs.jsonl")
                first, *_, last = read_json(tuned + "/training.json")["log"]["evaluations"]
                self.assertEqual(first["margin"], 0)
                self.assertAlmostEqual(first["loss"], 0.693147, places=5)
                self.assertGreater(last["accuracy"], 0.9)
                self.assertGreater(last["margin"], 0)
                self.assertLess(last["loss"], first["loss"])

    def test_demo_models(self):
        for model in ("gpt2-crrelu-demo", "mamba-demo"):
            with self.subTest(model):
                path = os.path.join(harness.arguments.source, "deploy/models", model)
                tuned = self.train("--model", path, "--train", "texts.jsonl", "--eval",
                                   "held-out.jsonl", "--max-length", "64", "--batch", "2",
                                   "--max-steps", "4", "--lr", "1e-4")
                first, *_, last = read_json(tuned + "/training.json")["log"]["evaluations"]
                self.assertLess(last["loss"], first["loss"])


if __name__ == "__main__":
    harness.main()
