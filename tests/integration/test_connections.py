"""What arrives on a connection: every first byte, malformed frames, floods, clients that do not read or just leave."""
import os
import random
import resource
import select
import socket
import threading
import time

from harness.context import limit
from harness.resp import Closed, Conn, RespError, encode
from harness.services import wait_until

PREFACE = b"\xfbPN\x01"


def read_some(sock, seconds):
    """What comes within that time; b'' if the server closes, None if nothing comes."""
    ready, _, _ = select.select([sock], [], [], seconds)
    if not ready:
        return None
    try:
        return sock.recv(65536)
    except ConnectionResetError:
        return b""


@limit(240)
def test_every_first_byte(t):
    """Letters, '*', CR and LF are RESP, FB is native, anything else is an error and a close."""
    server = t.pannierd()
    resp = set(range(ord("a"), ord("z") + 1)) | set(range(ord("A"), ord("Z") + 1)) | set(b"*\r\n")
    with server.connect() as bystander:
        for byte in range(256):
            with server.connect() as c:
                c.send(bytes([byte]))
                if byte in resp:
                    rest = b"1\r\n$4\r\nPING\r\n" if byte == ord("*") else b"PING\r\n" if byte in b"\r\n" else b"\r\nPING\r\n"
                    c.send(rest)
                    reply = c.read()
                    if byte not in b"*\r\n":
                        assert isinstance(reply, RespError) and "unknown command" in str(reply), (byte, reply)
                        reply = c.read()
                    assert reply == b"PONG", (byte, reply)
                elif byte == PREFACE[0]:
                    assert read_some(c.sock, 0.05) is None, "the preface has just begun"
                else:
                    rest = c.drain_until_closed()
                    assert rest, f"byte {byte:#04x} was answered with a close but no word"
            assert bystander.cmd("PING") == b"PONG"


def test_broken_preface(t):
    server = t.pannierd()
    for cut in range(1, 4):
        for wrong in (0x00, 0x4F, 0xFF):
            with server.connect() as c:
                c.send(PREFACE[:cut] + bytes([wrong]))
                c.drain_until_closed()
    for cut in range(1, 4):
        with server.connect() as c:
            c.send(PREFACE[:cut])
            time.sleep(0.002)
            c.send(PREFACE[cut:])
            assert read_some(c.sock, 0.05) != b"", "the preface in two parts is still the preface"
    with server.connect() as c:
        assert c.cmd("PING") == b"PONG"


MALFORMED = [
    (b"*x\r\n", "length"), (b"*1048577\r\n", "length"), (b"*1\r\n+PING\r\n", "'$'"),
    (b"*1\r\n$-1\r\n", "length"), (b"*1\r\n$x\r\n", "length"), (b"*1\r\n$4294967296000\r\n", "length"),
    (b"*1\r\n$4\r\nPINGxx", ""), (b"*9999999999999999999999\r\n", "length"), (b"*1\r\n$\r\n", "length"),
    (b"*" + b"1" * 70000, ""), (b"*1\r\n$" + b"1" * 70000, ""),
]


def test_malformed_frames_close_only_their_connection(t):
    server = t.pannierd()
    with server.connect() as bystander:
        bystander.send(encode("SET", "k", "v")[:-3])  # in the middle of a request all the while
        for bad, word in MALFORMED:
            with server.connect() as c:
                c.send(encode("PING") + bad)
                assert c.read() == b"PONG", "what stood before is answered"
                error = c.read()
                assert isinstance(error, RespError) and "Protocol error" in str(error), (bad[:30], error)
                assert word in str(error), (bad[:30], error)
                c.drain_until_closed()
        bystander.send(encode("SET", "k", "v")[-3:])
        assert bystander.read() == b"OK"
        assert server.metrics()["pannier_protocol_errors_total"] >= len(MALFORMED)


def test_a_web_page_that_talks_to_the_port(t):
    server = t.pannierd()
    for text in (b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET a 1\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nSET a 1\r\n",
                 b"post /\r\nSET a 1\r\n", b"host: x\r\nSET a 1\r\n"):
        with server.connect() as c:
            c.send(text)
            c.drain_until_closed()
    with server.connect() as c:
        assert c.cmd("GET", "a") is None, "what stood behind the HTTP lines was executed"


