"""A small RESP2/RESP3 client. Replies: bytes for strings, int, None, list, dict, float, bool, RespError."""
import socket
import time


class RespError(Exception):
    """An error reply; returned as a value by read(), raised by cmd()."""


class Closed(Exception):
    """The server closed the connection."""


class SimpleString(bytes):
    """+OK and its kind, told apart from a bulk string by its type."""


class Push(list):
    """A RESP3 push message."""


def encode(*args):
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        if isinstance(arg, str):
            arg = arg.encode()
        elif isinstance(arg, int):
            arg = b"%d" % arg
        parts.append(b"$%d\r\n%b\r\n" % (len(arg), arg))
    return b"".join(parts)


class Conn:
    """One connection; address is (host, port) or a path. Every wait is bounded by `timeout` seconds."""

    def __init__(self, address, timeout=15.0):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self._connect(address, time.monotonic() + timeout)
        if family == socket.AF_INET:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = bytearray()
        self.at = 0

    def _connect(self, address, until):
        """A Unix socket whose backlog is full says EAGAIN to a socket with a timeout: try again, as a blocking one would."""
        while True:
            try:
                return self.sock.connect(address)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError("the server accepts no connection") from None
                time.sleep(0.002)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def _more(self):
        if self.at > 1 << 16:
            del self.buf[: self.at]
            self.at = 0
        data = self.sock.recv(1 << 18)
        if not data:
            raise Closed("the server closed the connection")
        self.buf += data

    def _line(self):
        start = self.at
        while True:
            end = self.buf.find(b"\r\n", start)
            if end >= 0:
                line = bytes(self.buf[self.at : end])
                self.at = end + 2
                return line
            start_from_end = len(self.buf) - self.at
            self._more()
            start = max(self.at, self.at + start_from_end - 1)

    def _bulk(self, length):
        while len(self.buf) - self.at < length + 2:
            self._more()
        data = bytes(self.buf[self.at : self.at + length])
        if self.buf[self.at + length : self.at + length + 2] != b"\r\n":
            raise AssertionError("a bulk string does not end with CR LF")
        self.at += length + 2
        return data

    def read(self):
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return SimpleString(rest)
        if kind == b"-":
            return RespError(rest.decode("utf-8", "replace"))
        if kind in b":":
            return int(rest)
        if kind == b"(":
            return int(rest)
        if kind in (b"$", b"=", b"!"):
            length = int(rest)
            if length < 0:
                return None
            data = self._bulk(length)
            return RespError(data.decode()) if kind == b"!" else data[4:] if kind == b"=" else data
        if kind in (b"*", b"~", b">"):
            count = int(rest)
            if count < 0:
                return None
            items = [self.read() for _ in range(count)]
            return Push(items) if kind == b">" else items
        if kind == b"%":
            return {_hashable(self.read()): self.read() for _ in range(int(rest))}
        if kind == b"_":
            return None
        if kind == b"#":
            return rest == b"t"
        if kind == b",":
            return float(rest)
        raise AssertionError(f"not a RESP reply: {line[:80]!r}")

    def call(self, *args):
        """One command; an error reply is returned."""
        self.send(encode(*args))
        return self.read()

    def cmd(self, *args):
        """One command; an error reply is raised."""
        reply = self.call(*args)
        if isinstance(reply, RespError):
            raise reply
        return reply

    def pipeline(self, commands):
        """Sends all at once, reads while sending so that neither side has to buffer without end."""
        data = memoryview(b"".join(encode(*c) for c in commands))
        replies = []
        self.sock.settimeout(self.sock.gettimeout())
        while data:
            sent = self._send_some(data)
            data = data[sent:]
        while len(replies) < len(commands):
            replies.append(self.read())
        return replies

    def _send_some(self, data):
        timeout = self.sock.gettimeout()
        until = time.monotonic() + timeout
        self.sock.setblocking(False)
        try:
            while True:
                try:
                    return self.sock.send(data[: 1 << 18])
                except BlockingIOError:
                    try:
                        got = self.sock.recv(1 << 18)
                        if not got:
                            raise Closed("the server closed the connection")
                        self.buf += got
                    except BlockingIOError:
                        time.sleep(0.001)
                if time.monotonic() > until:
                    raise TimeoutError("the server takes no more bytes")
        finally:
            self.sock.settimeout(timeout)

    def drain_until_closed(self, seconds=5.0):
        """Everything that still comes until the server closes; TimeoutError if it does not."""
        until = time.monotonic() + seconds
        data = bytes(self.buf[self.at :])
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError("the server did not close the connection")
            self.sock.settimeout(left)
            try:
                more = self.sock.recv(1 << 16)
            except ConnectionResetError:
                return data
            except socket.timeout:
                raise TimeoutError("the server did not close the connection") from None
            if not more:
                return data
            data += more


def _hashable(key):
    return key if not isinstance(key, (list, dict)) else repr(key)


def pairs(reply):
    """A map reply, which RESP2 flattens, as a dict with text names."""
    if isinstance(reply, dict):
        return {k.decode() if isinstance(k, bytes) else k: v for k, v in reply.items()}
    return {reply[i].decode(): reply[i + 1] for i in range(0, len(reply), 2)}
