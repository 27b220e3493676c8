"""Tests of the command line: exit codes, the --json contract and error messages."""
import json
import re
import math
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import unittest

import harness
from harness import whipsnake


# The expected effect of each option on each kind of model: no option is ignored silently. A text is
# a part of the error; None means that the option is accepted.
KINDS = ("mamba", "mamba-int8", "gpt2", "gpt2-int8")
FLOAT_MAMBA = "state_type \"int8\" seen for a Mamba of float weights"
QUANTIZED = "which the weights were quantized with"
TO_QUANTIZE = {  # options of `quantize` and of `models quantize`
    ("--scheme", "static-w8a8"): (None, "w8a8 for a transformer"),
    ("--scheme", "w8a8"): ("for a Mamba", None),
    ("--scheme", "quamba-w8a8", "--percentile", "0.999"): (None, "w8a8 for a transformer"),
    ("--percentile", "0.999"): (None, "percentile: 0.999 seen, expected none"),
    ("--scheme", "static-w8a8", "--percentile", "0.999"): ("percentile: 0.999", "w8a8 for a"),
    ("--granularity", "tensor"): (None, "granularity"),
    ("--head", "bf16"): (None, None),
    ("--residual-rotation",): (None, "residual"),
    ("--activations", "static"): ("activations", None),
    ("--activation-table",): ("activation", "activation"),
    ("--activations", "static", "--activation-table"): ("activation", None),
}
TO_LOAD = {  # options of `evaluate`, `bench` and `models load`
    ("--scheme", "fp32"): (None, QUANTIZED, None, QUANTIZED),
    ("--scheme", "bf16"): (None, QUANTIZED, None, QUANTIZED),
    ("--scheme", "quamba-w8a8"): ("quantize", None, "quantize", QUANTIZED),
    ("--scheme", "w8a8"): ("quantize", QUANTIZED, "quantize", None),
    ("--state-type", "fp32"): (None, None, None, None),
    ("--state-type", "int8"): (FLOAT_MAMBA, None, None, None),
}


def make_kinds(directory, text):
    """Makes a model directory for each of the KINDS."""
    harness.make_tiny_model(os.path.join(directory, "mamba"))
    harness.make_tiny_model(os.path.join(directory, "gpt2"), contents=harness.TINY_GPT2_CONFIG)
    for kind in ("mamba", "gpt2"):
        path = os.path.join(directory, kind)
        made = whipsnake("quantize", "--model", path, "--calibration", text, "--out",
                         path + "-int8")
        assert made.returncode == 0, made.stderr


