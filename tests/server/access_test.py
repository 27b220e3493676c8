"""Who may do what: every method and every path against every kind of token, and TLS against every
kind of client. The tables are printed. Then what a reload changes, and what the commands say."""
import glob
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import tempfile
import time
import unittest

import certificates
import harness
import rpc_client
from harness import whipsnake

# The tokens of the server under test: their scopes.
TOKENS = {"reader": ["infer"], "trainer": ["train"], "worker": ["infer", "train"],
          "operator": ["admin"], "scraper": []}
# For each scope that a method asks for: a token that has it, and one that lacks it.
RIGHT = {"infer": "reader", "train": "trainer", "admin": "operator", "any": "scraper",
         "open": "scraper"}
LACKING = {"infer": "trainer", "train": "reader", "admin": "worker", "any": None, "open": None}
KINDS = ("none", "malformed", "unknown", "expired", "lacking", "right")
REASONS = {"none": "TOKEN_MISSING", "malformed": "TOKEN_MALFORMED", "unknown": "TOKEN_UNKNOWN",
           "expired": "TOKEN_EXPIRED", "lacking": "SCOPE_MISSING"}
# What every path of the HTTP port asks for. The files of the page are open.
PATHS = {"/": "open", "/healthz": "open", "/readyz": "open", "/metrics": "any", "/console": "open",
         "/console/": "open", "/console/api/overview": "admin", "/console/api/models": "admin",
         "/console/api/jobs": "admin", "/console/api/job": "admin",
         "/console/api/history": "admin", "/console/api/generate": "infer"}
PROMPT = json.dumps({"model": "demo", "text": "It was", "max_new_tokens": 2}).encode()


def source(path):
    with open(os.path.join(harness.arguments.source, path), encoding="utf-8") as file:
        return file.read()


def make_token(path, name, *scopes, **options):
    """Adds a token to the file with the command, and returns it."""
    flags = [flag for scope in scopes for flag in ("--scope", scope)]
    flags += [text for key, value in options.items() for text in ("--" + key, value)]
    made = whipsnake("token", "create", name, *flags, "--tokens", path)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def add_expired(path, name):
    token = "wsn_" + "E" * 43
    line = {"name": name, "sha256": hashlib.sha256(token.encode()).hexdigest(),
            "scopes": ["admin"], "expires": "2020-01-01T00:00:00Z"}
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    return token


