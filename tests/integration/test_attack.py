"""Clients, signals and tiers that mean harm: nothing crashes, nothing hangs, memory stays within its bounds."""
import os
import signal
import socket
import threading
import time

from harness.context import limit
from harness.resp import encode
from harness.services import wait_until


def end_by_force(server, seconds=20):
    """SIGTERM while something cannot end: status 1, soon after drain-timeout."""
    begin = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    status = server.process.wait(seconds)
    server.expect_exit = None
    assert status == 1, f"status {status}:\n{server.log_tail()}"
    return time.monotonic() - begin


@limit(240)
def test_end_while_writes_wait_for_a_tier(t):
    """Drain runs out of time: what waits in a queue, a line or a flight ends with the tiers, not after them."""
    redis, postgres = t.redis(), t.postgres()
    for service, harm in ((redis, "freeze"), (postgres, "freeze"), (redis, "kill9"), (postgres, "kill9")):
        server = t.pannierd("--drain-timeout", "300ms", "--threads", "2", l2=redis, l3=postgres).wait_tiers()
        with server.connect() as c:
            getattr(service, harm)()
            c.send(b"".join(encode("SET", f"a{i}", "v") + encode("SET", f"a{i}", "w", "NX") + encode("GET", f"g{i}")
                            + encode("DEL", f"d{i}") for i in range(300)))
            time.sleep(0.1)
            took = end_by_force(server)
            assert took < 5, f"the end took {took:.1f} s"
        service.thaw()
        if harm == "kill9":
            service.start()


class Watch:
    """The largest resident size while the block runs."""

    def __init__(self, server):
        self.server = server
        self.most = self.base = server.rss_bytes()

    def __enter__(self):
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()
        return self

    def look(self):
        while not self.stop.wait(0.01):
            try:
                self.most = max(self.most, self.server.rss_bytes())
            except OSError:
                return

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    @property
    def grown_mib(self):
        return (self.most - self.base) >> 20


SMALL = ("--memory", "64mb", "--input-max", "64mb", "--output-max", "64mb", "--queue-max", "16mb")
SMALL_CEILING_MIB = 64 + 64 + 64 + 16 + 64


def ceiling_mib(t, sanitized):
    """How much a server may grow; with sanitizers freed blocks are kept for a while."""
    return SMALL_CEILING_MIB * (sanitized if t.sanitized else 1)


def lookups(server):
    """GETs that have their answer, whatever it is."""
    return sum(n for name, n in server.metrics().items()
               if name.startswith(("pannier_hits_total", "pannier_misses_total", "pannier_lookups_failed_total")))


@limit(180)
def test_flood_of_large_packed_values(t):
    """Each reply unpacks its value: thirty that nobody reads, on as many connections, stop at the ceiling."""
    server = t.pannierd(*SMALL)
    with server.connect() as c:
        c.cmd("SET", "zeros", bytes(48 << 20))
    conns = [server.connect() for _ in range(30)]
    with Watch(server) as w:
        for c in conns:
            c.send(encode("GET", "zeros"))
        wait_until("all are decided", lambda: lookups(server) >= 30 or w.grown_mib > 2 * SMALL_CEILING_MIB, 20)
    for c in conns:
        c.close()
    t.note(f"grew by {w.grown_mib} MiB")
    assert w.grown_mib < ceiling_mib(t, 2), f"grew by {w.grown_mib} MiB"
    with server.connect() as c:
        assert c.cmd("GET", "zeros") == bytes(48 << 20)


