"""Tests of how a server is configured: the file, variables and flags, check-config, SIGHUP, Unix
sockets, and models that cannot be loaded."""
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
import unittest

import certificates
import harness
from harness import whipsnake

FREE = {"listen": "127.0.0.1:0", "http": "127.0.0.1:0"}


class Server:
    """`whipsnake serve` with these flags and variables."""

    def __init__(self, test, *flags, **variables):
        self.log_path = tempfile.NamedTemporaryFile(dir=test.root, delete=False).name
        with open(self.log_path, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [harness.arguments.binary, "serve", *flags], stdout=subprocess.PIPE, stderr=log,
                text=True, cwd=test.root, env={**os.environ, **variables})
        test.addCleanup(self.close)
        line = self.process.stdout.readline()
        match = re.match(r"listening grpc=(\S+) http=(\S+)$", line)
        assert match, f"{line!r}: {self.log()}"
        self.grpc, self.http = match.groups()

    def log(self):
        with open(self.log_path, encoding="utf-8") as file:
            return file.read()

    def hang_up(self, word="the configuration is"):
        """Sends SIGHUP and returns the line about the reload."""
        before = self.log().count(word)
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + harness.PATIENCE
        while self.log().count(word) == before:
            assert time.monotonic() < deadline, self.log()
            assert self.process.poll() is None, self.log()
            time.sleep(0.02)
        return [line for line in self.log().splitlines() if word in line][-1]

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=harness.PATIENCE)
        self.process.stdout.close()
        return code


class BoundsTest(unittest.TestCase):
    """Values that no machine can want."""

    def test_what_costs_at_the_start_has_an_upper_bound(self):
        for flag, value in (("--max-running", "1000000"), ("--threads", "2000"), ("--data", ""),
                            ("--model-root", ""), ("--grace-period", "nan"),
                            ("--checkpoint-interval", "nan"), ("--job-retry-delay", "nan")):
            with self.subTest(flag=flag):
                result = whipsnake("serve", "--model", "x", flag, value)
                self.assertEqual(result.returncode, 2, result.stdout)
                self.assertIn(f'error: {flag}: ', result.stderr)
                self.assertIn("expected", result.stderr)


