"""Tests of what people type: mistakes, habits, and the commands for everyday use of a server."""
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import harness
from harness import whipsnake


def with_environment(flags, stdin="", **variables):
    return subprocess.run([harness.arguments.binary, *flags], input=stdin, capture_output=True,
                          text=True, encoding="utf-8", timeout=harness.PATIENCE, check=False,
                          env={**os.environ, **variables})


class MistakesTest(unittest.TestCase):
    """Mistakes that need no server."""

    def assert_wrong(self, flags, *words):
        result = whipsnake(*flags)
        self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)

    def test_a_mistyped_word_suggests_the_nearest(self):
        for flags, seen, meant in [
                (["genrate", "x"], "genrate", "generate"),
                (["models", "lsit"], "lsit", "list"),
                (["generate", "--temprature", "1", "x"], "--temprature", "--temperature"),
                (["generate", "--max_tokens=4", "x"], "--max_tokens", "--max-tokens"),
                (["evaluate", "--model", "x", "--txet", "y"], "--txet", "--text"),
                (["generate", "--json-schem", "f", "x"], "--json-schem", "--json-schema")]:
            with self.subTest(flags=flags):
                self.assert_wrong(flags, f"'{seen}'", f"did you mean '{meant}'?")

    def test_a_text_without_quotes_is_explained(self):
        self.assert_wrong(["generate", "It", "was"], '"was"', "quote")

    def test_numbers_are_taken_as_they_are_or_refused(self):
        for seed in ("-4", "18446744073709551616"):
            with self.subTest(seed=seed):
                self.assert_wrong(["generate", "--seed=" + seed, "x"], "--seed", f'"{seed}"',
                                  "18446744073709551615")
        for option in ("--seed", "--max-tokens", "--top-k", "--stop-ids", "--prompt-ids"):
            for text in ("1e3", "0x10", "five", "1.5"):
                with self.subTest(option=option, text=text):
                    self.assert_wrong(["generate", f"{option}={text}", "x"], option,
                                      f'"{text}" seen, expected an integer')
        self.assert_wrong(["generate", "--max-tokens", "3000000000", "x"], "--max-tokens",
                          "2147483647")

    def options_of(self, kinds):
        """Yields the commands and options whose values --help shows as one of these."""
        page = whipsnake("man").stdout.replace("\\-", "-")
        for section in page.split("\n.SS ")[1:]:
            command, _, text = section.partition("\n")
            for option, kind in re.findall(r"\\fB(--[\w-]+)\\fR \\fI(.*?)\\fR", text):
                if kind in kinds:
                    yield command.split(), option

    def test_no_real_option_takes_what_is_no_number(self):
        seen = 0
        for command, option in self.options_of({"FLOAT", "SECONDS", "X", "NUMBER", "FRACTION"}):
            if (command[-1], option) in {("generate", "--seed"), ("chat", "--seed"),
                                         ("generate", "--top-k"), ("chat", "--top-k")}:
                continue
            for text in ("nan", "-nan", "inf", "0,8", "abc", "0x10", "1e999"):
                with self.subTest(command=command, option=option, text=text):
                    self.assert_wrong([*command, f"{option}={text}"], option, f'"{text}"')
            seen += 1
        self.assertGreater(seen, 20)

    def test_an_empty_value_is_refused_wherever_it_is_no_text(self):
        may_be_empty = {"--system", "--user", "--reply"}
        kinds = {"TEXT", "FILE", "DIR", "NAME", "RE", "HANDLE", "ID", "MODEL", "ADDRESS", "SIZE",
                 "HOST[:PORT]", "[NAME=]DIR", "HOST"}
        seen = 0
        for command, option in self.options_of(kinds):
            if option not in may_be_empty:
                with self.subTest(command=command, option=option):
                    self.assert_wrong([*command, f"{option}="], option)
                    self.assert_wrong([*command, option, ""], option, '"" seen, expected')
                seen += 1
        self.assertGreater(seen, 60)

    def test_an_option_with_one_value_is_given_once(self):
        self.assert_wrong(["generate", "--max-tokens", "1", "--max-tokens", "2", "x"],
                          "--max-tokens: given 2 times, expected once")

    def test_a_list_has_no_gaps(self):
        for text in ("5,,6", ",5", "5,", ","):
            self.assert_wrong(["generate", "--prompt-ids", text], "--prompt-ids", f'"{text}"')

    def test_a_prompt_is_given_in_one_way(self):
        result = whipsnake("generate", "--prompt-ids", "70", "It was")
        self.assertEqual(result.returncode, 1)
        self.assertIn("expected one of them", result.stderr)

    def test_a_variable_is_named_where_its_value_is_wrong(self):
        result = with_environment(["health"], WHIPSNAKE_SERVER="http://x:1")
        self.assertEqual(result.returncode, 2)
        self.assertIn("error: WHIPSNAKE_SERVER: ", result.stderr)
        result = with_environment(["health", "--server", "http://y:1"],
                                  WHIPSNAKE_SERVER="http://x:1")
        self.assertIn("error: --server: ", result.stderr)

    def test_help_is_a_command_too(self):
        for words in ([], ["generate"], ["models", "load"]):
            result = whipsnake("help", *words)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(result.stdout, whipsnake(*words, "--help").stdout)
        self.assert_wrong(["help", "genrate"], "did you mean 'generate'?")
        self.assert_wrong(["generate", "-hi"], "there is no option '-i'")
        for group in ("tokens", "models", "states"):
            text = whipsnake(group, "--help").stdout
            examples = text[text.index("Examples:"):]
            self.assertIn(f"whipsnake {group} ", examples)
            self.assertNotIn("whipsnake serve", examples)

    def test_an_argument_too_many_is_explained_by_what_the_command_takes(self):
        self.assert_wrong(["models", "load", "demo", "dir"], '"dir" was not expected',
                          "the command takes path")
        self.assert_wrong(["serve", "--port", "1"], "did you mean '--listen'?")
        self.assert_wrong(["generate", "--host", "x"], "did you mean '--server'?")

    def test_standard_input_that_cannot_be_read_is_an_error(self):
        for flags in (["tokens", "count", "-"], ["generate", "-"],
                      ["generate", "--json-schema", "-", "x"], ["init", "--config", "-", "--out",
                                                                "/nowhere/x"], ["chat"]):
            for redirection in ("< /", "<&-"):
                with self.subTest(flags=flags, redirection=redirection):
                    result = subprocess.run(
                        ["bash", "-c", f'"$@" {redirection}', "bash", harness.arguments.binary,
                         *flags], capture_output=True, text=True, check=False,
                        timeout=harness.PATIENCE)
                    self.assertEqual(result.returncode, 1, result.stdout)
                    self.assertIn("stdin cannot be read", result.stderr)
        result = whipsnake("generate", "--json-schema", "-", "x")
        self.assertIn("--json-schema: an empty file seen", result.stderr)

    def test_a_text_that_no_request_can_have_is_refused_at_once(self):
        result = whipsnake("tokens", "count", "-", stdin="x" * (5 << 20))
        self.assertIn("stdin: more than 4194304 bytes seen", result.stderr)

    def test_an_address_that_is_none_is_refused(self):
        self.assert_wrong(["health", "--server", "http://localhost:8500"], "--server", "HOST")

    def test_a_full_disk_behind_the_output_is_an_error(self):
        for flags in (["--help"], ["--version"], ["version"], ["man"], ["completion", "bash"]):
            with self.subTest(flags=flags), open("/dev/full", "w", encoding="utf-8") as full:
                result = subprocess.run([harness.arguments.binary, *flags], stdout=full,
                                        stderr=subprocess.PIPE, text=True, check=False,
                                        timeout=harness.PATIENCE)
                self.assertEqual(result.returncode, 1)
                self.assertIn("standard output cannot be written", result.stderr)

    def test_stdin_is_a_file_wherever_one_is_read(self):
        with tempfile.TemporaryDirectory() as directory:
            model = os.path.join(directory, "model")
            made = whipsnake("init", "--config", "-", "--out", model,
                             stdin=json.dumps(harness.TINY_CONFIG))
            self.assertEqual(made.returncode, 0, made.stderr)
            result = whipsnake("evaluate", "--model", model, "--text", "-", "--json",
                               stdin="A snake is long; a whip is quick.")
            self.assertEqual(result.returncode, 0, result.stderr)
            result = whipsnake("quantize", "--model", model, "--calibration", "-", "--out",
                               model + "-int8", stdin="A snake is long.\n" * 200)
            self.assertEqual(result.returncode, 0, result.stderr)

    def test_interrupting_a_quantization_leaves_nothing(self):
        with tempfile.TemporaryDirectory() as directory:
            model = os.path.join(directory, "model")
            harness.make_tiny_model(model, contents={**harness.TINY_CONFIG, "hidden_size": 256,
                                                     "intermediate_size": 512,
                                                     "num_hidden_layers": 8})
            text = os.path.join(directory, "text")
            with open(text, "w", encoding="utf-8") as file:
                file.write("A snake is long; a whip is quick.\n" * 20000)
            before = sorted(os.listdir(directory))
            terminal, end = pty.openpty()
            process = subprocess.Popen(
                [harness.arguments.binary, "quantize", "--model", model, "--calibration", text,
                 "--out", os.path.join(directory, "out")], stdout=subprocess.PIPE, stderr=end)
            os.close(end)
            self.addCleanup(os.close, terminal)
            os.read(terminal, 100)  # the first progress: it has begun
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=harness.PATIENCE)
            self.assertEqual(process.returncode, 128 + signal.SIGINT)
            self.assertEqual(sorted(os.listdir(directory)), before)


