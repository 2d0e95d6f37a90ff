"""Options and files, environment, reload, the end by SIGTERM, and the admin port."""
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request

from harness.context import once
from harness.resp import Closed, RespError, encode
from harness.services import free_port, wait_until


def run(t, *arguments, environment=None, expect=0):
    """pannierd that is expected to end by itself; its output."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PANNIER_")}
    env.update(environment or {})
    p = subprocess.run([t.program("pannierd"), *arguments], capture_output=True, text=True, env=env, timeout=30)
    assert p.returncode == expect, f"{arguments}: status {p.returncode}\n{p.stdout}{p.stderr}"
    return p.stdout + p.stderr


def one_sentence(text, *words):
    """A complaint is one line and names everything a reader needs to mend it."""
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1, f"one sentence expected, got {lines}"
    for word in words:
        assert word in lines[0], f"{word!r} is not in {lines[0]!r}"


@once
def test_bad_options(t):
    for arguments, words in (
        (("--no-such-option", "1"), ("--no-such-option",)),
        (("--l2-timeout", "soon"), ("l2-timeout", "soon", "1ms", "60s")),
        (("--l2-timeout", "2m"), ("l2-timeout", "60s")),
        (("--threads", "0"), ("threads", "1", "64")),
        (("--threads", "65"), ("threads", "64")),
        (("--memory", "1kb"), ("memory", "8mb")),
        (("--memory", "12parsecs"), ("memory", "12parsecs")),
        (("--io", "magic"), ("io", "auto", "uring", "epoll")),
        (("--eviction", "random"), ("eviction", "lru")),
        (("--unix-socket-mode", "999"), ("unix-socket-mode",)),
        (("--flushall", "maybe"), ("flushall", "yes", "no")),
        (("--memory",), ("memory",)),
        (("--l2", "http://x"), ("l2", "redis://")),
        (("stray",), ("stray",)),
        (("--listen", "nonsense"), ("listen",)),
        (("--listen", "127.0.0.1:99999"), ("--listen 127.0.0.1:99999:", "HOST:PORT")),
        (("--l2", "redis://h", "--l2-prefix", "a{"), ("--l2-prefix:",)),
        (("--l3", "nonsense"), ("--l3:", "libpq", "postgresql://")),
        (("--l3", "dbname=x", "--l3-schema", "pg_x"), ("--l3-schema:",)),
        (("--unix-socket", "/" + "s" * 107), ("--unix-socket:", "107")),
    ):
        one_sentence(run(t, *arguments, expect=2), *words)


@once
def test_bad_lines(t):
    for text, line, words in (
        ("[server]\nmemory = 64mb\nthreadz = 2\n", 3, ("threadz",)),
        ("[server]\nmemory = lots\n", 2, ("memory", "lots")),
        ("[l2]\n\ntimeout = 99h\n", 3, ("timeout", "1ms", "60s")),
        ("[nowhere]\nx = 1\n", 2, ("nowhere", "server", "l1", "l2", "l3", "namespace")),
        ("[server]\nthis is not a line\n", 2, ()),
        ("[namespace a]\nmode = sideways\n", 2, ("mode", "behind", "through")),
        ("[namespace default]\nttl = 1h\n[namespace a]\n\nmode = through\n", 5, ("through", "[l3] url")),
        ("[server]\nlisten = here\n", 2, ("listen = here", "HOST:PORT")),
        ("threads = 1\n", 1, ("section", "[server]")),
        ("[namespace a]\nnonsense = 1\n", 2, ("nonsense",)),
    ):
        path = t.config(text)
        for extra in ((), ("--check-config",)):
            one_sentence(run(t, "--config", path, *extra, expect=2), path, str(line), *words)
    one_sentence(run(t, "--config", "/nonexistent/x.conf", expect=2), "/nonexistent/x.conf")


@once
def test_a_mode_needs_its_tier(t):
    path = t.config("[namespace a]\nmode = through\n")
    one_sentence(run(t, "--config", path, "--check-config", expect=2), "through", "l3")


@once
def test_check_and_print_config(t):
    path = t.config("[server]\nmemory = 64mb\n[l2]\nurl = redis://user:secret@127.0.0.1:6379\ntimeout = 30ms\n"
                    "[namespace ads]\nttl = 5m\n")
    run(t, "--config", path, "--check-config")
    printed = run(t, "--config", path, "--print-config")
    assert re.search(r"^memory *= *64mb", printed, re.M) and re.search(r"^timeout *= *30ms", printed, re.M), printed
    assert "[namespace ads]" in printed and re.search(r"^ttl *= *5m", printed, re.M)
    again = t.config(printed)
    assert run(t, "--config", again, "--print-config") == printed, "what is printed is a configuration file"


@once
def test_print_schema(t):
    text = run(t, "--l3-schema", "of our own", "--print-schema")
    assert text.startswith("BEGIN;") and text.endswith("COMMIT;\n"), text
    assert 'CREATE TABLE IF NOT EXISTS "of our own".entry' in text, text


def printed_memory(t, *arguments, environment=None):
    text = run(t, *arguments, "--print-config", environment=environment)
    return re.search(r"^memory *= *(\S+)", text, re.M).group(1)


@once
def test_argv_beats_environment_beats_file(t):
    path = t.config("[server]\nmemory = 64mb\n")
    variable = {"PANNIER_MEMORY": "65mb"}
    assert printed_memory(t, "--config", path) == "64mb"
    assert printed_memory(t, "--config", path, environment=variable) == "65mb"
    assert printed_memory(t, "--config", path, "--memory", "66mb", environment=variable) == "66mb"
    assert printed_memory(t, "--memory=67mb", "--config", path) == "67mb"
    assert printed_memory(t, environment={"PANNIER_CONFIG": path}) == "64mb"
    text = run(t, "--print-config", environment={"PANNIER_L2_TIMEOUT": "31ms", "PANNIER_L2": "redis://127.0.0.1:1"})
    assert re.search(r"^timeout *= *31ms", text, re.M) and "redis://127.0.0.1:1" in text
    one_sentence(run(t, "--check-config", environment={"PANNIER_MEMORY": "x"}, expect=2), "PANNIER_MEMORY", "x")


@once
def test_unknown_variables_warn(t):
    text = run(t, "--check-config", environment={"PANNIER_MEMROY": "1", "PANNIER_PORT_7171_TCP": "tcp://1.2.3.4:7171",
                                                 "PANNIER_SERVICE_HOST": "1.2.3.4"})
    assert "PANNIER_MEMROY" in text and "PANNIER_PORT" not in text and "PANNIER_SERVICE" not in text, text


@once
def test_help_and_version(t):
    text = run(t, "--help")
    for name in ("--config", "--listen", "--unix-socket", "--admin", "--threads", "--memory", "--io", "--l2", "--l3",
                 "--check-config", "--print-config"):
        assert name in text, f"--help lacks {name}"
    assert re.search(r"\d+\.\d+\.\d+", run(t, "--version"))


@once
def test_taken_port(t):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        text = run(t, "--listen", f"127.0.0.1:{port}", "--admin", "none", expect=1)
        assert str(port) in text and "in use" in text, text


def test_reload(t):
    """SIGHUP takes what can change while running, says what cannot, and keeps the old on a mistake."""
    path = t.config("[server]\nlog-level = info\nmemory = 32mb\n[l2]\ntimeout = 20ms\n[namespace a]\nttl = 100s\n")
    server = t.pannierd("--config", path)

    def value(name):
        with server.connect() as c:
            return c.cmd("CONFIG", "GET", name)[1].decode()

    def rewrite(text):
        with open(path, "w") as f:
            f.write(text)
        server.process.send_signal(signal.SIGHUP)

    with server.connect() as held:
        held.cmd("SET", "a:1", "v")
        assert value("l2-timeout") == "20ms"
        rewrite("[server]\nlog-level = info\nmemory = 48mb\n[l2]\ntimeout = 40ms\n[namespace a]\nttl = 200s\n")
        wait_until("the new timeout holds", lambda: value("l2-timeout") == "40ms")
        assert value("memory") == "32mb", "memory needs a restart"
        wait_until("the log says so", lambda: "memory" in server.log_text() and "restart" in server.log_text())
        held.cmd("SET", "a:2", "v")
        assert held.cmd("TTL", "a:2") > 150, "the namespace's new ttl holds"
        rewrite("[l2]\ntimeout = never\n")
        wait_until("the log names the mistake", lambda: "never" in server.log_text())
        assert value("l2-timeout") == "40ms" and server.running()
        assert held.cmd("GET", "a:1") == b"v", "connections and values live through a reload"


def test_sigterm_drains(t):
    """Not ready, no new connections, what is in flight is answered, status 0."""
    server, redis, _ = t.three_tiers()
    with server.connect() as c:
        c.cmd("SET", "k", "v")
        server.wait_queues_empty()
        c.cmd("PN.FLUSH", "L1")
        redis.freeze()
        c.send(encode("GET", "k"))
        time.sleep(0.1)
        server.process.send_signal(signal.SIGTERM)

        def refused():
            try:
                with server.connect(timeout=1.0) as other:
                    other.cmd("PING")
            except (OSError, Closed, RespError):
                return True
            return False
        wait_until("new connections are refused", refused)
        assert server.running(), "it waits for what is in flight"
        redis.thaw()
        assert c.read() == b"v", "what was in flight is answered"
        assert server.process.wait(15) == 0
    assert not os.path.exists(server.socket), "the Unix socket is taken away"


def test_sigterm_with_idle_clients_is_quick(t):
    server = t.pannierd()
    conns = [server.connect() for _ in range(50)]
    for c in conns:
        c.cmd("PING")
    begin = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begin < 5, "idle connections do not hold it back"


def test_writes_behind_survive_sigterm(t):
    server, _, postgres = t.three_tiers("--l3-flush", "2s")
    with server.connect() as c:
        c.pipeline([("SET", f"k{i}", "v") for i in range(500)])
    assert server.stop() == 0
    again = t.pannierd("--config", t.patient_config(), l3=postgres).wait_tiers(l2=False)
    with again.connect() as c:
        assert c.cmd("MGET", *[f"k{i}" for i in range(500)]) == [b"v"] * 500


@once
def test_admin_port(t):
    server = t.pannierd()
    with server.connect() as c:
        c.cmd("SET", "secret-key", "secret-value")
        c.cmd("GET", "secret-key")
        c.cmd("GET", "nothing")
    status, text = server.http("/metrics")
    assert status == 200
    families = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M)
    assert len({name for name, _ in families}) == len(families), "a family is declared twice"
    for name, kind in families:
        assert name.startswith("pannier_") and (kind != "counter" or name.endswith("_total")), (name, kind)
    for line in text.splitlines():
        assert re.fullmatch(r"#.*|[a-z_:0-9]+(\{[^}]*\})? [-0-9.e+]+(inf)?", line, re.I), line
    metrics = server.metrics()
    assert metrics['pannier_hits_total{tier="l1"}'] == 1 and metrics["pannier_misses_total"] == 1, metrics
    assert server.http("/healthz")[0] == 200 and server.http("/readyz")[0] == 200
    assert server.http("/nonsense")[0] == 404
    for path in ("/metrics", "/healthz", "/readyz"):
        assert "secret" not in server.http(path)[1]
    request = urllib.request.Request(f"http://127.0.0.1:{server.admin_port}/metrics", method="DELETE")
    try:
        urllib.request.urlopen(request, timeout=5)
        raise AssertionError("DELETE was taken")
    except urllib.error.HTTPError as e:
        assert e.code == 405, e.code


def test_admin_port_while_busy(t):
    """Its own thread: metrics are read while the loop is loaded."""
    server = t.pannierd()
    stop = threading.Event()

    def load():
        with server.connect() as c:
            while not stop.is_set():
                c.pipeline([("SET", "k", "v")] * 500)
    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(20):
            assert server.http("/metrics", timeout=5)[0] == 200
    finally:
        stop.set()
        thread.join(20)


def test_unix_socket_mode(t):
    server = t.pannierd("--unix-socket-mode", "0600")
    assert os.stat(server.socket).st_mode & 0o777 == 0o600
    with server.connect(unix=True) as c:
        assert c.cmd("PING") == b"PONG"
    # What a killed server left behind does not stop the next one.
    server.kill9()
    assert os.path.exists(server.socket)
    server.start()
    with server.connect(unix=True) as c:
        assert c.cmd("PING") == b"PONG"


def test_without_tcp_and_without_admin(t):
    server = t.pannierd(start=False)
    server.argv = lambda: [server.binary, "--listen", "none", "--admin", "none", "--unix-socket", server.socket,
                           "--io", t.io]
    server.ready = lambda: server.connect(unix=True).cmd("PING") == b"PONG"
    server.start()
    with server.connect(unix=True) as c:
        assert c.cmd("SET", "k", "v") == b"OK"


def test_threads(t):
    """Several workers share L1: what one wrote the others find, and all of them serve."""
    server = t.pannierd("--threads", "4")
    conns = [server.connect(unix=i % 2 == 0) for i in range(16)]
    try:
        for i, c in enumerate(conns):
            assert c.cmd("SET", f"k{i}", f"v{i}") == b"OK"
        for c in conns:
            assert c.cmd("MGET", *[f"k{i}" for i in range(16)]) == [b"v%d" % i for i in range(16)]
    finally:
        for c in conns:
            c.close()


def test_threads_with_tiers(t):
    server, _, _ = t.three_tiers("--threads", "3")
    conns = [server.connect() for _ in range(12)]
    try:
        for turn in range(5):
            for i, c in enumerate(conns):
                c.cmd("SET", f"k{i}", f"v{turn}:{i}")
            server.wait_queues_empty()
            conns[0].cmd("PN.FLUSH", "L1")
            for c in conns:
                assert c.cmd("MGET", *[f"k{i}" for i in range(12)]) == [b"v%d:%d" % (turn, i) for i in range(12)]
            conns[turn].cmd("DEL", "k3")
            for c in conns:
                assert c.cmd("GET", "k3") is None
    finally:
        for c in conns:
            c.close()


@once
def test_two_on_one_port_is_refused_clearly(t):
    port = free_port()
    t.pannierd(port=port)
    text = run(t, "--listen", f"127.0.0.1:{port}", "--admin", "none", expect=1)
    assert str(port) in text, text