class ConfigurationTest(unittest.TestCase):
    def setUp(self):
        # Short, because the path of a socket has at most 107 bytes.
        self.root = tempfile.mkdtemp(prefix="wsn-", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        self.model = self.path("tiny")
        harness.make_tiny_model(self.model)

    def path(self, name):
        return os.path.join(self.root, name)

    def write(self, contents, name="serve.json"):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(contents if isinstance(contents, str) else json.dumps(contents, indent=1))
        return self.path(name)

    def config(self, **more):
        return self.write({**FREE, "models": [{"name": "tiny", "directory": "tiny"}], **more})

    def checked(self, file, *flags, code=0):
        result = whipsnake("check-config", file, "--json", *flags)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        return json.loads(result.stdout)

    def generate(self, address, tokens=2):
        return whipsnake("generate", "--server", address, "--model", "tiny", "--max-tokens",
                         str(tokens), "a")

    # --- The set of settings --------------------------------------------------------------------

    def test_every_flag_of_serve_has_a_field_and_a_documented_default(self):
        shown = whipsnake("serve", "--help").stdout
        flags = set(re.findall(r"^  (?:-h,)?(--[a-z-]+)", shown, re.MULTILINE))
        flags -= {"--help", "--json", "--config", "--isa"}
        settings = self.checked(self.config(), code=0)["settings"]
        fields = {"--" + field.replace("_", "-") for field in settings}
        fields = {{"--models": "--model", "--console-hosts": "--console-host"}.get(flag, flag)
                  for flag in fields}
        self.assertEqual(flags, fields)
        # The comments of config.proto tell each default, and which fields reload.
        with open(os.path.join(harness.arguments.source, "proto/whipsnake/v1/config.proto"),
                  encoding="utf-8") as file:
            text = file.read().split("message ServerConfig {")[1].split("\n}\n")[0]
        defaults = self.checked(self.write({"model_root": "."}, "plain.json"))["settings"]
        documented = 0
        comment = []
        for line in text.splitlines():
            line = line.strip()
            if line.startswith("//"):
                comment.append(line[2:].strip())
                continue
            field = re.match(r"(?:repeated )?\w+ (\w+) = \d+;", line)
            if field:
                told = re.search(r"Default: (\S+?)[.;]?(?: |$)", " ".join(comment))
                value = defaults[field[1]]["value"]
                self.assertEqual(defaults[field[1]]["reloads"], "Reloads" in " ".join(comment),
                                 field[1])
                if told and re.match(r'[\d"tf]', told[1]) and "GiB" not in " ".join(comment[-1:]):
                    if told[1] not in ("fp32", "the"):
                        self.assertEqual(json.loads(told[1]), value, field[1])
                        documented += 1
            elif not line:
                comment = []
        self.assertGreater(documented, 20)

    # --- check-config ---------------------------------------------------------------------------

    def test_check_config_shows_where_each_value_comes_from(self):
        file = self.config(max_waiting=11, grace_period="2s", rpc_buffer_bytes="64MiB")
        os.environ["WHIPSNAKE_MAX_WAITING"] = "12"
        os.environ["WHIPSNAKE_THREADS"] = "1"
        try:
            said = self.checked(file, "--threads", "2", "--insecure-listen=false")
        finally:
            del os.environ["WHIPSNAKE_MAX_WAITING"], os.environ["WHIPSNAKE_THREADS"]
        found = {field: (each["value"], each["from"]) for field, each in said["settings"].items()}
        self.assertEqual(found["max_waiting"], (12, "environment"))
        self.assertEqual(found["threads"], (2, "flag"))
        self.assertEqual(found["grace_period"], (2, "file"))
        self.assertEqual(found["rpc_buffer_bytes"], (64 << 20, "file"))
        self.assertEqual(found["insecure_listen"], (False, "flag"))
        self.assertEqual(found["max_running"], (64, "default"))
        self.assertEqual(found["models"],
                         ([{"name": "tiny", "directory": self.path("tiny")}], "file"))
        table = whipsnake("check-config", file)
        self.assertEqual(table.returncode, 0, table.stderr)
        self.assertRegex(table.stdout, r"max_waiting +file +11\n")

    def test_check_config_tells_all_errors_and_touches_nothing(self):
        file = self.write('{\n"thread": 1,\n"data": "new/data",\n"max_running": 0,\n'
                          '"models": [{"name": "x", "directory": "nowhere"}]\n}')
        said = self.checked(file, code=1)
        self.assertFalse(said["valid"])
        text = "\n".join(error["message"] for error in said["errors"])
        self.assertIn(file + ":2: thread: there is no such field; did you mean threads?", text)
        self.assertIn(file + ":4: max_running: 0 seen, expected an integer from 1 to 16384", text)
        self.assertIn(f"{file}:5: models[0]: {self.path('nowhere')} seen", text)
        self.assertEqual(len(said["errors"]), 3, text)
        self.assertFalse(os.path.exists(self.path("new")))
        result = whipsnake("check-config", file)
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stderr.count("error: "), 3, result.stderr)
        served = whipsnake("serve", "--config", file)
        self.assertEqual(served.returncode, 1)
        for error in said["errors"]:
            self.assertIn(error["message"], served.stderr)

    def test_faults_of_the_files_of_access_are_told(self):
        certificates.Authority(self.path("."), "clients").server()
        tokens = self.write("{}", "tokens.jsonl")
        open_to_all = self.write("", "open.jsonl")
        os.chmod(open_to_all, 0o666)
        for flags, words in (
                (["--tokens", self.path("nowhere")], ["--tokens: ", "nowhere"]),
                (["--tokens", tokens], ["--tokens: ", "tokens.jsonl", "line 1"]),
                (["--tokens", open_to_all], ["--tokens: ", "chmod go-w"]),
                (["--tls-cert", self.path("nowhere"), "--tls-key", self.path("server.key")],
                 ["--tls-cert: ", "nowhere"]),
                (["--tls-cert", self.path("server.pem"), "--tls-key", self.path("clients.key")],
                 ["--tls-key: ", "clients.key"]),
                (["--tokens", tokens, "--tls-cert", self.path("nowhere"), "--tls-key", "x"],
                 ["--tokens: ", "--tls-cert: "])):
            with self.subTest(flags=flags):
                said = self.checked(self.config(), *flags, code=1)
                text = "\n".join(error["message"] for error in said["errors"])
                served = whipsnake("serve", "--config", self.path("serve.json"), *flags)
                self.assertEqual(served.returncode, 1)
                for word in words:
                    self.assertIn(word, text)
                    self.assertIn(word, served.stderr)

    def test_wrong_flags_are_refused_as_such(self):
        for flags, word in ((["--threads", "x"], "--threads"), (["--max-running", "0"], "from 1 to 16384"),
                            (["--max-runing", "1"], "did you mean '--max-running'"),
                            (["--log-level", "loud"], "debug"),
                            (["--insecure-listen=maybe"], "insecure-listen")):
            result = whipsnake("serve", *flags)
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertIn(word, result.stderr)

    def test_the_documents_example_is_valid(self):
        with open(os.path.join(harness.arguments.source, "docs/configuration.md"),
                  encoding="utf-8") as file:
            example = re.search(r"^```jsonc\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL)[1]
        for folder in ("support", "search", "models"):
            harness.make_tiny_model(self.path(folder))
        made = whipsnake("token", "create", "someone", "--tokens", self.path("tokens.jsonl"))
        self.assertEqual(made.returncode, 0, made.stderr)
        certificates.Authority(self.path("."), "clients").server()
        settings = self.checked(self.write(example))["settings"]
        left_out = [field for field, each in settings.items() if each["from"] == "default"]
        self.assertEqual(left_out, [], "the example is to be complete")

    def test_the_configuration_for_systemd_is_valid(self):
        file = os.path.join(harness.arguments.source, "deploy/systemd/serve.json")
        said = self.checked(file, "--model-root", self.root, "--data", self.path("data"))
        self.assertTrue(said["valid"])

    # --- Serving with a file --------------------------------------------------------------------

    def test_serves_by_file_variables_and_flags(self):
        file = self.config(max_new_tokens=3, log_json=True, log_level="debug")
        server = Server(self, "--reflection", "off", WHIPSNAKE_CONFIG=file,
                        WHIPSNAKE_MAX_NEW_TOKENS="2")
        self.assertEqual(self.generate(server.grpc, 2).returncode, 0)
        refused = self.generate(server.grpc, 3)
        self.assertIn("--max-tokens", refused.stderr)
        lines = [json.loads(line) for line in server.log().splitlines()]
        told = {line["field"]: line["value"] for line in lines if line["message"] == "setting"}
        self.assertEqual((told["max_new_tokens"], told["reflection"]), ("2", '"off"'))

    # --- SIGHUP ---------------------------------------------------------------------------------

    def test_a_hang_up_reloads_what_can_change(self):
        self.config(max_new_tokens=2)
        server = Server(self, "--config", "serve.json", "--max-waiting-tokens", "5000")
        self.assertIn("--max-tokens", self.generate(server.grpc, 3).stderr)
        self.config(max_new_tokens=3, max_waiting=7, max_waiting_tokens=9, threads=1,
                    log_level="debug")
        line = server.hang_up()
        self.assertIn(" info the configuration is reloaded ", line)
        for change in ("max_new_tokens: 2 to 3", "max_waiting: 256 to 7", "log_level: info to debug"):
            self.assertIn(change, line)
        self.assertIn("needs_restart=threads", line)
        self.assertNotIn("max_waiting_tokens", line, "the flag stands above the file")
        self.assertEqual(self.generate(server.grpc, 3).returncode, 0)
        # A file that is wrong changes nothing.
        self.config(max_new_tokens=4, max_waiting="x")
        line = server.hang_up()
        self.assertIn(" error the configuration is not reloaded", line)
        self.assertIn("max_waiting", line)
        self.assertIn("--max-tokens", self.generate(server.grpc, 4).stderr)
        self.write("{")
        self.assertIn("not reloaded", server.hang_up())
        os.remove(self.path("serve.json"))
        self.assertIn("not reloaded", server.hang_up())
        self.assertEqual(self.generate(server.grpc, 3).returncode, 0)
        # Back to what it was, though the model's directory is no longer there.
        os.rename(self.model, self.path("elsewhere"))
        self.config(max_new_tokens=2)
        self.assertIn("max_new_tokens: 3 to 2", server.hang_up())
        self.assertIn("--max-tokens", self.generate(server.grpc, 3).stderr)
        self.assertEqual(server.close(), 0)

    def test_a_hang_up_without_a_file_changes_nothing(self):
        server = Server(self, "--model", "tiny=tiny", "--listen", "127.0.0.1:0", "--http", "off")
        self.assertIn('changed="" needs_restart=""', server.hang_up())
        self.assertEqual(server.close(), 0)

    def test_lines_below_the_level_are_not_logged(self):
        server = Server(self, "--config", self.config(log_level="error"))
        self.generate(server.grpc)
        self.assertEqual(server.log(), "")
        self.config(log_level="info")
        self.assertIn("log_level: error to info", server.hang_up())
        self.generate(server.grpc)
        self.assertEqual(server.close(), 0)
        self.assertIn("request finished", server.log())

    # --- Unix sockets ---------------------------------------------------------------------------

    def http_get(self, path, target):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(harness.PATIENCE)
            connection.connect(path)
            connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n"
                               "Connection: close\r\n\r\n".encode())
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
            return answer.decode()

    def test_unix_sockets_serve_both_protocols(self):
        file = self.config(listen="unix:grpc.sock", http="unix:http.sock", console="on")
        server = Server(self, "--config", file)
        grpc = self.path("grpc.sock")
        self.assertEqual(server.grpc, "unix:" + grpc)
        self.assertEqual(server.http, "unix:" + self.path("http.sock"))
        for path in (grpc, self.path("http.sock")):
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o660)
        self.assertTrue(self.http_get(self.path("http.sock"), "/healthz").startswith("HTTP/1.1 200"))
        self.assertIn("<html", self.http_get(self.path("http.sock"), "/console"))
        for command in (["health"], ["models", "list"], ["server", "info"],
                        ["generate", "--max-tokens", "2", "a"],
                        ["tokens", "count", "--model", "tiny", "a"]):
            result = whipsnake(*command, "--server", "unix:" + grpc)
            self.assertEqual(result.returncode, 0, f"{command}: {result.stderr}")
        # Another server does not take a socket that is in use, and leaves it alone.
        second = whipsnake("serve", "--config", file, "--http", "off", "--console", "off")
        self.assertEqual(second.returncode, 1)
        self.assertIn("another server listens", second.stderr)
        self.assertEqual(whipsnake("health", "--server", "unix:" + grpc).returncode, 0)
        self.assertEqual(server.close(), 0)
        self.assertFalse(os.path.exists(grpc))

    def test_the_socket_of_a_killed_server_is_replaced(self):
        file = self.config(listen="unix:grpc.sock", http="off", socket_mode="0600")
        first = Server(self, "--config", file)
        first.process.kill()
        first.process.wait(timeout=harness.PATIENCE)
        self.assertTrue(os.path.exists(self.path("grpc.sock")))
        second = Server(self, "--config", file)
        self.assertEqual(second.http, "off")
        self.assertEqual(stat.S_IMODE(os.stat(self.path("grpc.sock")).st_mode), 0o600)
        self.assertEqual(self.generate("unix:" + self.path("grpc.sock")).returncode, 0)
        self.assertEqual(second.close(), 0)

    # --- Models that cannot be loaded -----------------------------------------------------------

    def test_a_model_that_cannot_be_loaded_ends_serve(self):
        bad = self.path("bad")
        shutil.copytree(self.model, bad)
        with open(os.path.join(bad, "model.safetensors"), "r+b") as file:
            file.truncate(100)
        file = self.config(models=[{"name": "tiny", "directory": "tiny"},
                                   {"name": "bad", "directory": "bad"}])
        result = whipsnake("serve", "--config", file)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, r"error: .*serve\.json:\d+: models\[1\]: bad cannot be loaded")
        self.assertIn("--allow-missing", result.stderr)
        flag = whipsnake("serve", "--listen", "127.0.0.1:0", "--http", "off", "--model", "bad=" + bad)
        self.assertEqual(flag.returncode, 1)
        self.assertIn("--model: bad cannot be loaded", flag.stderr)
        server = Server(self, "--config", file, "--allow-missing")
        self.assertEqual(self.generate(server.grpc).returncode, 0)
        self.assertEqual(server.close(), 0)
        # An entry that is not preloaded is not looked at that closely.
        later = self.config(models=[{"name": "tiny", "directory": "tiny"},
                                    {"name": "bad", "directory": "bad", "preload": False}])
        server = Server(self, "--config", later)
        self.assertNotIn("bad", whipsnake("models", "list", "--server", server.grpc).stdout)
        self.assertEqual(server.close(), 0)


if __name__ == "__main__":
    harness.main()