@limit(180)
def test_flood_of_large_writes_while_redis_is_frozen(t):
    """Values that wait for Redis: refused with an error when too many wait, and the connections live."""
    redis = t.redis()
    server = t.pannierd(*SMALL, l2=redis).wait_tiers(l3=False)
    value = os.urandom(4 << 20)
    refused = []

    def flood(k):
        with server.connect() as c:
            c.send(encode("SET", f"k{k}", value) * 30)
            replies = [c.read() for _ in range(30)]
            assert all(r == b"OK" or "memory" in str(r) for r in replies), replies
            refused.extend(r for r in replies if r != b"OK")
            assert c.cmd("PING") == b"PONG"

    redis.freeze()
    errors = []
    with Watch(server) as w:
        threads = [threading.Thread(target=guarded(flood, errors), args=(k,), daemon=True) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
    redis.thaw()
    t.note(f"grew by {w.grown_mib} MiB, {len(refused)} of 120 refused")
    assert not errors, errors
    assert w.grown_mib < ceiling_mib(t, 3), f"grew by {w.grown_mib} MiB"


def guarded(function, errors):
    def run(*args):
        try:
            function(*args)
        except Exception as e:
            errors.append(repr(e))
    return run


@limit(120)
def test_replies_behind_a_waiting_command_are_bounded(t):
    """One GET waits for a frozen tier; what its connection asks for behind it is read no further than a bound."""
    redis = t.redis()
    config = t.config("[namespace default]\ndeadline = 3s\n[l2]\ntimeout = 3s\n[namespace l]\nmode = l1\n")
    server = t.pannierd(*SMALL, "--config", config, l2=redis).wait_tiers(l3=False)
    with server.connect() as c:
        c.cmd("SET", "l:zeros", bytes(200000))
    redis.freeze()
    asked = 0
    with server.connect() as c, Watch(server) as w:
        c.send(encode("GET", "absent"))
        c.sock.setblocking(False)
        until = time.monotonic() + 2
        while time.monotonic() < until:
            try:
                asked += c.sock.send(encode("GET", "l:zeros") * 100)
            except BlockingIOError:
                time.sleep(0.01)
        c.sock.settimeout(20)
        c.read()
        for _ in range(50):
            assert c.read() == bytes(200000)
    redis.thaw()
    assert w.grown_mib < (300 if t.sanitized else 20), f"grew by {w.grown_mib} MiB behind one waiting GET"


@limit(120)
def test_reader_of_many_large_replies_is_not_closed(t):
    """It reads as fast as it can, and asked for more at once than output-max."""
    server = t.pannierd("--output-max", "8mb")
    random_bytes, packable = os.urandom(5 << 20), b"abcdefgh" * (5 << 17)
    with server.connect() as c:
        c.cmd("SET", "r", random_bytes)
        c.cmd("SET", "p", packable)
        c.send((encode("GET", "r") + encode("GET", "p")) * 20)
        for _ in range(20):
            assert c.read() == random_bytes and c.read() == packable
        assert c.cmd("MGET", "r", "p", "r") == [random_bytes, packable, random_bytes]


@limit(120)
def test_unfinished_large_requests_leave_room_for_small_ones(t):
    """input-max is used up to the last byte by those who send no more; a small request is still served."""
    server = t.pannierd("--input-max", "8mb")
    conns = []
    for size in [1 << 20] * 7 + [1 << 17] * 7 + [1 << 15] * 8:
        conns.append(server.connect())
        conns[-1].send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % size + bytes(size // 2))
    time.sleep(0.2)
    for _ in range(50):
        with server.connect() as c:
            assert c.cmd("SET", "a", "x" * 3000) == b"OK"
    for c in conns:
        c.close()


class Between:
    """Passes bytes between pannierd and Redis; lie() puts its text before the next answer."""

    def __init__(self, redis):
        self.redis, self.text = redis, b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self.redis.socket)
            threading.Thread(target=self.pump, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self.pump, args=(far, near, True), daemon=True).start()

    def pump(self, source, sink, lies):
        try:
            while data := source.recv(65536):
                if lies and self.text:
                    data, self.text = self.text + data, b""
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()


@limit(180)
def test_redis_that_lies_about_lengths_and_kinds(t):
    """Once each: what it said is never a value of another key, and soon it is believed again."""
    redis = t.redis()
    between = Between(redis)
    server = t.pannierd(l2=between.url).wait_tiers(l3=False)
    lies = (b"$90000000\r\nx", b"$9223372036854775807\r\n", b"*2147483647\r\n:1\r\n", b"*1\r\n" * 5000, b":1\r\n",
            b"HTTP/1.1 400 Bad Request\r\n\r\n", b"*3\r\n:0\r\n:0\r\n:0\r\n", b"$-7\r\n", b"\0\xff\0")
    with server.connect() as c:
        for i, lie in enumerate(lies):
            assert c.cmd("SET", f"k{i}", f"value of {i}") == b"OK"
            c.cmd("PN.FLUSH", "L1")
            between.text = lie
            got = c.cmd("GET", f"k{i}")
            assert got in (None, f"value of {i}".encode()), (lie[:20], got)

            def believed():
                c.cmd("PN.FLUSH", "L1")
                return c.cmd("GET", f"k{i}") == f"value of {i}".encode() and c.call("DEL", "other") == 0

            wait_until(f"the tier works again after {lie[:20]}", believed, 20, 0.1)
    between.close()