@limit(180)
def test_client_that_does_not_read(t):
    """Its replies pile up to a bound; then it is no longer read, or closed. Others notice nothing."""
    server = t.pannierd("--output-max", "4mb", "--memory", "64mb")
    with server.connect() as c:
        c.cmd("SET", "big", bytes(1 << 20))
    before = server.rss_bytes()
    lazy = server.connect()
    lazy.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    request = encode("GET", "big") * 200
    lazy.sock.setblocking(False)
    until = time.monotonic() + 3
    while time.monotonic() < until:
        try:
            lazy.sock.send(request)
        except BlockingIOError:
            time.sleep(0.01)
        except (ConnectionResetError, BrokenPipeError):
            break
    with server.connect() as c:
        times = []
        for _ in range(200):
            begin = time.perf_counter()
            assert c.cmd("PING") == b"PONG"
            times.append(time.perf_counter() - begin)
    assert sorted(times)[150] < 0.05, f"others wait {sorted(times)[150]:.3f} s"
    grown = server.rss_bytes() - before
    allowed = (64 << 20) * (4 if t.sanitized else 1)
    assert grown < allowed, f"{grown >> 20} MiB for one client that does not read"
    lazy.close()
    with server.connect() as c:
        assert c.cmd("PING") == b"PONG"


def test_slow_reader_gets_everything(t):
    """Short sends: a small receive buffer, read in crumbs, and every byte arrives in order."""
    server = t.pannierd()
    rng = random.Random(3)
    values = [rng.randbytes(rng.choice((10, 5000, 300000))) for _ in range(20)]
    with server.connect() as c:
        for i, v in enumerate(values):
            c.cmd("SET", f"k{i}", v)
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    s.settimeout(20)
    s.connect(server.address)
    with s:
        s.sendall(b"".join(encode("GET", f"k{i}") for i in range(20)))
        wanted = b"".join(b"$%d\r\n%b\r\n" % (len(v), v) for v in values)
        got = b""
        while len(got) < len(wanted):
            more = s.recv(rng.choice((1, 100, 20000)))
            assert more, "closed before everything was sent"
            got += more
            if rng.random() < 0.02:
                time.sleep(0.005)
        assert got == wanted