class LocalCommandsTest(unittest.TestCase):
    """The commands that need no server."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="whipsnake-cli-")
        cls.model = os.path.join(cls.directory.name, "tiny")
        cls.config = cls.model + ".config.json"
        harness.make_tiny_model(cls.model)
        cls.text = os.path.join(cls.directory.name, "text.txt")
        with open(cls.text, "w", encoding="utf-8") as file:
            file.write("A snake is long; a whip is quick.\n" * 40)

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def one_object(self, *flags):
        """Runs a command that must succeed and print exactly one line with one JSON object."""
        result = whipsnake(*flags, "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stderr, "")
        self.assertEqual(result.stdout.count("\n"), 1, result.stdout)
        return json.loads(result.stdout)

    def assert_refused(self, result, code, *words):
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertTrue(result.stderr.startswith("error: "), result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)

    def test_wrong_flags_exit_with_2_and_point_to_help(self):
        for flags, word in [
                (["evaluate", "--model", "x"], "--text"),
                (["evaluate", "--model", "x", "--text", "y", "--no-such-flag"], "--no-such-flag"),
                (["evaluate", "--model", "x", "--text", "y", "--window", "many"], "--window"),
                (["evaluate", "--model", "x", "--text", "y", "--data", "z", "--task", "dpo"], "1"),
                (["evaluate", "--model", "x", "--data", "y"], "--task"),
                (["evaluate", "--model", "x", "--text", "y", "--task", "choice"], "--data"),
                (["evaluate", "--model", "x", "--data", "y", "--task", "poetry"], "poetry"),
                (["evaluate", "--model", "x", "--data", "y", "--task", "dpo", "--window", "9"],
                 "--text"),
                (["evaluate", "--model", "x", "--data", "y", "--task", "dpo", "--dpo-beta", "1"],
                 "--reference"),
                (["evaluate", "--model", "x", "--data", "y", "--task", "dpo", "--batch", "0"],
                 "--batch"),
                (["bench"], "1"),
                (["bench", "--config", self.config], "--random-weights"),
                (["bench", "--model", self.model, "--random-weights"], "--config"),
                (["bench", "--model", self.model, "--config", self.config, "--random-weights"],
                 "--config"),
                (["models", "lost"], "lost"),
                (["bench", "--model", self.model, "--batch", "0"], "--batch"),
                (["generate", "--temperature", "hot", "x"], "--temperature"),
                (["models"], "subcommand"),
                (["no-such-command"], "no-such-command"),
                (["--isa", "mmx"], "--isa"),
                ([], "subcommand")]:
            with self.subTest(flags=flags):
                result = whipsnake(*flags)
                self.assert_refused(result, 2, word)
                command = " ".join(["whipsnake"] + flags[:1] * (flags[:1] in (
                    ["evaluate"], ["bench"], ["generate"], ["models"])))
                self.assertIn(f"Try '{command} --help'", result.stderr)

    def test_wrong_flags_with_json_are_json(self):
        result = whipsnake("evaluate", "--json", "--no-such-flag")
        self.assertEqual(result.returncode, 2)
        self.assertEqual(json.loads(result.stdout)["error"]["code"], "INVALID_ARGUMENT")

    def test_help_and_version(self):
        for flags in (["--help"], ["evaluate", "--help"], ["models", "load", "--help"]):
            result = whipsnake(*flags)
            self.assertEqual(result.returncode, 0)
            self.assertIn("Examples:\n  whipsnake ", result.stdout)
        version = whipsnake("--version")
        self.assertEqual(version.returncode, 0)
        self.assertRegex(version.stdout, r"^whipsnake \d+\.\d+\.\d+")

    def test_init_writes_the_same_bytes_for_the_same_seed(self):
        def weights(name, seed):
            harness.make_tiny_model(self.path(name), seed)
            with open(os.path.join(self.path(name), "model.safetensors"), "rb") as file:
                return file.read()

        first = weights("first", 5)
        self.assertEqual(first, weights("same", 5))
        self.assertNotEqual(first, weights("other", 6))

    def test_init_refuses_a_directory_that_is_in_use_and_a_bad_config(self):
        self.assert_refused(whipsnake("init", "--config", self.config, "--out", self.model), 1,
                            self.model)
        bad = self.path("bad.json")
        with open(bad, "w", encoding="utf-8") as file:
            json.dump(dict(harness.TINY_CONFIG, num_hidden_layers=-3), file)
        out = self.path("never")
        self.assert_refused(whipsnake("init", "--config", bad, "--out", out), 1, bad,
                            "num_hidden_layers", "-3")
        self.assertFalse(os.path.exists(out))
        self.assert_refused(whipsnake("init", "--config", self.path("none.json"), "--out", out), 1,
                            "none.json")

    def test_evaluate_prints_its_keys(self):
        result = self.one_object("evaluate", "--model", self.model, "--text", self.text,
                                 "--window", "50")
        windows = math.ceil(result["tokens"] / 50)
        self.assertEqual(result["predicted"], result["tokens"] - windows)
        self.assertEqual(result["window"], 50)
        self.assertAlmostEqual(result["perplexity"], math.exp(result["nll"]), places=4)
        # A random model is about as uncertain as a uniform choice among the 300 tokens.
        self.assertGreater(result["nll"], 0.5 * math.log(300))
        self.assertLess(result["nll"], 2 * math.log(300))

    def test_evaluate_takes_the_whole_text_for_one_window_by_default(self):
        result = self.one_object("evaluate", "--model", self.model, "--text", self.text)
        self.assertEqual(result["window"], 2048)
        self.assertEqual(result["predicted"], result["tokens"] - 1)

    def test_evaluate_names_what_is_wrong(self):
        run = lambda model, text, *flags: whipsnake("evaluate", "--model", model, "--text", text,
                                                    *flags)
        self.assert_refused(run(self.path("nowhere"), self.text), 1, "nowhere", "config.json")
        self.assert_refused(run(self.model, self.path("nothing.txt")), 1, "nothing.txt")
        self.assert_refused(run(self.model, self.text, "--window", "1"), 1, "window", "2")
        self.assert_refused(run(self.model, self.text, "--scheme", "fp7"), 1, "fp7", "bf16")
        binary = self.path("binary.txt")
        with open(binary, "wb") as file:
            file.write(b"abc\xff\xfe")
        self.assert_refused(run(self.model, binary), 1, binary, "3")

    def test_convert_writes_a_model_with_the_activation_that_evaluates(self):
        model, out = self.path("gelu"), self.path("crrelu")
        harness.make_tiny_model(model, contents=harness.TINY_GPT2_CONFIG)
        said = self.one_object("convert", "--model", model, "--activation", "crrelu", "--epsilon",
                               "-0.25", "--out", out)
        self.assertEqual(said, {"path": out, "activation": "crrelu", "kept_epsilons": False,
                                "epsilon": -0.25, "left_out": 0})
        loss = {path: self.one_object("evaluate", "--model", path, "--text", self.text)["nll"]
                for path in (model, out)}
        self.assertNotEqual(loss[model], loss[out])
        self.assert_refused(whipsnake("convert", "--model", model, "--activation", "crrelu",
                                      "--out", out), 1, out)
        self.assert_refused(whipsnake("convert", "--model", model, "--activation", "relu",
                                      "--epsilon", "0.5", "--out", self.path("never")), 1,
                            "--epsilon: 0.5 seen, expected none with the activation relu")
        self.assert_refused(whipsnake("convert", "--model", model, "--activation", "tanh",
                                      "--out", self.path("never")), 1, "tanh", "crrelu")
        self.assert_refused(whipsnake("convert", "--model", self.model, "--activation", "relu",
                                      "--out", self.path("never")), 1, "mamba")
        self.assertFalse(os.path.exists(self.path("never")))

    def test_convert_writes_the_same_model_as_safetensors(self):
        source = os.path.join(harness.arguments.source, "tests/goldens/torch/mamba")
        out = self.path("safetensors")
        said = self.one_object("convert", "--to", "safetensors", "--model", source, "--out", out)
        self.assertEqual((said["path"], said["repeats"], said["left_out"]), (out, 1, 0))
        self.assertGreater(said["tensors"], 20)
        self.assertTrue(os.path.exists(os.path.join(out, "model.safetensors")))
        for flags, word in ((["--to", "safetensors", "--activation", "relu"], "one of them"),
                            (["--to", "safetensors", "--epsilon", "1"], "--epsilon"),
                            ([], "nothing to convert")):
            self.assert_refused(whipsnake("convert", "--model", source, "--out",
                                          self.path("never"), *flags), 1, word)

    def test_convert_keeps_epsilons_that_were_trained(self):
        model, trained = self.path("plain"), self.path("trained")
        harness.make_tiny_model(model, contents=harness.TINY_GPT2_CONFIG)
        whipsnake("convert", "--model", model, "--activation", "crrelu", "--epsilon", "-0.25",
                  "--out", trained)
        kept, reset = self.path("kept"), self.path("reset")
        result = whipsnake("convert", "--model", trained, "--activation", "crrelu", "--out", kept)
        self.assertIn("keeps its epsilon", result.stdout)
        self.one_object("convert", "--model", trained, "--activation", "crrelu", "--epsilon",
                        "0.01", "--out", reset)
        loss = {path: self.one_object("evaluate", "--model", path, "--text", self.text)["nll"]
                for path in (trained, kept, reset)}
        self.assertEqual(loss[trained], loss[kept])
        self.assertNotEqual(loss[trained], loss[reset])

    def test_serve_ends_with_an_error_if_a_model_is_not_there(self):
        free = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        empty = self.path("empty")
        os.mkdir(empty)
        for directory in (self.path("nowhere"), empty, self.text):
            result = whipsnake("serve", *free, "--model", "tiny=" + self.model, "--model",
                               "x=" + directory)
            self.assert_refused(result, 1, "--model: x=" + directory, "/config.json",
                                "--allow-missing")
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        missing = whipsnake("serve", *free, "--model", "Org/Nope")
        self.assert_refused(missing, 1, '--model: "Org/Nope"', "huggingface/hub")
        daemon = harness.Daemon("--allow-missing", "--model", "x=" + self.path("nowhere"))
        self.assertIn("model failed to load model=x", daemon.read_log())
        self.assertEqual(daemon.close(), 0)

    def test_a_model_is_served_under_the_last_part_of_its_path(self):
        odd = self.path("a=b")
        os.mkdir(odd)
        shutil.copytree(self.model, os.path.join(odd, "second"))
        daemon = harness.Daemon("--model", self.model + "/.", "--model",
                                os.path.join(odd, "second") + "/")
        listed = whipsnake("models", "list", "--json", "--server", daemon.grpc)
        self.assertEqual(daemon.close(), 0)
        self.assertEqual([model["name"] for model in json.loads(listed.stdout)["models"]],
                         sorted(["demo", os.path.basename(self.model), "second"]))

    def test_a_link_to_a_file_that_is_not_there_is_an_error(self):
        for name in ("config.json", "model.safetensors", "tokenizer.json",
                     "generation_config.json"):
            with self.subTest(file=name):
                half = self.path("half-" + name)
                shutil.copytree(self.model, half)
                if os.path.exists(os.path.join(half, name)):
                    os.remove(os.path.join(half, name))
                os.symlink("../blobs/missing", os.path.join(half, name))
                result = whipsnake("serve", "--listen", "127.0.0.1:0", "--http", "off", "--model",
                                   "half=" + half)
                self.assertEqual(result.returncode, 1, result.stderr)
                error = result.stderr[result.stderr.rindex("error: "):]
                for word in ("--model", name, "a link to ../blobs/missing"):
                    self.assertIn(word, error)

    def test_a_model_warns_of_what_its_generation_config_cannot_have(self):
        warned = self.path("warned")
        shutil.copytree(self.model, warned)
        with open(os.path.join(warned, "generation_config.json"), "w", encoding="utf-8") as file:
            json.dump({"eos_token_id": [0, 99999], "max_length": 50, "bad_words_ids": [[5]]}, file)
        daemon = harness.Daemon("--model", "warned=" + warned)
        log = daemon.read_log()
        self.assertEqual(daemon.close(), 0)
        self.assertIn("no end-of-sequence token 99999", log)
        self.assertIn("max_length 50", log)
        self.assertIn("bad_words_ids (an array)", log)

    def test_serve_names_tensors_that_no_model_has(self):
        odd = self.path("odd")
        shutil.copytree(self.model, odd)
        file = os.path.join(odd, "model.safetensors")
        with open(file, "rb") as opened:
            contents = opened.read()
        length = struct.unpack("<Q", contents[:8])[0]
        header, data = json.loads(contents[8:8 + length]), contents[8 + length:]
        for name in ("counter", "backbone.position_ids"):
            header[name] = {"dtype": "I64", "shape": [1], "data_offsets": [len(data), len(data) + 8]}
            data += bytes(8)
        text = json.dumps(header).encode()
        with open(file, "wb") as opened:
            opened.write(struct.pack("<Q", len(text)) + text + data)
        daemon = harness.Daemon("--model", "odd=" + odd)
        log = daemon.read_log()
        self.assertEqual(daemon.close(), 0)
        self.assertEqual(log.count("tensors that the model does not have"), 1, log)
        self.assertRegex(log, r'tensors=.*1: .*counter.* \(I64\)')
        self.assertNotIn("position_ids", log)

    def test_a_model_of_a_hub_cache_is_known_by_its_name(self):
        cache = self.path("hub")
        model = os.path.join(cache, "models--Org--Tiny-7B")
        snapshot = os.path.join(model, "snapshots", "1f")
        os.makedirs(snapshot)
        os.mkdir(os.path.join(model, "blobs"))
        for number, name in enumerate(os.listdir(self.model)):
            shutil.copy(os.path.join(self.model, name), os.path.join(model, "blobs", str(number)))
            os.symlink(f"../../blobs/{number}", os.path.join(snapshot, name))
        self.one_object("evaluate", "--model", model, "--text", self.text)
        os.environ["HF_HUB_CACHE"] = cache
        try:
            self.one_object("evaluate", "--model", "Org/Tiny-7B", "--text", self.text)
            daemon = harness.Daemon("--model", "Org/Tiny-7B", "--model", "short=" + model)
        finally:
            del os.environ["HF_HUB_CACHE"]
        try:
            os.symlink(model, os.path.join(daemon.root, "out"))
            shutil.copytree(model, os.path.join(daemon.root, "models--Org--Copy"), symlinks=True)
            client = lambda *words: whipsnake(*words, "--server", daemon.grpc)
            said = client("generate", "--model", "Org/Tiny-7B", "--max-tokens", "2", "A")
            self.assertEqual(said.returncode, 0, said.stderr)
            for path in ("Org/Copy", "models--Org--Copy"):
                loaded = client("models", "load", path)
                self.assertEqual(loaded.returncode, 0, loaded.stderr)
                self.assertIn("Org/Copy", client("models", "list").stdout)
                self.assertEqual(client("models", "unload", "Org/Copy").returncode, 0)
            refused = client("models", "load", "out")
            self.assertEqual(refused.returncode, 1)
            self.assertIn("--model NAME=DIR", refused.stderr)
        finally:
            self.assertEqual(daemon.close(), 0)

    def test_a_pointer_of_git_lfs_is_named(self):
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            clone = self.path("clone-" + name)
            shutil.copytree(self.model, clone)
            with open(os.path.join(clone, name), "w", encoding="utf-8") as file:
                file.write("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
            self.assert_refused(whipsnake("evaluate", "--model", clone, "--text", self.text), 1,
                                name, "a Git LFS pointer", "git lfs pull")

    def test_an_option_applies_to_a_model_or_is_refused_by_name(self):
        root = self.path("kinds")
        os.mkdir(root)
        make_kinds(root, self.text)
        number = iter(range(1000))

        def expect(refusal, *command):
            with self.subTest(command=command):
                result = whipsnake(*command)
                if refusal is None:
                    self.assertEqual(result.returncode, 0, result.stderr)
                else:
                    self.assert_refused(result, 1, refusal)

        short = ["--repeat", "1", "--prompt-tokens", "2", "--generate-tokens", "2"]
        for option, expected in TO_LOAD.items():
            for kind, refusal in zip(KINDS, expected):
                model = os.path.join(root, kind)
                expect(refusal, "evaluate", "--model", model, "--text", self.text, *option)
                if refusal != "quantize":  # bench quantizes by itself
                    expect(refusal, "bench", "--model", model, *short, *option)
        for option, expected in TO_QUANTIZE.items():
            for kind, refusal in zip(("mamba", "gpt2"), expected):
                expect(refusal, "quantize", "--model", os.path.join(root, kind), "--calibration",
                       self.text, "--out", os.path.join(root, f"out-{next(number)}"), *option)
        for kind in KINDS:
            model = os.path.join(root, kind)
            expect("--calibration", "bench", "--model", model, *short, "--calibration", self.text)
            expect({"mamba": "gate", "gpt2": None}.get(kind, "quantized"), "convert", "--model",
                   model, "--activation", "crrelu", "--out",
                   os.path.join(root, f"out-{next(number)}"))
        expect("--calibration", "bench", "--config", self.config, "--random-weights", *short,
               "--calibration", self.text)

    def test_a_classifier_predicts_no_text(self):
        model = self.make_classifier("classifier", ["bad", "good"])
        self.assert_refused(whipsnake("evaluate", "--model", model, "--text", self.text,
                                      "--window", "8"), 1, "classifier of 2 labels",
                            "language model")

    def make_classifier(self, name, labels):
        """Makes a GPT-2 with an output for each label."""
        model = self.path(name)
        harness.make_tiny_model(model, contents=dict(
            harness.TINY_GPT2_CONFIG, architectures=["GPT2ForSequenceClassification"],
            id2label={str(i): label for i, label in enumerate(labels)}))
        return model

    def write_rows(self, name, rows):
        path = self.path(name)
        with open(path, "w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")
        return path

    def test_evaluate_scores_a_classifier(self):
        model = self.make_classifier("moods", ["bad", "good", "so so"])
        texts = [{"text": f"Snake {i * i}", "label": ["bad", "good"][i % 2]} for i in range(12)]
        data = self.write_rows("moods.jsonl", texts)
        flags = ["evaluate", "--model", model, "--data", data, "--task", "classification"]
        result = self.one_object(*flags)
        self.assertEqual(list(result), ["task", "examples", "tokens", "accuracy", "loss",
                                        "macro_f1", "labels", "confusion", "scheme", "seconds"])
        self.assertEqual((result["task"], result["examples"]), ("classification", 12))
        self.assertEqual([label["label"] for label in result["labels"]], ["bad", "good", "so so"])
        self.assertEqual([label["rows"] for label in result["labels"]], [6, 6, 0])
        self.assertEqual(sum(entry["rows"] for entry in result["confusion"]), 12)
        right = sum(entry["rows"] for entry in result["confusion"]
                    if entry["label"] == entry["predicted"])
        self.assertAlmostEqual(result["accuracy"], right / 12)
        shown = whipsnake(*flags)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertRegex(shown.stdout, r"^accuracy 0\.\d{4}  macro-F1 0\.\d{4}  loss \d\.\d{5}\n"
                                       r"LABEL +ROWS +PRECISION +RECALL +F1\n\"bad\" +6 ")
        self.assertRegex(shown.stdout, r"\n12 examples, \d+ tokens, fp32, .*s\n$")

        with open(self.path("moods.csv"), "w", encoding="utf-8") as file:
            for row in texts:
                file.write(f"{row['label']},{row['text']}\n")
        same = self.one_object("evaluate", "--model", model, "--data", self.path("moods.csv"),
                               "--task", "classification", "--no-header", "--label-column",
                               "column 1", "--batch", "5")
        self.assertEqual(same["confusion"], result["confusion"])
        self.assertAlmostEqual(same["loss"], result["loss"], places=5)

    def test_evaluate_scores_a_regression(self):
        model = self.make_classifier("score", ["score"])
        data = self.write_rows("scores.jsonl",
                               [{"text": f"{i} snakes", "label": i / 2} for i in range(9)])
        flags = ["evaluate", "--model", model, "--task", "regression", "--data"]
        result = self.one_object(*flags, data)
        self.assertEqual(list(result), ["task", "examples", "tokens", "loss", "mean_squared_error",
                                        "mean_absolute_error", "correlation", "scheme", "seconds"])
        self.assertEqual(result["loss"], result["mean_squared_error"])
        self.assertLessEqual(abs(result["correlation"]), 1)
        self.assertRegex(whipsnake(*flags, data).stdout, r"^mean squared error \d.*correlation")
        constant = self.write_rows("constant.jsonl", [{"text": "a", "label": 1}] * 2)
        self.assertIsNone(self.one_object(*flags, constant)["correlation"])

    def test_evaluate_scores_choices_and_preferences_of_each_kind_of_model(self):
        root = self.path("scored")
        os.mkdir(root)
        make_kinds(root, self.text)
        choices = self.write_rows("choices.jsonl", [
            {"prompt": f"{i} plus {i} is", "choices": [" 1", " 22", " a snake"], "label": i % 3}
            for i in range(7)])
        pairs = self.write_rows("pairs.jsonl", [
            {"prompt": f"Say {i}.", "chosen": f"{i}!", "rejected": "Never."} for i in range(7)])
        for kind in KINDS:
            with self.subTest(kind=kind):
                model = os.path.join(root, kind)
                result = self.one_object("evaluate", "--model", model, "--data", choices, "--task",
                                         "choice")
                self.assertEqual(list(result), ["task", "examples", "tokens", "accuracy", "loss",
                                                "scheme", "seconds"])
                flags = ["evaluate", "--model", model, "--data", pairs, "--task", "dpo"]
                result = self.one_object(*flags)
                self.assertEqual(list(result), ["task", "examples", "tokens", "accuracy",
                                                "log_probabilities", "scheme", "seconds"])
                scores = result["log_probabilities"]
                self.assertEqual(list(scores), ["chosen", "rejected", "margin"])
                self.assertLess(scores["chosen"], 0)
                base = os.path.join(root, kind.split("-")[0])
                result = self.one_object(*flags, "--reference", base, "--dpo-beta", "0.5")
                self.assertEqual(list(result)[3:7], ["accuracy", "loss", "log_probabilities",
                                                     "rewards"])
                if model == base:
                    self.assertAlmostEqual(result["loss"], math.log(2))
                    self.assertEqual(result["rewards"]["margin"], 0)
                else:
                    self.assertNotEqual(result["rewards"]["margin"], 0)
                shown = whipsnake(*flags, "--reference", base).stdout
                self.assertRegex(shown, r"^accuracy [01]\.\d{4}  loss 0\.\d{5}\nMEAN OF PAIRS +"
                                        r"CHOSEN +REJECTED +MARGIN\nlog-probability .*\nreward ")

    def test_evaluate_finds_what_training_found(self):
        base = self.path("untrained")
        harness.make_tiny_model(base, contents=harness.TINY_GPT2_CONFIG)
        texts = self.write_rows("snakes.jsonl", [
            {"text": f"{i} is {'odd' if i % 2 else 'even'}", "label": i % 2} for i in range(20)])
        pairs = self.write_rows("manners.jsonl", [
            {"prompt": f"Say {i}.", "chosen": "Yes, sir.", "rejected": "No."} for i in range(8)])
        for task, data in ("classification", texts), ("dpo", pairs):
            with self.subTest(task=task):
                tuned = self.path("tuned-" + task)
                trained = whipsnake("train", "--model", base, "--task", task, "--train", data,
                                    "--eval", data, "--out", tuned, "--epochs", "1", "--json")
                self.assertEqual(trained.returncode, 0, trained.stderr)
                report = json.loads(trained.stdout.splitlines()[-1])
                result = self.one_object("evaluate", "--model", tuned, "--task", task, "--data",
                                         data, *(["--reference", base] if task == "dpo" else []))
                self.assertAlmostEqual(result["loss"], report["eval_loss"], places=5)
                self.assertEqual(result["accuracy"], report["eval_accuracy"])

    def test_evaluate_names_what_is_wrong_with_a_task(self):
        classifier = self.make_classifier("two", ["bad", "good"])
        gpt2 = self.path("language")
        harness.make_tiny_model(gpt2, contents=harness.TINY_GPT2_CONFIG)
        texts = self.write_rows("two.jsonl", [{"text": "a", "label": "bad"},
                                              {"text": "b", "label": "ugly"}])
        pairs = self.write_rows("two-pairs.jsonl",
                                [{"prompt": "a", "chosen": "b", "rejected": "c"}])

        def refused(model, data, task, *rest):
            flags, words = rest[:-1], rest[-1]
            with self.subTest(task=task, words=words):
                self.assert_refused(whipsnake("evaluate", "--model", model, "--data", data,
                                              "--task", task, *flags), 1, *words)

        refused(gpt2, texts, "classification", ["a language model seen",
                                                "whipsnake train --task classification"])
        refused(gpt2, texts, "regression", ["whipsnake train --task regression"])
        refused(classifier, pairs, "dpo", ["2 outputs seen, expected a language model"])
        refused(classifier, texts, "classification", [texts, "bad rows: 1 of 2", "line 2", "ugly",
                                                      '"bad", "good"'])
        refused(classifier, self.path("none.jsonl"), "classification", ["none.jsonl"])
        refused(classifier, pairs, "classification", ["line 1", "text"])
        refused(gpt2, pairs, "dpo", "--max-length", "65", ["max_length: 65", "64 positions"])
        refused(gpt2, pairs, "dpo", "--max-length", "1", ["max_length: 1"])
        refused(gpt2, pairs, "dpo", "--reference", classifier, ["the reference model", "2 outputs"])
        refused(gpt2, pairs, "dpo", "--reference", self.path("nowhere"), ["nowhere"])
        choices = self.write_rows("two-choices.jsonl",
                                  [{"prompt": "a", "choices": ["b", "c"], "label": 0}])
        refused(gpt2, choices, "choice", "--reference", gpt2, ["reference", "task choice"])
        bad = self.write_rows("bad-choices.jsonl",
                              [{"prompt": "a", "choices": ["b", "c"], "label": 2}])
        refused(gpt2, bad, "choice", ["line 1", "label"])
        result = whipsnake("evaluate", "--model", gpt2, "--data", texts, "--task",
                           "classification", "--json")
        self.assertEqual(result.returncode, 1)
        self.assertEqual(json.loads(result.stdout)["error"]["code"], "FAILED_PRECONDITION")

    def test_a_runtime_error_with_json_is_one_object(self):
        result = whipsnake("evaluate", "--model", self.model, "--text", self.text, "--window", "1",
                           "--json")
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stderr, "")
        error = json.loads(result.stdout)["error"]
        self.assertEqual(error["code"], "INVALID_ARGUMENT")
        self.assertIn("window", error["message"])
        self.assertEqual(error["details"], {"field": "window"})

    BENCH_KEYS = [
        "scheme", "isa", "device", "prefill_tokens_per_second", "decode_tokens_per_second",
        "time_to_first_token_ms", "time_per_output_token_ms", "streaming_read_ms",
        "streaming_read_bytes", "weights_bytes", "state_bytes_per_sequence", "peak_rss_bytes"]

    def test_bench_prints_one_line_a_scheme_with_exactly_its_keys(self):
        result = whipsnake("bench", "--config", self.config, "--random-weights", "--scheme",
                           "fp32,bf16", "--repeat", "2", "--batch", "3", "--prompt-tokens", "7",
                           "--generate-tokens", "4", "--threads", "1", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual([line["scheme"] for line in lines], ["fp32", "bf16"])
        for line in lines:
            self.assertEqual(list(line), self.BENCH_KEYS)
            for key in self.BENCH_KEYS[3:]:
                self.assertGreater(line[key], 0, key)
            self.assertAlmostEqual(line["prefill_tokens_per_second"],
                                   7e3 / line["time_to_first_token_ms"], delta=1)
            self.assertAlmostEqual(line["decode_tokens_per_second"],
                                   3e3 / line["time_per_output_token_ms"], delta=1)
            # A step reads the weights and the states of the batch.
            self.assertGreater(line["streaming_read_bytes"], 3 * line["state_bytes_per_sequence"])
        self.assertLess(lines[1]["weights_bytes"], lines[0]["weights_bytes"])

    def test_bench_leaves_nothing_behind(self):
        with tempfile.TemporaryDirectory() as temporary:
            result = subprocess.run(
                [harness.arguments.binary, "bench", "--config", self.config, "--random-weights",
                 "--repeat", "1", "--prompt-tokens", "2", "--generate-tokens", "2"],
                env=dict(os.environ, TMPDIR=temporary), capture_output=True, text=True,
                timeout=harness.PATIENCE, check=False)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn("DECODE tok/s", result.stdout)
            self.assertEqual(os.listdir(temporary), [])

    def test_the_instruction_set_can_be_capped(self):
        flags = ["--model", self.model, "--repeat", "1", "--prompt-tokens", "2",
                 "--generate-tokens", "2"]
        self.assertEqual(self.one_object("--isa", "scalar", "bench", *flags)["isa"], "scalar")
        self.assertEqual(self.one_object("bench", *flags, "--isa", "scalar")["isa"], "scalar")

    def test_without_a_server_the_advice_is_to_start_one(self):
        # A port that nothing listens on: this process binds it but does not listen.
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            server = "127.0.0.1:%d" % taken.getsockname()[1]
            for flags in (["health"], ["models", "list"], ["generate", "x"]):
                with self.subTest(flags=flags):
                    self.assert_refused(whipsnake(*flags, "--server", server), 1, server,
                                        "whipsnake serve")


class ClientCommandsTest(harness.ServedTestCase):
    """The commands that talk to a server."""

    def json_lines(self, *flags, stdin=""):
        result = self.client(*flags, "--json", stdin=stdin)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual(result.stderr, "")
        return [json.loads(line) for line in result.stdout.splitlines()]

    def greedy_flags(self):
        return ["generate", "--model", "demo", "--temperature", "0", "--ignore-eos",
                "--max-tokens", str(len(self.greedy["token_ids"]))]

    def test_generate_prints_the_text_and_nothing_else(self):
        result = self.client(*self.greedy_flags(), self.greedy["prompt"])
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout, self.greedy["text"] + "\n")
        self.assertEqual(result.stderr, "")  # the summary goes only to terminals

    def test_generate_json_ends_with_the_result(self):
        *events, result = self.json_lines(*self.greedy_flags(), self.greedy["prompt"])
        self.assertEqual(result["text"], self.greedy["text"])
        self.assertEqual(result["token_ids"], self.greedy["token_ids"])
        self.assertEqual(result["finish_reason"], "length")
        # Another test may have read the same prompt before.
        cached = result["usage"].pop("cached_prompt_tokens")
        self.assertLess(cached, len(self.greedy["prompt_ids"]))
        self.assertEqual(result["usage"], {
            "prompt_tokens": len(self.greedy["prompt_ids"]),
            "generated_tokens": len(self.greedy["token_ids"])})
        self.assertGreater(result["timings"]["time_to_first_token_seconds"], 0)
        self.assertEqual(result["resolved"]["model"], "demo")
        self.assertEqual(events[0]["event"], "started")
        self.assertEqual("".join(event["text"] for event in events[1:]), result["text"])

    def test_generate_takes_the_prompt_from_stdin_and_as_ids(self):
        piped = self.json_lines(*self.greedy_flags(), "-", stdin=self.greedy["prompt"])[-1]
        self.assertEqual(piped["text"], self.greedy["text"])
        ids = ",".join(map(str, self.greedy["prompt_ids"]))
        self.assertEqual(self.json_lines(*self.greedy_flags(), "--prompt-ids", ids)[-1]["text"],
                         self.greedy["text"])

    def test_a_saved_state_goes_on_where_it_ended(self):
        prompt, text = self.greedy["prompt"], self.greedy["text"]
        half = len(self.greedy["token_ids"]) // 2
        flags = ["generate", "--temperature", "0", "--ignore-eos", "--max-tokens", str(half)]
        first = self.client(*flags, "--save-state", prompt)
        handle = re.search(r"^state (st-[0-9a-f]{32})$", first.stderr, re.MULTILINE)[1]
        second = self.client(*flags, "--state", handle)
        self.assertTrue(text.startswith(first.stdout[:-1] + second.stdout[:-1]))
        # Saves only the prompt, forks it, and uses JSON.
        saved, = self.json_lines("states", "save", "--ttl", "60", prompt)
        fork, = self.json_lines("states", "fork", saved["state"]["handle"])
        self.client("states", "delete", saved["state"]["handle"])
        result = self.json_lines(*flags, "--state", fork["state"]["handle"])[-1]
        self.assertTrue(text.startswith(result["text"]))
        listed, = self.json_lines("states", "list")
        names = [state["name"] for state in listed["states"]]
        self.assertIn(fork["state"]["name"], names)
        self.assertNotIn(saved["state"]["name"], names)
        self.assertNotIn("st-", json.dumps(listed))
        table = self.client("states", "list").stdout
        self.assertIn(fork["state"]["name"], table)
        self.assertNotIn("st-", table)
        self.assertIn(handle, self.client("states", "get", handle).stdout)
        gone = self.client("states", "get", saved["state"]["handle"])
        self.assertEqual(gone.returncode, 1)
        self.assertIn("unknown, expired or deleted", gone.stderr)

    def test_states_on_disk_need_a_data_directory_and_survive_a_restart(self):
        refused = self.client("states", "save", "--on-disk", "Once")
        self.assertIn("--data", refused.stderr)
        self.assertIn("--save-state", self.client("generate", "--on-disk", "Once").stderr)
        with tempfile.TemporaryDirectory() as data:
            daemon = harness.Daemon("--data", data)
            saved = whipsnake("states", "save", "--on-disk", "Elizabeth was", "--json", "--server",
                              daemon.grpc)
            self.assertEqual(daemon.close(), 0)
            handle = json.loads(saved.stdout)["state"]["handle"]
            daemon = harness.Daemon("--data", data)
            self.addCleanup(daemon.close)
            again = whipsnake("generate", "--temperature", "0", "--max-tokens", "5", "--state",
                              handle, "--server", daemon.grpc)
            whole = self.client("generate", "--temperature", "0", "--max-tokens", "5",
                                "Elizabeth was")
            self.assertEqual(again.stdout, whole.stdout)

    def test_several_completions_are_printed_whole_and_the_best_chosen(self):
        result = self.client("generate", "--n", "3", "--max-tokens", "4", "--echo", "Elizabeth was")
        for place in (1, 2, 3):
            self.assertIn(f"[{place}/3] Elizabeth was", result.stdout)
        sampled = ["generate", "--max-tokens", "6", "--seed", "5", "--ignore-eos", "--logprobs", "0"]
        everything = self.json_lines(*sampled, "--n", "6", "Once")[-1]["completions"]
        everything.sort(key=lambda c: -sum(token["logprob"] for token in c["logprobs"]))
        best = self.json_lines(*sampled, "--n", "2", "--best-of", "6", "Once")[-1]["completions"]
        self.assertEqual([c["text"] for c in best], [c["text"] for c in everything[:2]])

    def test_structured_output_is_of_its_form(self):
        answer = self.client("generate", "--choice", "yes", "--choice", "no", "--seed", "1", "Is it? ")
        self.assertIn(answer.stdout, ("yes\n", "no\n"))
        answer = self.client("generate", "--regex", "[a-c]{3}x", "--max-tokens", "9", "Once")
        self.assertRegex(answer.stdout, r"^[a-c]{3}x\n$")
        with tempfile.NamedTemporaryFile("w", suffix=".json") as schema:
            schema.write('{"type": "object", "properties": {"n": {"type": "integer", '
                         '"minimum": 5, "maximum": 7}}, "required": ["n"], "x-unit": "metre"}')
            schema.flush()
            answer = self.client("generate", "--json-schema", schema.name, "Once")
            self.assertIn(json.loads(answer.stdout)["n"], (5, 6, 7))
            self.assertIn("warning: structured.json_schema.x-unit: ", answer.stderr)
            self.assertIn("error: --json-schema: ", self.client(
                "generate", "--json-schema", "/proc/self/comm", "Once").stderr)
        self.assertEqual(self.client("generate", "--regex", "a", "--any-json", "x").returncode, 2)
        self.assertEqual(self.client("generate", "--json-schema", "/nowhere", "x").returncode, 1)

    def test_generate_passes_every_flag_on(self):
        result = self.json_lines(
            "generate", "--temperature", "0.5", "--top-k", "7", "--top-p", "0.75", "--min-p",
            "0.125", "--repetition-penalty", "1.5", "--presence-penalty", "-0.25",
            "--frequency-penalty", "0.375", "--no-repeat-ngram-size", "4", "--logit-bias", "5=-1.5", "--logit-bias", "6=2",
            "--seed", "11", "--max-tokens", "3", "--request-id", "mine",
            "--logprobs", "2", "--ignore-eos", "Once")[-1]
        self.assertEqual(result["resolved"], {
            "model": "demo", "request_id": "mine", "max_new_tokens": 3,
            "sampling": {
                "temperature": 0.5, "top_k": 7, "top_p": 0.75, "min_p": 0.125,
                "repetition_penalty": 1.5, "presence_penalty": -0.25, "frequency_penalty": 0.375,
                "no_repeat_ngram_size": 4, "seed": 11, "logit_bias": {"5": -1.5, "6": 2.0}}})
        self.assertEqual(len(result["logprobs"]), 3)
        self.assertEqual({len(token["top"]) for token in result["logprobs"]}, {2})

    def test_generate_stops_at_a_text_and_at_a_token(self):
        word = self.greedy["text"].split()[3]
        result = self.json_lines(*self.greedy_flags(), "--stop", "never", "--stop", word,
                                 self.greedy["prompt"])[-1]
        self.assertEqual(result["finish_reason"], "stop")
        self.assertEqual(result["text"], self.greedy["text"].split(word)[0])
        # The first place where a token of the reference appears.
        token = self.greedy["token_ids"][6]
        place = self.greedy["token_ids"].index(token)
        result = self.json_lines(*self.greedy_flags(), "--stop-ids", str(token),
                                 self.greedy["prompt"])[-1]
        self.assertEqual(result["finish_reason"], "stop")
        self.assertEqual(result["usage"]["generated_tokens"], place + 1)

    def test_an_error_names_the_field_and_the_model(self):
        bad = self.client("generate", "--top-p", "7", "x")
        self.assertEqual(bad.returncode, 1)
        self.assertRegex(bad.stderr, r"^error: --top-p: 7 seen")
        self.assertEqual(bad.stdout, "")
        unknown = self.client("generate", "--model", "nobody", "x")
        self.assertEqual(unknown.returncode, 1)
        self.assertIn("nobody", unknown.stderr)
        self.assertIn("models list", unknown.stderr)

    def test_an_error_in_json_has_the_details(self):
        result = self.client("generate", "--top-p", "7", "x", "--json")
        self.assertEqual(result.returncode, 1)
        error = json.loads(result.stdout)["error"]
        self.assertEqual(error["code"], "INVALID_ARGUMENT")
        self.assertEqual(error["details"]["domain"], "whipsnake")
        self.assertIn("sampling.top_p", error["details"]["fields"][0]["field"])

    def test_no_prompt_is_an_error(self):
        result = self.client("generate")
        self.assertEqual(result.returncode, 1)
        self.assertIn("no prompt", result.stderr)

    def test_interrupt_cancels_the_call(self):
        before = self.daemon.metric("whipsnake_requests_finished_total", reason="cancelled")
        process = subprocess.Popen(
            [harness.arguments.binary, "generate", "--server", self.daemon.grpc, "--max-tokens",
             "16000", "--ignore-eos", "--json", "Once upon a time"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(json.loads(process.stdout.readline())["event"], "started")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=harness.PATIENCE)
        self.assertEqual(process.returncode, 128 + signal.SIGINT)
        self.assertEqual(json.loads(out.splitlines()[-1])["error"]["code"], "CANCELLED")
        self.daemon.wait_for_metric("whipsnake_requests_finished_total", before + 1,
                                    reason="cancelled")

    def test_an_option_applies_to_a_model_or_is_refused_by_name(self):
        root = os.path.join(self.daemon.root, "kinds")
        os.mkdir(root)
        text = self.text_file("kinds.txt", 2000)
        make_kinds(root, text)
        for option, expected in TO_LOAD.items():
            for kind, refusal in zip(KINDS, expected):
                with self.subTest(option=option, kind=kind):
                    result = self.client("models", "load", "kinds/" + kind, *option)
                    self.assertEqual(result.returncode, 0 if refusal is None else 1, result.stderr)
                    self.assertIn(refusal or "", result.stderr)
                    self.client("models", "unload", kind)
        number = iter(range(1000))
        for option, expected in TO_QUANTIZE.items():
            for kind, refusal in zip(("mamba", "gpt2"), expected):
                with self.subTest(option=option, kind=kind):
                    result = self.client("models", "quantize", "kinds/" + kind,
                                         f"kinds/out-{next(number)}", "--calibration", text,
                                         *option)
                    self.assertEqual(result.returncode, 0 if refusal is None else 1, result.stderr)
                    self.assertIn(refusal or "", result.stderr)
        # An option applies to every model of the command line that supports it; the log names the
        # others.
        flags = [flag for kind in KINDS
                 for flag in ("--model", f"{kind}={os.path.join(root, kind)}")]
        daemon = harness.Daemon("--scheme", "bf16", "--state-type", "int8", *flags)
        self.addCleanup(daemon.close)
        listed = json.loads(whipsnake("models", "list", "--json", "--server", daemon.grpc).stdout)
        self.assertEqual({model["name"]: (model["state"], model["scheme"])
                          for model in listed["models"]},
                         {"demo": ("READY", "bf16"), "mamba": ("READY", "bf16"),
                          "mamba-int8": ("READY", "quamba-w8a8"), "gpt2": ("READY", "bf16"),
                          "gpt2-int8": ("READY", "w8a8")})
        left_out = [line for line in daemon.read_log().splitlines() if "does not apply" in line]
        for kind, option in (("demo", "state_type"), ("mamba", "state_type"),
                             ("mamba-int8", "scheme"), ("gpt2-int8", "scheme")):
            self.assertEqual(len([line for line in left_out
                                  if f"model={kind} " in line and option in line]), 1, left_out)
        self.assertEqual(len(left_out), 4, left_out)

    def test_models_are_listed_loaded_and_unloaded(self):
        listed, = self.json_lines("models", "list")
        demo, = [model for model in listed["models"] if model["name"] == "demo"]
        self.assertEqual((demo["state"], demo["architecture"], demo["scheme"]),
                         ("READY", "mamba", "fp32"))
        self.assertGreater(demo["parameters"], 0)
        loaded, = self.json_lines("models", "load", "tiny", "--name", "small", "--scheme", "bf16")
        self.assertEqual((loaded["model"]["name"], loaded["model"]["scheme"]), ("small", "bf16"))
        table = self.client("models", "list").stdout.splitlines()
        self.assertRegex(table[0], r"^NAME +STATE +SERVES AS +ARCHITECTURE +SCHEME +SIZE +CONTEXT$")
        self.assertRegex("\n".join(table), r"(?m)^small +ready +small +mamba +bf16 .* unbounded$")
        self.assertEqual(self.client("models", "unload", "small").returncode, 0)
        self.assertNotIn("small", self.client("models", "list").stdout)
        again = self.client("models", "unload", "small")
        self.assertEqual(again.returncode, 1)
        self.assertIn("small", again.stderr)

    def test_versions_need_a_data_directory(self):
        for command in (("versions", "demo"), ("alias", "demo:stable", "1"),
                        ("unalias", "demo:stable"), ("rollback", "demo", "--version", "1"),
                        ("delete-version", "demo:1")):
            result = self.client("models", *command)
            self.assertEqual(result.returncode, 1, command)
            self.assertIn("--data", result.stderr, command)
        wrong = self.client("models", "alias", "demo", "1")
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("alias", wrong.stderr)

    def text_file(self, name, words):
        path = os.path.join(self.daemon.root, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write("A snake is long; a whip is quick. " * (words // 8))
        return path

    def test_models_are_quantized_listed_and_loaded(self):
        text = self.text_file("text.txt", 2000)
        done, = self.json_lines("models", "quantize", "tiny", "sent", "--calibration", text)
        done = done["quantization"]
        self.assertEqual((done["state"], done["path"], done["output_path"], done["scheme"]),
                         ("SUCCEEDED", "tiny", "sent", "quamba-w8a8"))
        self.assertEqual(len(done["report"]["trials"]), 4)
        result = self.client("models", "quantize", "tiny", "named", "--calibration-path",
                             "text.txt", "--scheme", "static-w8a8", "--head", "bf16")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("models load named", result.stdout)
        loaded, = self.json_lines("models", "load", "named")
        self.assertEqual(loaded["model"]["scheme"], "static-w8a8")
        self.assertEqual(self.client("models", "unload", "named").returncode, 0)
        self.assertRegex(self.client("models", "quantizations").stdout,
                         r"(?m)^%s +succeeded +100%% +quamba-w8a8 +tiny +sent$" % done["id"])

        late = self.client("models", "cancel-quantization", done["id"])
        self.assertEqual(late.returncode, 1)
        self.assertIn("succeeded", late.stderr)
        taken = self.client("models", "quantize", "tiny", "sent", "--calibration", text)
        self.assertEqual(taken.returncode, 1)
        self.assertIn("sent", taken.stderr)
        short = self.client("models", "quantize", "tiny", "short", "--calibration",
                            self.text_file("short.txt", 8))
        self.assertEqual(short.returncode, 1)
        self.assertRegex(short.stderr, "^error: quantization q-.*256")

    def test_a_transformer_is_quantized_and_serves_beside_the_mamba(self):
        tiny = os.path.join(self.daemon.root, "tiny-gpt2")
        harness.make_tiny_model(tiny, contents=harness.TINY_GPT2_CONFIG)
        text = self.text_file("words.txt", 2000)
        for out, flags in (("dynamic", []),
                           ("static", ["--activations", "static", "--activation-table"])):
            with self.subTest(out=out):
                done, = self.json_lines("models", "quantize", "tiny-gpt2", out, "--calibration",
                                        text, *flags)
                self.assertEqual(done["quantization"]["scheme"], "w8a8")
                self.client("models", "load", out, "--state-type", "int8")
                result = self.json_lines("generate", "--model", out, "--max-tokens", "9",
                                         "--ignore-eos", "A snake")[-1]
                self.assertEqual(result["usage"]["generated_tokens"], 9)
                self.assertEqual(self.client("models", "unload", out).returncode, 0)

    def test_a_classifier_is_not_served(self):
        harness.make_tiny_model(os.path.join(self.daemon.root, "classifier"), contents=dict(
            harness.TINY_GPT2_CONFIG, architectures=["GPT2ForSequenceClassification"],
            id2label={"0": "bad", "1": "good"}))
        result = self.client("models", "load", "classifier")
        self.assertEqual(result.returncode, 1)
        self.assertIn("classifier of 2 labels", result.stderr)
        self.client("models", "unload", "classifier")  # it is listed as failed

    def test_a_quantization_outlives_the_command_that_began_it(self):
        # Minutes of work, so that only a cancellation ends it.
        shutil.copytree(harness.demo_model(), os.path.join(self.daemon.root, "larger"))
        text = self.text_file("long.txt", 700000)
        endless = ["--samples", "100000", "--calibration", text]
        process = subprocess.Popen(
            [harness.arguments.binary, "models", "quantize", "--server", self.daemon.grpc,
             "larger", "watched", "--json", *endless],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.daemon.wait_for_metric("whipsnake_quantizations_running", 1)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=harness.PATIENCE)
        self.assertEqual(process.returncode, 128 + signal.SIGINT)
        error = json.loads(out)["error"]
        self.assertEqual(error["code"], "CANCELLED")
        running = error["details"]["quantization"]["id"]
        self.assertIn("cancel-quantization " + running, error["message"])

        waiting, = self.json_lines("models", "quantize", "larger", "waiting", "--detach",
                                   *endless)
        waiting = waiting["quantization"]["id"]
        listed, = self.json_lines("models", "quantizations")
        self.assertEqual([(one["id"], one["state"]) for one in listed["quantizations"][:2]],
                         [(waiting, "QUEUED"), (running, "RUNNING")])
        for id in (waiting, running):
            self.assertEqual(self.client("models", "cancel-quantization", id).returncode, 0)
        self.daemon.wait_for_metric("whipsnake_quantizations_running", 0)
        listed, = self.json_lines("models", "quantizations")
        self.assertEqual({one["state"] for one in listed["quantizations"][:2]}, {"CANCELLED"})
        for name in ("watched", "waiting"):
            self.assertFalse(os.path.exists(os.path.join(self.daemon.root, name)))

    def test_calibration_that_cannot_be_sent_is_refused_here(self):
        large = self.text_file("large.txt", 1000000)
        result = self.client("models", "quantize", "tiny", "out", "--calibration", large)
        self.assertEqual(result.returncode, 1)
        self.assertIn("--calibration-path", result.stderr)
        binary = os.path.join(self.daemon.root, "binary.txt")
        with open(binary, "wb") as file:
            file.write(b"text \xff text")
        result = self.client("models", "quantize", "tiny", "out", "--calibration", binary)
        self.assertEqual(result.returncode, 1)
        self.assertIn("UTF-8", result.stderr)

    def test_a_directory_outside_the_root_is_refused(self):
        for path in ("/etc", "../etc", "nowhere"):
            with self.subTest(path=path):
                result = self.client("models", "load", path)
                self.assertEqual(result.returncode, 1)
                self.assertIn(path, result.stderr)

    def test_load_runs_every_request_and_says_what_it_took(self):
        shape = ["--prompt-tokens", "8", "--max-tokens", "5"]
        for flags in (["--concurrency", "4"], ["--rate", "1000"]):
            with self.subTest(flags=flags):
                result, = self.json_lines("load", *flags, "--requests", "12", *shape)
                self.assertEqual((result["requests"], result["errors"]), (12, 0))
                self.assertEqual(result["output_tokens"], 12 * 5)
                for key in ("ttft_ms", "itl_ms", "request_ms"):
                    percentiles = [result[key][p] for p in ("p50", "p95", "p99")]
                    self.assertEqual(percentiles, sorted(percentiles))
                    self.assertGreater(percentiles[0], 0)

    def load(self, *flags):
        """Runs `load`; returns the exit code and the report."""
        result = self.client("load", "--json", *flags)
        self.assertEqual(result.stderr, "")
        return result.returncode, json.loads(result.stdout)

    def test_load_counts_what_failed_and_has_no_percentiles_of_nothing(self):
        code, result = self.load("--requests", "3", "--max-tokens", "16777216")
        self.assertEqual(code, 1)
        self.assertEqual(result["errors_by_code"], {"INVALID_ARGUMENT": 3})
        self.assertIn("max_new_tokens", result["first_error_by_code"]["INVALID_ARGUMENT"])
        self.assertEqual((result["requests"], result["succeeded"]), (3, 0))
        for key in ("ttft_ms", "itl_ms", "request_ms"):
            self.assertEqual(result[key], {"p50": None, "p95": None, "p99": None})
        shown = self.client("load", "--requests", "3", "--max-tokens", "16777216")
        self.assertEqual(shown.returncode, 1)
        self.assertRegex(shown.stdout, r"(?m)^time to first token +- +- +-$")
        self.assertIn("failed: 3 INVALID_ARGUMENT: ", shown.stdout)

    def test_load_may_be_told_to_expect_refusals(self):
        daemon = harness.Daemon("--max-running", "1", "--max-waiting", "1")
        self.addCleanup(daemon.close)
        flood = ["load", "--json", "--server", daemon.grpc, "--model", "demo", "--concurrency",
                 "32", "--requests", "32", "--prompt-tokens", "4", "--max-tokens", "64"]
        results = [whipsnake(*flood), whipsnake(*flood, "--allow-overload")]
        self.assertEqual([result.returncode for result in results], [1, 0])
        for result in results:
            errors = json.loads(result.stdout)["errors_by_code"]
            self.assertEqual(set(errors), {"RESOURCE_EXHAUSTED"})

    def test_load_measures_other_prompts_each_time_and_says_what_was_cached(self):
        daemon = harness.Daemon("--state-cache-interval", "4", "--prefill-chunk", "4",
                                "--mixed-chunk", "4")
        self.addCleanup(daemon.close)
        shape = ["load", "--server", daemon.grpc, "--model", "demo", "--requests", "4",
                 "--prompt-tokens", "16", "--max-tokens", "2"]
        run = lambda *flags: json.loads(whipsnake(*shape, "--json", *flags).stdout)
        first, second = run(), run()
        self.assertEqual((first["prompt_tokens"], first["cached_prompt_tokens"]), (64, 0))
        self.assertEqual(second["cached_prompt_tokens"], 0)
        self.assertNotEqual(first["seed"], second["seed"])
        seed = str(first["seed"])
        self.assertGreater(run("--seed", seed)["cached_prompt_tokens"], 0)
        shown = whipsnake(*shape, "--seed", seed).stdout
        self.assertRegex(shown, r"(?m)^Prompt tokens from the server's cache: [1-9]\d* of 64$")
        self.assertIn(f"--seed {seed} ", shown)

    def test_an_interrupted_load_reports_what_was_done(self):
        before = self.daemon.metric("whipsnake_requests_finished_total", reason="cancelled")
        process = subprocess.Popen(
            [harness.arguments.binary, "load", "--server", self.daemon.grpc, "--json",
             "--requests", "9", "--concurrency", "2", "--max-tokens", "16000"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.daemon.wait_for_metric("whipsnake_requests_running", 2)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=harness.PATIENCE)
        self.assertEqual(process.returncode, 128 + signal.SIGINT)
        result = json.loads(out)
        self.assertEqual((result["requests"], result["unfinished"], result["errors"]), (0, 9, 0))
        self.daemon.wait_for_metric("whipsnake_requests_finished_total", before + 2,
                                    reason="cancelled")

    def test_load_is_for_people_too(self):
        shown = self.client("load", "--requests", "2", "--max-tokens", "4")
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertIn("inter-token latency", shown.stdout)
        unknown = self.client("load", "--model", "nobody")
        self.assertEqual(unknown.returncode, 1)
        self.assertIn("nobody", unknown.stderr)

    def test_health(self):
        health, = self.json_lines("health", "--model", "demo")
        self.assertEqual(health, {"status": "SERVING",
                                  "model": {"name": "demo", "status": "SERVING"}})
        unknown = self.client("health", "--model", "nobody")
        self.assertEqual(unknown.returncode, 1)
        self.assertIn("nobody", unknown.stderr)


if __name__ == "__main__":
    harness.main()
