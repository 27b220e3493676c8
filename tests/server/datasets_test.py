"""Tests of `whipsnake datasets`: what it prints, its exit codes, and uploads that are cut off."""
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import harness
from harness import whipsnake


def rows(count):
    return "".join(json.dumps({"text": f"review {i} is fine", "label": "good" if i % 3 else "bad"})
                   + "\n" for i in range(count))


class Proxy:
    """Forwards connections to a server. The first `cuts` connections stop after `limit` bytes of
    the client's; once before_cut() returns, they are cut, as by a broken network."""

    def __init__(self, address, cuts, limit, before_cut):
        host, port = address.rsplit(":", 1)
        self.target = (host, int(port))
        self.cuts, self.limit, self.before_cut = cuts, limit, before_cut
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(self.target)
            except OSError:
                return
            limit = self.limit if self.cuts > 0 else None
            self.cuts -= 1
            threading.Thread(target=self.serve, args=(client, server, limit), daemon=True).start()

    def serve(self, client, server, limit):
        with client, server:
            back = threading.Thread(target=self.forward, args=(server, client, None))
            back.start()
            self.forward(client, server, limit)
            back.join()

    def forward(self, source, sink, most):
        try:
            while most != 0:
                data = source.recv(65536 if most is None else min(most, 65536))
                if not data:
                    break
                sink.sendall(data)
                most = most if most is None else most - len(data)
            if most == 0:
                self.before_cut()
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()


class DatasetsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="whipsnake-datasets-")

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def setUp(self):
        self.data = tempfile.mkdtemp(dir=self.directory.name)
        self.daemon = None
        self.bytes = 0
        self.start()
        self.addCleanup(lambda: self.daemon.close())

    def start(self):
        self.daemon = harness.Daemon("--data", self.data, "--dataset-quota-bytes", "64MiB")

    def file(self, name, contents):
        path = os.path.join(self.data, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(contents)
        return path

    def run_command(self, *flags, code=0, server=None):
        result = whipsnake("datasets", *flags, "--server", server or self.daemon.grpc)
        self.assertEqual(result.returncode, code, result.stdout + result.stderr)
        self.assertNotIn(self.data, result.stdout + result.stderr.replace("upload " + self.data, ""))
        return result

    def object(self, *flags, code=0):
        return json.loads(self.run_command(*flags, "--json", code=code).stdout)

    def test_upload_prints_the_report(self):
        path = self.file("reviews.jsonl", rows(30))
        text = self.run_command("upload", path, "--id", "reviews", "--task", "classification",
                                "--label", "team=search").stdout
        for pattern in (r"reviews +ready +100% +classification +jsonl", r"rows: 30 good, 0 bad",
                        r"tokens: \d+; in a row \d+ to \d+", r" +4-7 +30 #{30}\n",
                        r'"bad" +10 #{15}\n', r'"good" +20 #{30}\n'):
            self.assertRegex(text, pattern)
        self.assertEqual(self.run_command("get", "reviews").stdout, text)
        dataset = self.object("get", "reviews")["dataset"]
        self.assertEqual(dataset["state"], "READY")
        self.assertEqual(dataset["labels"], {"team": "search"})
        self.assertEqual(dataset["model"], "demo")
        self.assertEqual(dataset["report"]["label_counts"],
                         [{"name": "bad", "rows": 10}, {"name": "good", "rows": 20}])
        self.assertEqual(sum(dataset["report"]["lengths"]["histogram"]), 30)
        # The same upload again finds what is there; other settings do not fit it.
        again = self.object("upload", path, "--id", "reviews", "--task", "classification",
                            "--label", "team=search")["dataset"]
        self.assertEqual(again, dataset)
        error = self.object("upload", path, "--id", "reviews", "--task", "causal-lm", code=1)["error"]
        self.assertEqual(error["details"]["reason"], "DATASET_EXISTS")

    def test_an_invalid_file_exits_with_1(self):
        path = self.file("scores.csv", "text,label\na,1\nb,high\n\"c\nd\",2\n,3\n")
        text = self.run_command("upload", path, "--id", "scores", "--task", "regression", code=1).stdout
        self.assertIn("rows: 2 good, 2 bad", text)
        self.assertRegex(text, r"  line 3: label: .*high")
        self.assertRegex(text, r"  line 6: text: ")
        self.run_command("get", "scores")
        path = self.file("columns.csv", "text,stars\na,1\n")
        text = self.run_command("upload", path, "--task", "regression", "--label-column", "score",
                                code=1).stdout
        self.assertIn("data.csv: line 1: ", text)

    def test_list_and_delete(self):
        listed = whipsnake("datasets", "list", "--server", self.daemon.grpc)
        self.assertIn("no data sets", listed.stderr)
        for name in ("a", "b"):
            path = self.file(name + ".jsonl", rows(3))
            self.run_command("upload", path, "--id", name, "--task", "causal-lm", "--no-wait")
        self.assertEqual([dataset["id"] for dataset in self.object("list")["datasets"]], ["b", "a"])
        self.assertRegex(self.run_command("list").stdout, r"ID +STATE.*\nb .*\na ")
        error = self.object("delete", "a", "--etag", "0-0", code=1)["error"]
        self.assertEqual(error["details"]["reason"], "ETAG_MISMATCH")
        self.run_command("delete", "a", "--etag", error["details"]["metadata"]["etag"])
        self.assertEqual(self.object("delete", "b"), {"deleted": "b"})
        self.assertEqual(self.object("get", "b", code=1)["error"]["details"]["reason"],
                         "DATASET_NOT_FOUND")
        self.assertEqual(os.listdir(os.path.join(self.data, "datasets")), [])

    def test_wrong_options(self):
        path = self.file("rows.txt", rows(1))
        for flags, code, word in (
                ((path,), 2, "--task"),
                ((path, "--task", "causal-lm"), 1, "--format"),
                ((path, "--task", "causal-lm", "--format", "xml"), 1, "format"),
                ((path, "--task", "poetry", "--format", "jsonl"), 1, "task"),
                ((path, "--task", "causal-lm", "--format", "jsonl", "--label", "x"), 1, "--label"),
                ((path, "--task", "causal-lm", "--format", "jsonl", "--id", "../x"), 1, "id"),
                ((path, "--task", "causal-lm", "--format", "jsonl", "--model", "absent"), 1,
                 "model"),
                ((path + ".absent", "--task", "causal-lm", "--format", "jsonl"), 1, "absent"),
                ((self.file("empty.csv", ""), "--task", "causal-lm"), 1, "size_bytes")):
            result = whipsnake("datasets", "upload", *flags, "--server", self.daemon.grpc)
            self.assertEqual(result.returncode, code, result.stderr)
            self.assertIn(word, result.stderr)
        big = self.file("big.jsonl", "x" * (65 << 20))
        error = self.object("upload", big, "--task", "causal-lm", code=1)["error"]
        self.assertEqual(error["details"]["reason"], "DATASET_QUOTA")

    def test_no_server(self):
        with socket.create_server(("127.0.0.1", 0)) as unused:
            address = "127.0.0.1:%d" % unused.getsockname()[1]
        path = self.file("rows.jsonl", rows(1))
        result = self.run_command("upload", path, "--task", "causal-lm", code=1, server=address)
        self.assertIn("cannot reach a server", result.stderr)

    def stored(self):
        """Waits until the server has more bytes of its first data set than the last time."""
        path = os.path.join(self.data, "datasets", "ds-1", "data.jsonl")
        deadline = time.monotonic() + harness.PATIENCE
        while not os.path.exists(path) or os.path.getsize(path) <= self.bytes:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        self.bytes = os.path.getsize(path)

    def test_goes_on_after_cut_connections(self):
        path = self.file("rows.jsonl", rows(60000))  # 3 MB
        proxy = Proxy(self.daemon.grpc, cuts=2, limit=1 << 20, before_cut=self.stored)
        self.addCleanup(proxy.close)
        self.run_command("upload", path, "--id", "rows", "--task", "causal-lm",
                         server=proxy.address)
        self.assertEqual(self.object("get", "rows")["dataset"]["report"]["good_rows"], 60000)
        self.assertLess(proxy.cuts, 0)

    def test_goes_on_after_the_server_was_killed(self):
        path = self.file("rows.jsonl", rows(60000))
        killed = threading.Event()
        proxy = Proxy(self.daemon.grpc, cuts=1, limit=1 << 20, before_cut=killed.wait)
        self.addCleanup(proxy.close)
        flags = ["datasets", "upload", path, "--id", "rows", "--task", "causal-lm"]
        client = subprocess.Popen([harness.arguments.binary, *flags, "--server", proxy.address],
                                  stderr=subprocess.DEVNULL)
        self.stored()
        self.daemon.process.send_signal(signal.SIGKILL)
        self.daemon.close()
        killed.set()
        client.kill()
        client.wait()
        self.start()
        dataset = self.object("get", "rows")["dataset"]
        self.assertEqual(dataset["state"], "UPLOADING")
        self.assertGreater(dataset["received_bytes"], 0)
        self.run_command(*flags[1:])
        with open(path, "rb") as sent:
            stored = os.path.join(self.data, "datasets", dataset["uid"], "data.jsonl")
            with open(stored, "rb") as kept:
                self.assertTrue(sent.read() == kept.read())


if __name__ == "__main__":
    harness.main()