class DocumentsTest(unittest.TestCase):
    """What is made from the definitions of the commands."""

    def test_version(self):
        self.assertRegex(whipsnake("version").stdout, r"^whipsnake \d+\.\d+\.\d+ \(\w+\)\n")
        version = json.loads(whipsnake("version", "--json").stdout)
        self.assertEqual(set(version), {"version", "commit", "compiler", "isa", "machine_isa"})

    def complete(self, *words):
        """Returns what bash offers for the last word."""
        script = whipsnake("completion", "bash").stdout
        typed = " ".join(f"'{word}'" for word in ("whipsnake", *words))
        done = subprocess.run(
            ["bash", "-c", f"{script}\nCOMP_WORDS=({typed}); COMP_CWORD={len(words)}; _whipsnake; "
             "printf '%s\\n' \"${COMPREPLY[@]}\""], capture_output=True, text=True, check=True)
        return done.stdout.split()

    def test_bash_completes_commands_options_and_choices(self):
        self.assertIn("generate", self.complete(""))
        self.assertEqual(self.complete("fine"), ["finetune"])
        self.assertIn("watch", self.complete("finetune", ""))
        self.assertEqual(self.complete("generate", "--temp"), ["--temperature"])
        self.assertEqual(self.complete("generate", "--priority", ""), ["high", "normal", "low"])
        self.assertEqual(self.complete("models", "list", "--ser"), ["--server"])

    def test_the_scripts_of_all_shells_can_be_read(self):
        for shell in ("bash", "zsh", "fish"):
            script = whipsnake("completion", shell).stdout
            self.assertIn("whipsnake", script)
            if shutil.which(shell):
                done = subprocess.run([shell, "-n"], input=script, text=True, capture_output=True,
                                      check=False)
                self.assertEqual((done.returncode, done.stderr), (0, ""), shell)

    @unittest.skipUnless(shutil.which("fish"), "fish is not installed")
    def test_fish_completes_commands_options_and_choices(self):
        script = whipsnake("completion", "fish").stdout
        for typed, expected in [("fine", ["finetune"]), ("finetune wat", ["watch"]),
                                ("generate --temp", ["--temperature"]),
                                ("generate --priority ", ["high", "low", "normal"]),
                                ("models list --ser", ["--server"])]:
            with self.subTest(typed=typed):
                done = subprocess.run(
                    ["fish", "--no-config", "-c", f"source; complete -C 'whipsnake {typed}'"],
                    input=script, capture_output=True, text=True, check=False)
                self.assertEqual([line.split("\t")[0] for line in done.stdout.splitlines()],
                                 expected, done.stderr)

    def test_the_manual_page_has_every_command(self):
        page = whipsnake("man").stdout
        self.assertIn("HOST[:PORT]", page)
        for command in ("serve", "models list", "finetune watch", "chat"):
            self.assertIn(f".SS {command}\n", page)
        if shutil.which("groff"):
            done = subprocess.run(["groff", "-man", "-ww", "-Tutf8"], input=page, text=True,
                                  capture_output=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))


