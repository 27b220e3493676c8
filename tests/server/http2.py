"""A minimal HTTP/2 client that sends what no library would. It obeys flow control, so that the
server has no reason to hang up, and no other rule.
"""
import select
import socket
import struct
import time

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 3, 4, 6, 7, 8, 9)
ACK, END_HEADERS = 1, 4
INITIAL_WINDOW_SIZE = 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME = 16384


def connect(address, timeout=30):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=timeout)


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def field(name, value):
    """Encodes a header field without indexing; name and value are shorter than 127 bytes."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


class Client:
    def __init__(self, address):
        self.socket = connect(address)
        self.socket.setblocking(False)
        self.received, self.outgoing = b"", b""
        self.initial_window, self.connection_window = 65535, 65535
        self.windows, self.left = {}, {}  # by stream: bytes that may be sent, bytes to send
        self.next_stream, self.sent, self.closed = 1, 0, False
        self.outgoing += PREFACE + frame(SETTINGS, 0, 0)

    def close(self):
        self.socket.close()

    def call(self, path):
        """Begins a call and returns the stream's number."""
        stream, self.next_stream = self.next_stream, self.next_stream + 2
        self.windows[stream] = self.initial_window
        headers = [(":method", "POST"), (":scheme", "http"), (":path", path),
                   (":authority", "flood"), ("te", "trailers"),
                   ("content-type", "application/grpc")]
        block = b"".join(field(name.encode(), value.encode()) for name, value in headers)
        self.outgoing += frame(HEADERS, END_HEADERS, stream, block)
        return stream

    def begin_message(self, stream, size):
        """Sends the message's length; send_all() sends all but the last 64 bytes of the message."""
        self.outgoing += frame(DATA, 0, stream, b"\0" + struct.pack(">I", size))
        self.windows[stream] -= 5
        self.connection_window -= 5
        self.left[stream] = size - 64

    def send_headers_without_end(self, fields, most):
        """Sends the headers of one call until `most` bytes or an error; returns the bytes sent."""
        self.socket.setblocking(True)
        self.socket.settimeout(5)
        block = field(b"a", b"") * fields
        try:
            self.socket.sendall(self.outgoing + frame(HEADERS, 0, self.next_stream, block))
            while self.sent < most:
                self.socket.sendall(frame(CONTINUATION, 0, self.next_stream, block))
                self.sent += len(block)
        except OSError:
            self.closed = True
        return self.sent

    def send_all(self, most, seconds):
        """Sends as much of all messages as flow control allows, until nothing moves any more."""
        deadline = time.monotonic() + seconds
        while not self.closed and time.monotonic() < deadline and self.sent < most:
            self.fill()
            writable = [self.socket] if self.outgoing else []
            readable, writable, _ = select.select([self.socket], writable, [], 0.5)
            if not readable and not writable:
                return
            try:
                if writable:
                    self.outgoing = self.outgoing[self.socket.send(self.outgoing):]
                if readable:
                    self.read()
            except OSError:
                self.closed = True

    def fill(self):
        for stream, left in self.left.items():
            if len(self.outgoing) > 4 * MAX_FRAME:
                return
            size = min(left, MAX_FRAME, self.windows[stream], self.connection_window)
            if size <= 0:
                continue
            self.outgoing += frame(DATA, 0, stream, b"x" * size)
            self.left[stream] -= size
            self.windows[stream] -= size
            self.connection_window -= size
            self.sent += size

    def read(self):
        data = self.socket.recv(1 << 16)
        self.closed = not data
        self.received += data
        while len(self.received) >= 9:
            size = int.from_bytes(self.received[:3], "big")
            kind, flags, stream = struct.unpack(">BBI", self.received[3:9])
            if len(self.received) < 9 + size:
                return
            payload, self.received = self.received[9:9 + size], self.received[9 + size:]
            self.take(kind, flags, stream, payload)

    def take(self, kind, flags, stream, payload):
        if kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                setting, value = struct.unpack(">HI", payload[at:at + 6])
                if setting == INITIAL_WINDOW_SIZE:
                    for one in self.windows:
                        self.windows[one] += value - self.initial_window
                    self.initial_window = value
            self.outgoing += frame(SETTINGS, ACK, 0)
        elif kind == PING and not flags & ACK:
            self.outgoing += frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            amount = struct.unpack(">I", payload)[0]
            if stream == 0:
                self.connection_window += amount
            elif stream in self.windows:
                self.windows[stream] += amount
        elif kind == RST_STREAM:
            self.left.pop(stream, None)