@limit(180)
def test_flood_does_not_starve_others(t):
    """Clients that pipeline without end leave room for one that asks now and then."""
    server = t.pannierd()
    stop = threading.Event()

    def flood():
        with Conn(server.address) as c:
            request = encode("PING") * 2000
            c.sock.setblocking(False)
            while not stop.is_set():
                try:
                    c.sock.send(request)
                except BlockingIOError:
                    pass
                try:
                    c.sock.recv(1 << 20)
                except BlockingIOError:
                    time.sleep(0.0002)

    threads = [threading.Thread(target=flood, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        times = []
        with server.connect() as c:
            for _ in range(300):
                begin = time.perf_counter()
                assert c.cmd("PING") == b"PONG"
                times.append(time.perf_counter() - begin)
        worst = sorted(times)[-4]
        assert worst < 0.5, f"a PING took {worst:.3f} s beside three floods"
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)


@limit(180)
def test_many_connections(t):
    """More than the loop's tables begin with; each is answered, and none is left behind."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(3000, hard // 2 - 200 if hard != resource.RLIM_INFINITY else 3000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count * 2 + 500), hard))
    server = t.pannierd()
    conns = [server.connect(unix=i % 2 == 0) for i in range(count)]
    try:
        for c in conns:
            c.send(encode("SET", "k", "v") + encode("GET", "k"))
        for c in conns:
            assert c.read() == b"OK" and c.read() == b"v"
        assert server.metrics()["pannier_connections"] >= count
    finally:
        for c in conns:
            c.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_until("the connections are gone", lambda: server.metrics()["pannier_connections"] <= 2)


def test_connections_max(t):
    server = t.pannierd("--connections-max", "10")
    wait_until("those who asked whether it is there are gone", lambda: server.metrics()["pannier_connections"] == 0)
    conns = [server.connect() for _ in range(10)]
    for c in conns:
        assert c.cmd("PING") == b"PONG"
    for _ in range(20):
        with server.connect() as c:
            rest = c.drain_until_closed()
            assert rest == b"" or b"max number of clients" in rest, rest
    for c in conns:
        assert c.cmd("PING") == b"PONG"
    assert server.metrics()["pannier_connections_refused_total"] >= 20
    conns.pop().close()

    def again():
        with server.connect() as c:
            return c.cmd("PING") == b"PONG"
    wait_until("a place is free again", again)


def test_half_sent_requests_by_the_thousand(t):
    """More unfinished requests than the loop has receive buffers: nobody is closed for it, all are served."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    server = t.pannierd()
    request = encode("SET", "some-key", b"x" * 6000)
    conns = [server.connect(unix=True) for _ in range(2000)]
    try:
        for c in conns:
            c.send(request[:4500])
        with server.connect() as c:
            assert c.cmd("PING") == b"PONG"
        for c in conns:
            c.send(request[4500:] + encode("PING"))
        for c in conns:
            assert c.read() == b"OK" and c.read() == b"PONG"
    finally:
        for c in conns:
            c.close()


def test_burst_larger_than_all_buffers(t):
    """One connection sends more at once than every receive buffer together holds, while the server is stopped."""
    server = t.pannierd()
    with server.connect(unix=True) as other, server.connect(unix=True) as c:
        assert other.cmd("PING") == b"PONG"
        values = [os.urandom(100) * 10000 for _ in range(40)]
        replies = c.pipeline([("SET", f"k{i}", v) for i, v in enumerate(values)])
        assert all(r == b"OK" for r in replies)
        assert other.cmd("PING") == b"PONG"
        assert c.pipeline([("GET", f"k{i}") for i in range(40)]) == values


@limit(180)
def test_clients_that_leave_in_the_middle(t):
    """Closed while a request is half sent, while the reply is half read, while a tier is being asked."""
    server, _, _ = t.three_tiers()
    with server.connect() as c:
        c.cmd("SET", "big", os.urandom(1 << 20))
        c.cmd("SET", "k", "v")
        server.wait_queues_empty()
    rng = random.Random(5)
    for i in range(300):
        c = server.connect(unix=i % 2 == 0)
        what = i % 5
        if what == 0:
            c.send(encode("SET", "x", b"y" * 5000)[: rng.randint(1, 5000)])
        elif what == 1:
            c.send(encode("GET", "big"))
            c.sock.recv(1)
        elif what == 2:
            c.send(b"".join(encode("GET", f"absent{i}:{j}") for j in range(50)))
        elif what == 3:
            c.send(encode("GET", "big") * 20)
        else:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not an end
            c.send(encode("SET", f"x{i}", "y") * 10)
        c.close()
        if i % 50 == 0:
            with server.connect() as other:
                other.cmd("PN.FLUSH", "L1")
    with server.connect() as c:
        assert c.cmd("GET", "k") == b"v"
    wait_until("all connections are gone", lambda: server.metrics()["pannier_connections"] <= 1)


def test_half_closed_connection_is_answered(t):
    """`printf ... | nc` shuts its sending side down and still wants the replies."""
    server = t.pannierd()
    with server.connect() as c:
        c.send(encode("SET", "a", "1") + encode("GET", "a"))
        c.sock.shutdown(socket.SHUT_WR)
        assert c.read() == b"OK" and c.read() == b"1"
        try:
            c.read()
            raise AssertionError("there was nothing more to answer")
        except Closed:
            pass


def test_memory_of_unfinished_requests_is_bounded(t):
    """Announced bulks that never come in full: beyond input-max somebody is told so, and the rest lives."""
    server = t.pannierd("--input-max", "8mb", "--memory", "32mb")
    before = server.rss_bytes()
    conns, closed = [], 0
    for i in range(24):
        c = server.connect()
        conns.append(c)
        try:
            c.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8000000\r\n" + bytes(1 << 20))
        except (BrokenPipeError, ConnectionResetError):
            closed += 1
    with server.connect() as c:
        assert c.cmd("PING") == b"PONG"

    def bounded():
        return server.rss_bytes() - before < (40 << 20) * (3 if t.sanitized else 1)
    wait_until("memory is bounded", bounded)
    for c in conns:
        c.close()
