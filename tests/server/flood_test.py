"""Floods the daemon without any valid request, and checks it afterwards.

The daemon runs with few file descriptors or with little memory for gRPC's buffers. Each flood is
bounded in number and in time, and comes over the loopback. Afterwards the daemon must serve as
before and must have logged only a few lines.
"""
import os
import resource
import threading
import time
import unittest
import urllib.request

import harness
import http2
import rpc_client

MIB = 1 << 20


def connect(address):
    return http2.connect(address, harness.PATIENCE)


class Flood:
    """Connections that are all closed at the end."""

    def __init__(self):
        self.sockets = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in self.sockets:
            one.close()

    def open(self, address, sent=b""):
        """Opens one more connection, if the server accepts it."""
        try:
            one = connect(address)
            self.sockets.append(one)
            one.sendall(sent)
        except OSError:
            pass


class Daemon(harness.Daemon):
    def resident(self):
        return self.metric("process_resident_memory_bytes")

    def generates(self):
        """Whether a new client gets an answer; retries while the last flood drains."""
        deadline = time.monotonic() + harness.PATIENCE
        while True:
            done = harness.whipsnake("generate", "--server", self.grpc, "--max-tokens", "2",
                                     "--model", "demo", "a")
            if done.returncode == 0 or time.monotonic() > deadline:
                return done.returncode == 0


class FloodTest(unittest.TestCase):
    def start(self, *flags, **options):
        daemon = Daemon(*flags, **options)
        self.addCleanup(daemon.close)
        return daemon

    def assert_quiet(self, daemon):
        self.assertLess(len(daemon.read_log()), 64 << 10)


class OpenFilesTest(FloodTest):
    def test_more_connections_than_files(self):
        daemon = self.start(wrapper=("prlimit", "--nofile=256:256"))
        with Flood() as flood:
            for _ in range(600):
                flood.open(daemon.grpc)
            self.assertEqual(daemon.get("/healthz"), "ok\n")
        self.assertTrue(daemon.generates())
        self.assertEqual(daemon.get("/healthz"), "ok\n")
        self.assert_quiet(daemon)

    def test_files_run_out_all_the_same(self):
        daemon = self.start()
        open_now = len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
        before = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (open_now + 4, before[1]))
        with Flood() as flood:
            for _ in range(100):
                flood.open(daemon.grpc)
                flood.open(daemon.http)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, before)
        self.assertTrue(daemon.generates())
        self.assertEqual(daemon.get("/healthz"), "ok\n")
        self.assert_quiet(daemon)

    def test_the_soft_limit_is_raised(self):
        daemon = self.start(wrapper=("prlimit", "--nofile=512:"))
        soft, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
        self.assertEqual(soft, min(hard, 65536))


class Dripping(threading.Thread):
    """Clients that send a request one byte at a time, so that none is ever idle, until they are
    stopped."""

    def __init__(self, address, count):
        super().__init__()
        self.over = threading.Event()
        self.flood = Flood()
        for _ in range(count):
            self.flood.open(address, b"GET /heal")

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join()
        self.flood.__exit__()

    def run(self):
        while not self.over.wait(0.5):
            for one in self.flood.sockets:
                try:
                    one.sendall(b"t")
                except OSError:
                    pass


class ProbesTest(FloodTest):
    # The longest time that a liveness probe would wait.
    PROBE_SECONDS = 30

    def probe(self, daemon):
        for path, content in [("/healthz", "ok\n"), ("/metrics", "whipsnake_build_info")]:
            with urllib.request.urlopen(f"http://{daemon.http}{path}",
                                        timeout=self.PROBE_SECONDS) as page:
                self.assertIn(content, page.read().decode())

    def test_connections_that_are_begun_and_left(self):
        daemon = self.start()
        for _ in range(500):
            one = connect(daemon.http)
            one.sendall(b"GET /heal")
            one.close()
        self.probe(daemon)

    def test_slow_connections(self):
        daemon = self.start()
        with Dripping(daemon.http, 200):
            self.probe(daemon)
            daemon.terminate()
            self.assertEqual(daemon.process.wait(self.PROBE_SECONDS), 0)

    def test_the_log_stays_small(self):
        daemon = self.start()
        for _ in range(2000):
            one = connect(daemon.http)
            one.sendall(b"nonsense\r\n\r\n")
            one.close()
        self.probe(daemon)
        self.assert_quiet(daemon)


class MemoryTest(FloodTest):
    """Bytes that gRPC buffers before a request is complete."""

    QUOTA = 32 * MIB

    def test_partial_messages(self):
        daemon = self.start("--rpc-buffer-bytes", str(self.QUOTA))
        self.assertTrue(daemon.generates())
        before = peak = daemon.resident()
        clients = []
        for _ in range(6):
            client = http2.Client(daemon.grpc)
            clients.append(client)
            for _ in range(32):
                stream = client.call("/whipsnake.v1.GenerationService/Generate")
                client.begin_message(stream, 4 * MIB - 64)
            client.send_all(32 * (4 * MIB - 128), seconds=5)
            peak = max(peak, daemon.resident())
        print(f"partial messages: {sum(client.sent for client in clients) / MIB:.0f} MiB were sent, "
              f"resident memory rose by at most {(peak - before) / MIB:.0f} MiB")
        for client in clients:
            client.close()
        self.assertTrue(daemon.generates())
        self.assertLess(peak - before, 10 * self.QUOTA)

    def test_headers_without_end(self):
        daemon = self.start("--rpc-buffer-bytes", str(self.QUOTA))
        self.assertTrue(daemon.generates())
        before = daemon.resident()
        client = http2.Client(daemon.grpc)
        sent = client.send_headers_without_end(4000, 32 * MIB)
        risen = daemon.resident() - before
        print(f"headers: {sent / MIB:.0f} MiB were sent, resident memory rose by "
              f"{risen / MIB:.0f} MiB")
        client.close()
        self.assertTrue(daemon.generates())
        self.assertLess(risen, 5 * self.QUOTA)


if __name__ == "__main__":
    harness.main(rpc_client.import_stubs)