def print_table(title, columns, rows):
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    print("\n" + title)
    for row in [columns, *rows]:
        print("  " + "  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def services():
    """Descriptors of all services of the API and of health."""
    modules = [value for name, value in vars(rpc_client).items()
               if name.endswith("_pb2") and hasattr(value, "DESCRIPTOR")]
    found = {service.full_name: service for module in modules
             for service in module.DESCRIPTOR.services_by_name.values()}
    return [found[name] for name in sorted(found) if "reflection" not in name]


def scope_of(method):
    """What the definition of the API says; None if it says nothing."""
    access = rpc_client.access_pb2
    if method.containing_service.full_name == "grpc.health.v1.Health":
        return "open"
    options = method.GetOptions()
    if not options.HasExtension(access.scope):
        return None
    name = access.Scope.Name(options.Extensions[access.scope]).removeprefix("SCOPE_")
    return {"ANY_TOKEN": "any"}.get(name, name.lower())


class Caller:
    """Calls any method with a message of raw bytes."""

    def __init__(self, channel):
        self.channel = channel

    def call(self, method, token_header=None, request=b""):
        """Returns the error of the call, None if there is none. A stream is read once."""
        path = f"/{method.containing_service.full_name}/{method.name}"
        options = {"timeout": harness.PATIENCE,
                   "metadata": [("authorization", token_header)] if token_header else []}
        grpc = rpc_client.grpc
        try:
            if method.client_streaming:
                self.channel.stream_unary(path)(iter(()), **options)
            elif method.server_streaming:
                stream = self.channel.unary_stream(path)(request, **options)
                next(stream, None)
                stream.cancel()
            else:
                self.channel.unary_unary(path)(request, **options)
        except grpc.RpcError as error:
            return error
        return None


def name_of(error):
    return "OK" if error is None else error.code().name


class TokenTest(unittest.TestCase):
    """A server with tokens, without TLS."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="whipsnake-access-")
        cls.path = os.path.join(cls.directory.name, "tokens.jsonl")
        cls.tokens = {name: make_token(cls.path, name, *scopes) for name, scopes in TOKENS.items()}
        cls.expired = add_expired(cls.path, "late")
        cls.daemon = harness.Daemon("--tokens", cls.path, "--data",
                                    os.path.join(cls.directory.name, "data"))
        cls.channel = rpc_client.grpc.insecure_channel(cls.daemon.grpc)
        cls.caller = Caller(cls.channel)

    @classmethod
    def tearDownClass(cls):
        cls.channel.close()
        code = cls.daemon.close()
        cls.directory.cleanup()
        assert code == 0, code

    def header(self, kind, scope):
        """What a caller of this kind presents to what asks for the scope; None: nothing."""
        if kind == "none":
            return None
        token = {"malformed": "wsn_short", "unknown": "wsn_" + "A" * 43, "expired": self.expired,
                 "lacking": self.tokens.get(LACKING[scope]),
                 "right": self.tokens[RIGHT[scope]]}[kind]
        return "Bearer " + token

    # --- the matrix ----------------------------------------------------------------------------

    def test_every_method_with_every_kind_of_token(self):
        rows = []
        methods = [method for service in services() for method in service.methods]
        self.assertGreater(len(methods), 40)
        for method in methods:
            scope = scope_of(method)
            self.assertIsNotNone(scope, f"{method.full_name} has no option (whipsnake.v1.scope)")
            cells = [self.check_method(method, kind, scope) for kind in KINDS]
            name = method.full_name.removeprefix("whipsnake.v1.")
            rows.append([name, scope, *cells])
        print_table("Methods", ["method", "scope", *KINDS], rows)

    def check_method(self, method, kind, scope):
        if kind == "lacking" and LACKING[scope] is None:
            return "-"
        # Draining is refused for its value, and everything else for what an empty request lacks.
        request = b""
        if method.name == "Drain":
            request = rpc_client.admin_pb2.DrainRequest(
                grace_period={"seconds": -1}).SerializeToString()
        error = self.caller.call(method, self.header(kind, scope), request)
        where = f"{method.full_name}, token: {kind}"
        if kind == "right" or scope == "open":
            wrong = ("UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "INTERNAL",
                     "UNKNOWN", "UNAVAILABLE")
            self.assertNotIn(name_of(error), wrong, where)
            # An operator may do everything.
            everything = self.caller.call(method, "Bearer " + self.tokens["operator"], request)
            self.assertEqual(name_of(everything), name_of(error), where)
            return name_of(error)
        expected = "PERMISSION_DENIED" if kind == "lacking" else "UNAUTHENTICATED"
        self.assertEqual(name_of(error), expected, where)
        info = rpc_client.details_of(error)["ErrorInfo"]
        self.assertEqual(info.reason, REASONS[kind], where)
        if kind == "lacking":
            self.assertEqual(dict(info.metadata), {"scope": scope, "caller": LACKING[scope]})
            self.assertIn(f"the scope {scope}", error.details())
        self.assertNotIn("wsn_" + "A" * 43, error.details())
        return name_of(error)

    def test_methods_that_do_not_exist_and_reflection(self):
        grpc = rpc_client.grpc
        for path in 10 * ["/whipsnake.v1.GenerationService/Nothing", "/other.Service/Method"]:
            with self.assertRaises(grpc.RpcError) as caught:
                self.channel.unary_unary(path)(b"", timeout=harness.PATIENCE)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.UNIMPLEMENTED)
        stub = rpc_client.reflection_pb2_grpc.ServerReflectionStub(self.channel)
        with self.assertRaises(grpc.RpcError) as caught:
            request = rpc_client.reflection_pb2.ServerReflectionRequest(list_services="*")
            next(stub.ServerReflectionInfo(iter([request]), timeout=harness.PATIENCE))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNIMPLEMENTED)

    def test_several_tokens_are_none(self):
        metadata = [("authorization", "Bearer " + self.tokens[name])
                    for name in ("reader", "operator")]
        with self.assertRaises(rpc_client.grpc.RpcError) as caught:
            self.channel.unary_unary("/whipsnake.v1.ModelService/ListModels")(
                b"", metadata=metadata, timeout=harness.PATIENCE)
        info = rpc_client.details_of(caught.exception)["ErrorInfo"]
        self.assertEqual(info.reason, "TOKEN_MALFORMED")

    def http(self, path, header=None, method=None, body=None):
        """Returns the status, the headers and the body of a response."""
        connection = http.client.HTTPConnection(self.daemon.http, timeout=harness.PATIENCE)
        headers = {"Authorization": header} if header else {}
        posts = path == "/console/api/generate"
        if posts:
            headers |= {"Content-Type": "application/json", "X-Whipsnake-Console": "1"}
        try:
            connection.request(method or ("POST" if posts else "GET"), path,
                               body=body or (PROMPT if posts else None), headers=headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read().decode()
        finally:
            connection.close()

    def test_every_path_with_every_kind_of_token(self):
        routes = set(re.findall(r'routes\["(/[^"]*)"\]', source("server/daemon.cc") +
                                source("server/console/console.cc")))
        self.assertEqual(routes | {"/console"}, set(PATHS), "PATHS has all routes of the sources")
        folder = os.path.join(harness.arguments.source, "server/console/")
        files = [os.path.basename(file) for kind in ("js", "css", "svg")
                 for file in glob.glob(folder + "*." + kind)]
        paths = PATHS | {"/console/" + file: "open" for file in files}
        rows = []
        for path, scope in paths.items():
            rows.append([path, scope, *[self.check_path(path, kind, scope) for kind in KINDS]])
        print_table("Paths", ["path", "scope", *KINDS], rows)
        self.assertEqual(self.http("/nothing")[0], 404)

    def check_path(self, path, kind, scope):
        if kind == "lacking" and LACKING[scope] is None:
            return "-"
        status, headers, body = self.http(path, self.header(kind, scope))
        where = f"{path}, token: {kind}"
        if kind == "right" or scope == "open":
            # Without a job's name there is none; the path /console/ leads to /console.
            self.assertIn(status, (200, 308, 404), where)
            if path == "/console/api/generate":
                self.assertIn("finished", json.loads(body.splitlines()[-1]), body)
            return str(status)
        self.assertEqual(status, 403 if kind == "lacking" else 401, where)
        challenge = {"none": "", "lacking": f', error="insufficient_scope", scope="{scope}"'}.get(
            kind, ', error="invalid_token"')
        self.assertEqual(headers["WWW-Authenticate"], 'Bearer realm="whipsnake"' + challenge)
        # A method that the path does not have tells nobody anything either.
        self.assertEqual(self.http(path, self.header(kind, scope), "DELETE")[0], status, where)
        return str(status)

    def test_the_documents_have_every_scope(self):
        """The table of docs/security.md names each method and each path with its scope."""
        table = dict(re.findall(r"^\| ([a-z ]+) \| (`.*`) \|$", source("docs/security.md"), re.M))
        documented = {}
        for scope, cell in table.items():
            for name in re.findall(r"`([^`]+)`", cell):
                documented[name] = {"any token": "any"}.get(scope, scope)
        expected = {f"{method.containing_service.name}.{method.name}": scope_of(method)
                    for service in services() for method in service.methods}
        expected |= {path: scope for path, scope in PATHS.items() if path != "/console/"}
        self.assertEqual(documented, expected)

    # --- the log and the commands ---------------------------------------------------------------

    def test_no_token_is_in_the_log(self):
        self.caller.call(services()[-1].methods[0], "Bearer " + self.tokens["reader"])
        log = self.daemon.read_log()
        for token in [*self.tokens.values(), self.expired]:
            self.assertNotIn(token, log)
            self.assertNotIn(hashlib.sha256(token.encode()).hexdigest(), log)

    def command(self, *flags, **variables):
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith("WHIPSNAKE_")} | variables
        return subprocess.run([harness.arguments.binary, *flags, "--server", self.daemon.grpc],
                              env=environment, capture_output=True, text=True,
                              timeout=harness.PATIENCE, check=False)

    def test_commands_with_and_without_a_token(self):
        refused = self.command("models", "list")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("--token-file", refused.stderr)
        self.assertIn("WHIPSNAKE_TOKEN", refused.stderr)
        file = os.path.join(self.directory.name, "reader.token")
        with open(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="utf-8") as out:
            out.write(self.tokens["reader"] + "\n")
        for answered in (self.command("models", "list", "--token-file", file),
                         self.command("models", "list", WHIPSNAKE_TOKEN_FILE=file),
                         self.command("models", "list", WHIPSNAKE_TOKEN=self.tokens["reader"])):
            self.assertEqual(answered.returncode, 0, answered.stderr)
            self.assertIn("demo", answered.stdout)
            self.assertEqual(answered.stderr, "")
        lacking = self.command("server", "info", "--token-file", file)
        self.assertEqual(lacking.returncode, 1)
        self.assertIn("asks for the scope admin", lacking.stderr)
        self.assertEqual(self.command("health").returncode, 0)  # probes have no token

    def test_a_token_file_that_is_none(self):
        file = os.path.join(self.directory.name, "wrong.token")
        with open(file, "w", encoding="utf-8") as out:
            out.write("secret-of-another-kind")
        refused = self.command("models", "list", "--token-file", file)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("--token-file", refused.stderr)
        self.assertNotIn("secret-of-another-kind", refused.stderr)
        os.chmod(file, 0o644)
        with open(file, "w", encoding="utf-8") as out:
            out.write(self.tokens["reader"])
        warned = self.command("models", "list", "--token-file", file)
        self.assertEqual(warned.returncode, 0, warned.stderr)
        self.assertIn("warning: others", warned.stderr)

    def test_no_token_goes_to_another_machine_in_the_clear(self):
        refused = whipsnake("models", "list", "--server", "192.0.2.1", "--token-file",
                            self.make_file(self.tokens["reader"]))
        self.assertEqual(refused.returncode, 1)
        self.assertIn("--insecure-token", refused.stderr)

    def make_file(self, text):
        with tempfile.NamedTemporaryFile("w", dir=self.directory.name, delete=False) as file:
            file.write(text)
        return file.name

    # --- what a reload changes ------------------------------------------------------------------

    def test_a_revoked_token_ends_no_stream(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "tokens.jsonl")
            token = make_token(path, "guest", "infer")
            daemon = harness.Daemon("--tokens", path)
            try:
                self.revoke_under_a_stream(daemon, path, token)
            finally:
                self.assertEqual(daemon.close(), 0)

    def revoke_under_a_stream(self, daemon, path, token):
        pb2, grpc = rpc_client.generation_pb2, rpc_client.grpc
        metadata = [("authorization", "Bearer " + token)]
        parameters = pb2.GenerationParameters(model="demo", text="It was")
        parameters.stopping.max_new_tokens = 400
        parameters.stopping.ignore_eos = True
        with grpc.insecure_channel(daemon.grpc) as channel:
            stub = rpc_client.generation_pb2_grpc.GenerationServiceStub(channel)
            stream = stub.StreamGenerate(pb2.StreamGenerateRequest(parameters=parameters),
                                         metadata=metadata, timeout=harness.PATIENCE)
            self.assertTrue(next(stream).HasField("started"))
            with open(path, "w", encoding="utf-8") as file:
                file.write('{"name": "other"}\n')  # a bad file changes nothing
            self.reload(daemon, "the tokens stay as they were")
            request = pb2.CountTokensRequest(model="demo", text="a")
            stub.CountTokens(request, metadata=metadata)
            with open(path, "w", encoding="utf-8") as file:
                file.write("")
            self.reload(daemon, "the tokens were read again")
            with self.assertRaises(grpc.RpcError) as caught:
                stub.CountTokens(request, metadata=metadata)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAUTHENTICATED)
            *_, last = stream
            self.assertEqual(last.finished.usage.generated_tokens, 400)

    def reload(self, daemon, expected):
        reload(self, daemon, expected)

    # --- what an operator gets wrong ------------------------------------------------------------

    def serve(self, *flags):
        """The error of a server that does not start."""
        listen = [] if "--listen" in flags else ["--listen", "127.0.0.1:0"]
        ended = whipsnake("serve", "--model", "demo=" + harness.demo_model(), "--http",
                          "127.0.0.1:0", *listen, *flags)
        self.assertEqual(ended.returncode, 1, ended.stdout + ended.stderr)
        return ended.stderr

    def test_files_of_tokens_that_are_refused(self):
        path = os.path.join(self.directory.name, "bad.jsonl")
        for text, expected in (
                ('{"name": "a b"', "line 1"),
                (f'\n# remark\n{{"name": "a b", "sha256": "{"0" * 64}", "scopes": []}}',
                 "line 3: name"),
                ('{"name": "a", "sha256": "00", "scopes": []}', "line 1: sha256"),
                (f'{{"name": "a", "sha256": "{"0" * 64}", "scopes": ["root"]}}', "scopes[0]"),
                (f'{{"name": "a", "sha256": "{"0" * 64}", "scope": []}}', "line 1: scope"),
                (f'{{"name": "a", "sha256": "{self.expired}", "scopes": []}}', "line 1: sha256"),
        ):
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            error = self.serve("--tokens", path)
            self.assertIn("--tokens", error)
            self.assertIn(path, error)
            self.assertIn(expected, error)
            self.assertNotIn(self.expired, error)
        self.assertIn("--tokens", self.serve("--tokens", "/nothing"))
        with open(path, "w", encoding="utf-8") as file:
            file.write("")
        os.chmod(path, 0o666)
        self.assertIn("chmod go-w", self.serve("--tokens", path))

    def test_a_port_for_other_machines(self):
        error = self.serve("--listen", "0.0.0.0:0")
        for text in ("--insecure-listen", "--tls-cert", "nothing is encrypted", "no tokens",
                     "stop the server"):
            self.assertIn(text, error)
        self.assertNotIn("no tokens", self.serve("--listen", "0.0.0.0:0", "--tokens", self.path))

    def test_token_create(self):
        path = os.path.join(self.directory.name, "made.jsonl")
        token = make_token(path, "one", "infer", "train", expires="2199-01-01",
                           description="for a test")
        self.assertRegex(token, r"^wsn_[A-Za-z0-9_-]{43}$")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        with open(path, encoding="utf-8") as file:
            line = json.loads(file.read())
        self.assertEqual(line, {
            "name": "one", "sha256": hashlib.sha256(token.encode()).hexdigest(),
            "scopes": ["infer", "train"], "expires": "2199-01-01T00:00:00+00:00",
            "description": "for a test"})
        os.chmod(path, 0o640)
        make_token(path, "two", expires="90d")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o640)
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
        self.assertEqual([json.loads(text)["name"] for text in lines], ["one", "two"])
        for flags, expected in ((["two"], "name: "), (["a b"], "NAME"),
                                (["three", "--expires", "2001-01-01"], "--expires"),
                                (["three", "--expires", "0d"], "--expires"),
                                (["three", "--expires", "2999-01-01"], "2262")):
            refused = whipsnake("token", "create", *flags, "--tokens", path)
            self.assertEqual(refused.returncode, 1, refused.stdout)
            self.assertIn(expected, refused.stderr)
            self.assertEqual(refused.stdout, "")
        for description, expected in (("x" * 257, "257 bytes"), (b"\xff", "UTF-8")):
            for flags in ([], ["--tokens", path]):
                refused = whipsnake("token", "create", "three", "--description", description, *flags)
                self.assertEqual(refused.returncode, 1, refused.stdout)
                self.assertIn("--description", refused.stderr)
                self.assertIn(expected, refused.stderr)
                self.assertEqual(refused.stdout, "")
        printed = whipsnake("token", "create", "four", "--scope", "admin", "--json")
        result = json.loads(printed.stdout)
        digest = hashlib.sha256(result["token"].encode()).hexdigest()
        self.assertEqual(json.loads(result["line"]),
                         {"name": "four", "sha256": digest, "scopes": ["admin"]})

    def test_without_a_file_only_the_line_is_on_stdout(self):
        made = whipsnake("token", "create", "five", "--description", "x" * 256)
        self.assertEqual(made.returncode, 0, made.stderr)
        token = made.stderr.splitlines()[0]
        self.assertRegex(token, r"^wsn_[A-Za-z0-9_-]{43}$")
        self.assertEqual(json.loads(made.stdout)["sha256"],
                         hashlib.sha256(token.encode()).hexdigest())
        self.assertNotIn("wsn_", made.stdout)

    def test_a_file_keeps_its_owner_its_group_and_its_link(self):
        if os.geteuid() != 0:
            self.skipTest("only root can give files away")
        folder = tempfile.mkdtemp(dir=self.directory.name)
        target, link = os.path.join(folder, "target"), os.path.join(folder, "link")
        os.symlink("target", link)
        make_token(link, "one")  # also a link to a file that is not there yet
        mask = os.umask(0o077)
        try:
            for number, (owner, group, mode) in enumerate(
                    ((0, 12345, 0o640), (12345, 0, 0o600), (12345, 12346, 0o644))):
                os.chown(target, owner, group)
                os.chmod(target, mode)
                make_token(link, f"more-{number}")
                after = os.stat(target)
                self.assertEqual((after.st_uid, after.st_gid, stat.S_IMODE(after.st_mode)),
                                 (owner, group, mode))
        finally:
            os.umask(mask)
        self.assertTrue(os.path.islink(link))
        self.assertEqual(sorted(os.listdir(folder)), ["link", "target"])
        with open(target, encoding="utf-8") as file:
            self.assertEqual(len(file.readlines()), 4)

    def test_a_token_in_place_of_a_path_is_not_shown(self):
        token = self.tokens["reader"]
        with tempfile.TemporaryDirectory() as directory:
            for shown in (self.serve("--tokens", token),
                          self.command("models", "list", "--token-file", token).stderr,
                          self.command("models", "list", WHIPSNAKE_TOKEN_FILE=token).stderr,
                          whipsnake("token", "create", "x", "--tokens",
                                    os.path.join(directory, token)).stderr,
                          whipsnake("token", "create", token).stderr):
                self.assertNotIn(token, shown)
                self.assertNotEqual(shown, "")
            self.assertEqual(os.listdir(directory), [])
        self.assertIn("a token", self.serve("--tokens", token))

    def test_tokens_made_at_once_are_all_kept(self):
        path = os.path.join(self.directory.name, "many.jsonl")
        names = [f"token-{i}" for i in range(12)]
        processes = [subprocess.Popen([harness.arguments.binary, "token", "create", name,
                                       "--tokens", path], stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL) for name in names]
        self.assertEqual([process.wait(harness.PATIENCE) for process in processes], [0] * 12)
        with open(path, encoding="utf-8") as file:
            made = [json.loads(line)["name"] for line in file]
        self.assertEqual(sorted(made), sorted(names))


def reload(test, daemon, expected):
    """Sends SIGHUP and waits until the log says, once more than before, that it had this effect."""
    before = daemon.read_log().count(expected)
    daemon.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + harness.PATIENCE
    while daemon.read_log().count(expected) == before:
        test.assertLess(time.monotonic(), deadline, daemon.read_log())
        time.sleep(0.02)


class TlsTest(unittest.TestCase):
    """A server with TLS that wants client certificates."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="whipsnake-tls-")
        name = cls.directory.name
        cls.authority = certificates.Authority(os.path.join(name, "ours"))
        cls.stranger = certificates.Authority(os.path.join(name, "theirs"))
        cls.pair = cls.authority.server()
        cls.client = cls.authority.client("bob")
        cls.foreign = cls.stranger.client("bob")
        cls.tokens = os.path.join(name, "tokens.jsonl")
        cls.token = make_token(cls.tokens, "reader", "infer")
        with open(cls.tokens, "a", encoding="utf-8") as file:
            file.write('{"name": "bob-by-certificate", "certificate": "bob", "scopes": ["infer"]}\n')
        cls.daemon = harness.Daemon("--tokens", cls.tokens, *cls.pair.flags(), "--tls-client-ca",
                                    cls.authority.certificate)

    @classmethod
    def tearDownClass(cls):
        code = cls.daemon.close()
        cls.directory.cleanup()
        assert code == 0, code

    def channel(self, authority, client, daemon=None):
        grpc = rpc_client.grpc
        address = (daemon or self.daemon).grpc
        if authority is None:
            return grpc.insecure_channel(address)
        with open(authority.certificate, "rb") as file:
            roots = file.read()
        key, certificate = client.contents() if client else (None, None)
        return grpc.secure_channel(address,
                                   grpc.ssl_channel_credentials(roots, key, certificate))

    def call_grpc(self, authority, client, daemon=None):
        """The name of the code of a call that asks for no token."""
        pb2 = rpc_client.health_pb2
        with self.channel(authority, client, daemon) as channel:
            try:
                rpc_client.health_pb2_grpc.HealthStub(channel).Check(
                    pb2.HealthCheckRequest(), timeout=harness.PATIENCE)
            except rpc_client.grpc.RpcError as error:
                return error.code().name
        return "OK"

    def get_http(self, authority, client, daemon=None):
        """The status of a path that asks for no token, or "refused"."""
        address = (daemon or self.daemon).http
        if authority is None:
            connection = http.client.HTTPConnection(address, timeout=harness.PATIENCE)
        else:
            context = ssl.create_default_context(cafile=authority.certificate)
            if client:
                context.load_cert_chain(client.certificate, client.key)
            connection = http.client.HTTPSConnection(address, timeout=harness.PATIENCE,
                                                     context=context)
        try:
            connection.request("GET", "/healthz")
            return str(connection.getresponse().status)
        except (OSError, http.client.HTTPException):
            return "refused"
        finally:
            connection.close()

    def test_every_kind_of_client(self):
        clients = {"without TLS": (None, None), "no certificate": (self.authority, None),
                   "certificate of another authority": (self.authority, self.foreign),
                   "trusts another authority": (self.stranger, self.client),
                   "right": (self.authority, self.client)}
        rows = []
        for kind, (authority, client) in clients.items():
            found = [self.call_grpc(authority, client), self.get_http(authority, client)]
            rows.append([kind, *found])
            expected = ["OK", "200"] if kind == "right" else ["UNAVAILABLE", "refused"]
            self.assertEqual(found, expected, kind)
        print_table("TLS with client certificates", ["client", "gRPC", "HTTP"], rows)

    def test_versions_of_tls(self):
        for address in (self.daemon.grpc, self.daemon.http):
            for version, accepted in (("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
                ended = subprocess.run(
                    ["openssl", "s_client", "-connect", address, version, "-cipher",
                     "DEFAULT@SECLEVEL=0", "-alpn", "h2", "-cert", self.client.certificate, "-key",
                     self.client.key, "-CAfile", self.authority.certificate, "-verify_return_error"],
                    input="", capture_output=True, text=True, errors="replace",
                    timeout=harness.PATIENCE, check=False)
                self.assertEqual("Verify return code: 0 (ok)" in ended.stdout and
                                 "Cipher is (NONE)" not in ended.stdout, accepted,
                                 f"{address} {version}: {ended.stdout}{ended.stderr}")

    def test_tokens_over_tls(self):
        path = "/whipsnake.v1.ModelService/ListModels"
        grpc = rpc_client.grpc
        other = self.authority.client("nobody")
        with self.channel(self.authority, other) as channel:
            call = channel.unary_unary(path)
            call(b"", metadata=[("authorization", "Bearer " + self.token)], timeout=60)
            with self.assertRaises(grpc.RpcError) as caught:
                call(b"", timeout=60)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAUTHENTICATED)
        # The file of tokens has the common name of this certificate.
        with self.channel(self.authority, self.client) as channel:
            channel.unary_unary(path)(b"", timeout=60)
            with self.assertRaises(grpc.RpcError) as caught:
                channel.unary_unary("/whipsnake.v1.AdminService/GetServerInfo")(b"", timeout=60)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.PERMISSION_DENIED)

    def test_commands(self):
        def run(*flags):
            return whipsnake("models", "list", "--server", self.daemon.grpc, *flags)
        trusted = ["--tls-ca", self.authority.certificate]
        answered = run(*trusted, *self.client.flags())
        self.assertEqual(answered.returncode, 0, answered.stderr)
        address = "localhost:" + self.daemon.grpc.rpartition(":")[2]
        self.assertEqual(whipsnake("health", "--server", address, *trusted,
                                   *self.client.flags()).returncode, 0)
        for flags, expected in (
                ([], "It may speak TLS"),
                (trusted, "--tls-cert"),
                (["--tls-ca", self.stranger.certificate, *self.client.flags()], "--tls-ca"),
                ([*trusted, *self.client.flags(), "--tls-server-name", "example.org"],
                 "--tls-server-name")):
            refused = run(*flags)
            self.assertEqual(refused.returncode, 1, refused.stdout)
            self.assertIn(expected, refused.stderr, flags)

    def test_the_example_with_a_token_and_tls(self):
        daemon = harness.Daemon("--tokens", self.tokens, *self.pair.flags())
        try:
            variables = {"WHIPSNAKE_SERVER": daemon.grpc, "WHIPSNAKE_TOKEN": self.token,
                         "WHIPSNAKE_TLS_CA": self.authority.certificate}
            for missing in (None, "WHIPSNAKE_TOKEN"):
                given = {key: value for key, value in variables.items() if key != missing}
                ended = subprocess.run(
                    ["/usr/bin/python3", os.path.join(harness.arguments.source,
                                                      "docs/examples/generate.py"), "It was"],
                    env=os.environ | given, capture_output=True, text=True,
                    timeout=harness.PATIENCE, check=False)
                if missing:
                    self.assertIn("UNAUTHENTICATED", ended.stderr)
                else:
                    self.assertIn("60 tokens", ended.stdout, ended.stderr)
        finally:
            self.assertEqual(daemon.close(), 0)

    def test_silent_handshakes_hold_nothing(self):
        hello = bytes.fromhex("16030100c8010000c40303")  # the beginning of a ClientHello
        for address, answers in ((self.daemon.grpc, self.call_grpc), (self.daemon.http,
                                                                     self.get_http)):
            host, port = address.rsplit(":", 1)
            sockets = [socket.create_connection((host, int(port))) for _ in range(64)]
            try:
                for number, peer in enumerate(sockets):
                    peer.settimeout(harness.PATIENCE)
                    if number % 2:
                        peer.sendall(hello)
                self.assertIn(answers(self.authority, self.client), ("OK", "200"))
                for peer in sockets:  # the server closes all of them
                    try:
                        while peer.recv(4096):
                            pass
                    except ConnectionResetError:
                        pass
            finally:
                for peer in sockets:
                    peer.close()

    def test_certificates_change_under_a_stream(self):
        with tempfile.TemporaryDirectory() as directory:
            old = certificates.Authority(os.path.join(directory, "old"))
            new = certificates.Authority(os.path.join(directory, "new"))
            pairs = {authority: (authority.server(), authority.client()) for authority in (old, new)}
            live = {name: os.path.join(directory, name) for name in ("cert", "key", "ca")}
            self.install(live, old, pairs[old][0])
            daemon = harness.Daemon("--tls-cert", live["cert"], "--tls-key", live["key"],
                                    "--tls-client-ca", live["ca"])
            try:
                self.change_under_a_stream(daemon, live, old, new, pairs)
            finally:
                self.assertEqual(daemon.close(), 0)

    @staticmethod
    def install(live, authority, pair):
        for name, path in (("cert", pair.certificate), ("key", pair.key),
                           ("ca", authority.certificate)):
            with open(path, "rb") as file, open(live[name] + ".new", "wb") as copy:
                copy.write(file.read())
            os.replace(live[name] + ".new", live[name])

    def change_under_a_stream(self, daemon, live, old, new, pairs):
        pb2 = rpc_client.generation_pb2
        parameters = pb2.GenerationParameters(model="demo", text="It was")
        parameters.stopping.max_new_tokens = 400
        parameters.stopping.ignore_eos = True
        with self.channel(old, pairs[old][1], daemon) as channel:
            stub = rpc_client.generation_pb2_grpc.GenerationServiceStub(channel)
            stream = stub.StreamGenerate(pb2.StreamGenerateRequest(parameters=parameters),
                                         timeout=harness.PATIENCE)
            self.assertTrue(next(stream).HasField("started"))
            with open(live["key"], "wb") as file:  # a bad pair changes nothing
                file.write(pairs[new][0].contents()[0])
            reload(self, daemon, "the certificates stay as they were")
            self.assertEqual(self.answers(daemon, old, pairs), ["OK", "200"])
            self.install(live, new, pairs[new][0])
            reload(self, daemon, "the files of TLS were read again")
            self.assertEqual(self.answers(daemon, new, pairs), ["OK", "200"])
            self.assertEqual(self.answers(daemon, old, pairs), ["UNAVAILABLE", "refused"])
            *_, last = stream
            self.assertEqual(last.finished.usage.generated_tokens, 400)

    def answers(self, daemon, authority, pairs):
        client = pairs[authority][1]
        return [self.call_grpc(authority, client, daemon), self.get_http(authority, client, daemon)]

    def test_files_of_tls_that_are_refused(self):
        text = os.path.join(self.directory.name, "text")
        with open(text, "w", encoding="utf-8") as file:
            file.write("not PEM\n")
        for flags, expected in (
                (["--tls-cert", self.pair.certificate], "--tls-key"),
                (["--tls-client-ca", self.authority.certificate], "--tls-cert"),
                (["--tls-cert", text, "--tls-key", self.pair.key], "--tls-cert"),
                (["--tls-cert", self.pair.certificate, "--tls-key", text], "--tls-key"),
                (["--tls-cert", self.pair.certificate, "--tls-key", self.client.key],
                 "the key of the certificate"),
                (["--tls-cert", "/nothing", "--tls-key", self.pair.key], "/nothing"),
                ([*self.pair.flags(), "--tls-client-ca", text], "--tls-client-ca")):
            ended = whipsnake("serve", "--model", "demo=" + harness.demo_model(), *flags,
                              "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
            self.assertEqual(ended.returncode, 1, ended.stdout)
            self.assertIn(expected, ended.stderr)
            self.assertNotIn("listening", ended.stdout)


if __name__ == "__main__":
    harness.main(before_tests=rpc_client.import_stubs)