class ServerCommandsTest(harness.ServedTestCase):
    """The commands that talk to a server."""

    def output(self, *flags, stdin=""):
        result = self.client(*flags, stdin=stdin)
        self.assertEqual((result.returncode, result.stderr), (0, ""), result.stdout)
        return result.stdout

    def json(self, *flags, stdin=""):
        return json.loads(self.output(*flags, "--json", stdin=stdin))

    def test_variables_stand_for_options(self):
        result = with_environment(["models", "list"], WHIPSNAKE_SERVER=self.daemon.grpc)
        self.assertIn("demo", result.stdout)
        result = with_environment(["tokens", "count", "x"], WHIPSNAKE_SERVER=self.daemon.grpc,
                                  WHIPSNAKE_MODEL="nobody")
        self.assertEqual(result.returncode, 1)
        self.assertIn("nobody", result.stderr)

    def test_a_variable_with_a_wrong_value_is_refused(self):
        result = with_environment(["health"], WHIPSNAKE_SERVER="http://x")
        self.assertEqual(result.returncode, 2)
        self.assertIn("http://x", result.stderr)

    def test_a_proxy_does_not_come_between_this_machine_and_itself(self):
        result = with_environment(["health", "--server", self.daemon.grpc],
                                  http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_an_expired_deadline_says_which(self):
        result = self.client("generate", "--model", "demo", "--ignore-eos", "--max-tokens", "16000",
                             "--timeout", "0.2", "x")
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertIn("200 ms, the --timeout", result.stderr)

    def test_an_unreachable_server_takes_one_line(self):
        result = whipsnake("health", "--server", "127.0.0.1:1", "--timeout", "20")
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)

    def test_the_server_tells_of_itself(self):
        info = self.json("server", "info")
        self.assertFalse(info["draining"])
        self.assertGreater(info["memory_used_bytes"], 0)
        self.assertIn("serving", self.output("server", "info"))
        self.assertIn("whipsnake_requests_running", self.output("server", "metrics"))

    def test_a_drained_server_ends(self):
        daemon = harness.Daemon()
        self.addCleanup(daemon.close)
        done = whipsnake("server", "drain", "--server", daemon.grpc)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(daemon.wait(), 0)

    def test_a_model_is_shown(self):
        model = self.json("models", "show", "demo")["model"]
        self.assertEqual((model["name"], model["state"]), ("demo", "READY"))
        self.assertEqual(model["generation_defaults"]["temperature"], 0.8)
        self.assertEqual(model["generation_defaults"]["max_tokens"], 128)
        self.assertIn("unbounded", self.output("models", "show", "demo"))
        result = self.client("models", "show", "nobody")
        self.assertEqual(result.returncode, 1)
        self.assertIn("nobody", result.stderr)

    def test_help_shows_the_values_of_a_model(self):
        for command in ("generate", "chat"):
            with self.subTest(command=command):
                plain = self.client(command, "--help")
                self.assertNotIn("Defaults of", plain.stdout)
                known = self.client(command, "--model", "demo", "--help")
                self.assertEqual(known.returncode, 0, known.stderr)
                self.assertIn("Defaults of model 'demo'", known.stdout)
                for value in (r"--temperature +0\.8\n", r"--top-p +0\.95\n", r"--top-k +0\n",
                              r"--max-tokens +128\n"):
                    self.assertRegex(known.stdout, value)
                unknown = self.client(command, "--model", "nosuch", "--help")
                self.assertEqual(unknown.returncode, 0, unknown.stderr)
                self.assertRegex(unknown.stdout, "'nosuch' .*are not known")

    def test_help_of_a_server_that_does_not_answer(self):
        result = with_environment(["generate", "--server", "127.0.0.1:1", "--help"],
                                  WHIPSNAKE_MODEL="demo")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, "'demo' on 127.0.0.1:1 are not known")

    def test_tokens_there_and_back(self):
        text = self.greedy["prompt"]
        ids = self.output("tokens", "encode", text).strip()
        self.assertEqual(int(self.output("tokens", "count", "-", stdin=text)),
                         len(ids.split(",")))
        self.assertEqual(self.output("tokens", "decode", ids), text + "\n")
        self.assertEqual(self.json("tokens", "encode", text)["token_ids"],
                         [int(i) for i in ids.split(",")])
        result = self.client("tokens", "decode", "1,99999999")
        self.assertEqual(result.returncode, 1)
        self.assertIn("token_ids[1]: 99999999 seen", result.stderr)

    def test_a_state_names_its_model(self):
        self.client("models", "load", "tiny")
        self.addCleanup(self.client, "models", "unload", "tiny")
        state = self.json("states", "save", "--model", "demo", self.greedy["prompt"])["state"]
        self.addCleanup(self.client, "states", "delete", state["handle"])
        result = self.json_lines("generate", "--state", state["handle"], "--temperature", "0",
                                 "--max-tokens", "4")[-1]
        self.assertEqual(result["resolved"]["model"], "demo")
        self.assertEqual(result["token_ids"], self.greedy["token_ids"][:4])

    def json_lines(self, *flags, stdin=""):
        return [json.loads(line)
                for line in self.output(*flags, "--json", stdin=stdin).splitlines()]

    # chat

    def chat(self, lines, *flags):
        return self.json_lines("chat", "--model", "demo", "--temperature", "0", "--max-tokens",
                               "12", *flags, stdin="".join(line + "\n" for line in lines))

    def test_a_chat_goes_on_from_where_it_was(self):
        one, two = self.chat(["It was", "Then"])
        # The same tokens without states: the whole text as the prompt.
        ended = "" if one["finish_reason"] == "stop" else "\n"
        whole = "It was\n" + one["reply"] + ("\n" if not ended else ended) + "Then\n"
        again = self.json_lines("generate", "--model", "demo", "--temperature", "0",
                                "--max-tokens", "12", "--stop", "\n", whole)[-1]
        self.assertEqual(two["reply"], again["text"])

    def test_a_chat_takes_back_begins_anew_and_forgets_its_states(self):
        _, two, again, anew = self.chat(["It was", "Then", "/undo", "Then", "/reset", "It was"])
        self.assertEqual(two["reply"], again["reply"])
        first = self.chat(["It was"])[0]
        self.assertEqual(anew["reply"], first["reply"])
        self.assertEqual(self.json("states", "list")["states"], [])

    def test_a_reply_is_not_empty(self):
        newline = self.output("tokens", "encode", "--model", "demo", "\n").strip()
        replies = self.chat(["It was", "Then"], "--logit-bias", newline + "=1000")
        self.assertEqual([reply["reply"] for reply in replies], ["\n", "\n"])

    def test_a_chat_refuses_a_line_and_goes_on(self):
        lines = ["It was", "x" * (5 << 20), "Then", "many words " * 20000, "/state"]
        result = subprocess.run(
            [harness.arguments.binary, "chat", "--model", "demo", "--temperature", "0", "--json",
             "--max-tokens", "12", "--server", self.daemon.grpc],
            input=b"".join(line.encode() + b"\r\n" for line in lines) + b"\xff\n",
            capture_output=True, timeout=harness.PATIENCE, check=False)
        one, large, two, long, shown, invalid = map(json.loads, result.stdout.splitlines())
        self.assertEqual(result.returncode, 1)
        self.assertEqual([one, two], self.without_states(self.chat(["It was", "Then"]), one, two))
        self.assertIn("more than 4194304 bytes", large["error"]["message"])
        self.assertIn("the prompt", long["error"]["message"])
        self.assertEqual(shown["state"], two["state"])
        self.assertIn("not UTF-8", invalid["error"]["message"])

    def without_states(self, replies, *others):
        """Returns the replies with the states of others."""
        return [{**reply, "state": other["state"]} for reply, other in zip(replies, others)]

    def test_an_error_names_the_flag_that_was_typed(self):
        for flag, value in (("--max-tokens", "-1"), ("--temperature", "-1"), ("--top-p", "7"),
                            ("--stop-ids", "-5"), ("--n", "-2")):
            with self.subTest(flag=flag):
                result = self.client("generate", "--model", "demo", flag, value, "x")
                self.assertEqual(result.returncode, 1)
                self.assertTrue(result.stderr.startswith(f"error: {flag}"), result.stderr)

    def test_ids_are_decoded_from_standard_input(self):
        decode = ["tokens", "decode", "--model", "demo"]
        ids = self.output("tokens", "encode", "--model", "demo", "It was")
        self.assertEqual(self.output(*decode, "-", stdin=ids), "It was\n")
        self.assertEqual(self.output(*decode, "-", stdin=ids.replace(",", ",\n")), "It was\n")
        self.assertIn('"" seen', self.client(*decode, "5,,6").stderr)

    def test_numbers_are_decimal(self):
        ten = self.json_lines("generate", "--model", "demo", "--max-tokens", "010",
                              "--ignore-eos", "It was")[-1]
        self.assertEqual(len(ten["token_ids"]), 10)
        self.assertEqual(self.output("tokens", "decode", "--model", "demo", "010"),
                         self.output("tokens", "decode", "--model", "demo", "10"))

    def test_a_chat_shows_its_state(self):
        reply, shown = self.chat(["It was", "/state"])
        self.assertEqual(shown, {"state": reply["state"]})

    def test_ctrl_c_ends_a_reply_and_not_the_session(self):
        terminal, end = pty.openpty()
        process = subprocess.Popen(
            [harness.arguments.binary, "chat", "--model", "demo", "--server", self.daemon.grpc,
             "--stop", "no such text", "--max-tokens", "16000"],
            stdin=end, stdout=end, stderr=end, start_new_session=True)
        os.close(end)
        self.addCleanup(os.close, terminal)
        seen = self.read_until(terminal, "> ")
        os.write(terminal, b"It was\n")
        self.read_until(terminal, "\n", more=20)
        process.send_signal(signal.SIGINT)
        self.read_until(terminal, "\n> ")
        os.write(terminal, b"/quit\n")
        self.assertEqual(process.wait(timeout=harness.PATIENCE), 0, seen)

    def read_until(self, terminal, text, more=0):
        """Reads a terminal until it has shown a text, and so many characters more."""
        seen, deadline = "", time.monotonic() + harness.PATIENCE
        while text not in seen or len(seen) < seen.index(text) + len(text) + more:
            ready, _, _ = select.select([terminal], [], [], max(deadline - time.monotonic(), 0))
            self.assertTrue(ready, f"{text!r} is not in {seen!r}")
            seen += re.sub(r"\x1b\[\d*[mK]", "", os.read(terminal, 4096).decode(errors="replace"))
            seen = seen.replace("\r\n", "\n")
        return seen


if __name__ == "__main__":
    harness.main()
