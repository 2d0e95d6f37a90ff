"""RESP as a client sees it: every command beside a real redis-server, RESP2 and 3, inline, split and pipelined."""
import os
import random
import re
import subprocess
import time

from harness.context import limit, once
from harness.resp import Conn, RespError, encode, pairs

# One line a command; its reply must be what Redis replies. "~" before it: numbers may differ by a little (time
# passes); "!": of an error only the first word has to agree.
SAME_AS_REDIS = r"""
PING
PING hello
ECHO "a b"
SET k v
GET k
GET nothing
SET k w
GET k
STRLEN k
STRLEN nothing
TYPE k
TYPE nothing
EXISTS k
EXISTS k k nothing
DEL k
DEL k
GET k
SET a 1
SET b 2
MGET a b c a
UNLINK a b c
EXISTS a b
MSET a 1 b 2 c 3
MGET a b c
MSET a 9 a 8
GET a
DEL a b c
SET n x NX
SET n y NX
GET n
SET n z XX
GET n
SET missing z XX
GET missing
SET n q GET
SET n r XX GET
SET fresh r XX GET
SET fresh r NX GET
SET fresh s NX GET
GET fresh
SET t v EX 100
~TTL t
~PTTL t
SET t w KEEPTTL
~TTL t
GET t
SET t w PX 100000
~PTTL t
PERSIST t
TTL t
PTTL t
PERSIST t
PERSIST nothing
TTL nothing
PTTL nothing
EXPIRE t 50
~TTL t
EXPIRE nothing 50
SET t x
TTL t
SETEX s 100 v
~TTL s
GET s
EXPIRE s 0
EXISTS s
SET s v
EXPIRE s -5
EXISTS s
DEL n fresh t
SET k v EX 0
SET k v EX -1
SET k v PX 0
SET k v EX abc
SET k v EX 9223372036854775807
SET k v EX 1 PX 1
SET k v EX 1 KEEPTTL
SET k v NX XX
SET k v EX
SET k v NONSENSE
SET k
SET
GET
GET a b
SETEX k 0 v
SETEX k -1 v
SETEX k abc v
SETEX k
EXPIRE k abc
EXPIRE k
MSET a
MSET a 1 b
MSET
MGET
DEL
UNLINK
EXISTS
ECHO
ECHO a b
PING a b
STRLEN
TYPE
TTL
PERSIST a b
!SELECT abc
SELECT 0
!NOSUCHCOMMAND a b
SET "with space" "va\r\nlue"
GET "with space"
STRLEN "with space"
SET bin "\x00\x01\xff\r\n"
GET bin
set lower case
gEt lower
CLIENT GETNAME
CLIENT SETNAME worker
CLIENT GETNAME
!CLIENT SETNAME "two words"
!CLIENT NONSENSE
!HELLO 9
!HELLO abc
!HELLO 1
RESET
CLIENT GETNAME
"""

# Where a tier below gives every value a TTL, what Redis says of keys without one cannot agree.
TTL_TOLD = re.compile(r"^~?(TTL|PTTL|PERSIST) t$")


def split_line(line):
    """A command line as redis-cli reads it, with double quotes and escapes."""
    words = re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line)
    return [re.sub(rb"\\(x[0-9a-f]{2}|.)", _unescape, (quoted if not bare else bare).encode())
            if not bare else bare.encode() for quoted, bare in words]


def _unescape(m):
    what = m.group(1)
    return bytes([int(what[1:], 16)]) if what[:1] == b"x" else {b"r": b"\r", b"n": b"\n"}.get(what, what)


def same(mine, other, mark):
    if isinstance(mine, RespError) or isinstance(other, RespError):
        if not (isinstance(mine, RespError) and isinstance(other, RespError)):
            return False
        return str(mine) == str(other) or (mark == "!" and str(mine).split()[0] == str(other).split()[0])
    if mark == "~" and isinstance(mine, int) and isinstance(other, int):
        return abs(mine - other) <= max(1, abs(other) // 50)
    return mine == other and type(mine) is type(other)


def compare(mine, other, skip=None):
    wrong = []
    for line in SAME_AS_REDIS.strip().splitlines():
        if skip and skip.match(line):
            continue
        mark = line[0] if line[0] in "~!" else ""
        arguments = split_line(line.lstrip("~!"))
        a, b = mine.call(*arguments), other.call(*arguments)
        if not same(a, b, mark):
            wrong.append(f"{line!r}: Redis {b!r}, pannierd {a!r}")
    assert not wrong, "differs from Redis:\n" + "\n".join(wrong)


def test_same_as_redis(t):
    redis, server = t.redis(), t.pannierd()
    with server.connect() as mine, redis.connect() as other:
        compare(mine, other)


def test_same_as_redis_resp3(t):
    redis, server = t.redis(), t.pannierd()
    with server.connect() as mine, redis.connect() as other:
        mine.cmd("HELLO", "3")
        other.cmd("HELLO", "3")
        compare(mine, other)


@limit(180)
def test_same_as_redis_with_tiers(t):
    for mode in ("l1", "l2", "behind", "through"):
        other_redis = t.redis()
        server, _, _ = t.three_tiers(policy=f"mode = {mode}\n")
        with server.connect() as mine, other_redis.connect() as other:
            compare(mine, other, None if mode == "l1" else TTL_TOLD)
        server.stop()


def test_hello(t):
    server = t.pannierd()
    with server.connect() as c:
        hello = pairs(c.cmd("HELLO"))
        assert hello["proto"] == 2 and hello["server"], hello
        assert isinstance(c.call("GET", "nothing"), type(None))
        hello = c.cmd("HELLO", "3", "SETNAME", "me")
        assert isinstance(hello, dict), hello
        hello = pairs(hello)
        assert hello["proto"] == 3, hello
        assert c.cmd("CLIENT", "GETNAME") == b"me"
        c.send(encode("GET", "nothing"))
        assert c._line() == b"_", "RESP3 has a null of its own"
        got = c.cmd("PN.GET", "nothing")
        assert isinstance(got, dict), got
        assert pairs(c.cmd("HELLO", "2"))["proto"] == 2
        c.send(encode("GET", "nothing"))
        assert c._line() == b"$-1"
        error = c.call("HELLO", "4")
        assert isinstance(error, RespError) and str(error).startswith("NOPROTO"), error
        assert c.cmd("PING") == b"PONG"


def test_small_commands(t):
    server = t.pannierd()
    with server.connect() as c, server.connect() as d:
        before = time.time()
        seconds, micros = c.cmd("TIME")
        assert before - 2 < int(seconds) < before + 5 and 0 <= int(micros) < 1000000
        assert c.cmd("CLIENT", "ID") != d.cmd("CLIENT", "ID")
        assert c.cmd("CLIENT", "SETINFO", "LIB-NAME", "test") == b"OK"
        assert c.cmd("DBSIZE") == 0
        c.cmd("MSET", "a", "1", "b", "2")
        assert c.cmd("DBSIZE") == 2
        assert d.cmd("FLUSHALL") == b"OK"
        assert c.cmd("DBSIZE") == 0 and c.cmd("GET", "a") is None
        config = c.cmd("CONFIG", "GET", "*")
        names = [n.decode() for n in config[::2]]
        assert "memory" in names and "l2-timeout" in names, names
        assert c.cmd("CONFIG", "GET", "value-max")[0] == b"value-max"
        assert c.cmd("CONFIG", "GET", "no-such-option") == []
        commands = c.cmd("COMMAND")
        listed = {entry[0].decode().lower(): entry for entry in commands}
        for name in ("get", "set", "mget", "pn.get", "pn.set", "pn.flush", "pn.tiers", "pn.help"):
            assert name in listed, f"COMMAND does not list {name}"
        assert listed["get"][1] == 2 and listed["mget"][1] == -2, (listed["get"], listed["mget"])
        assert c.cmd("COMMAND", "COUNT") == len(commands)
        error = c.call("SELECT", "1")
        assert isinstance(error, RespError) and "database 0" in str(error), error


def test_info(t):
    server = t.pannierd()
    info = server.info()
    assert info["server_name"] == "pannier" and info["pannier_version"] and info["redis_version"], info
    assert info["io_backend"] == t.io and info["io_backend_reason"]
    with server.connect() as c:
        text = c.cmd("INFO").decode()
        for section in ("Tiers", "Namespaces", "Savings"):
            assert f"# {section}" in text, f"INFO lacks # {section}"
        assert "# Tiers" in c.cmd("INFO", "tiers").decode()
        assert "io_backend" not in c.cmd("INFO", "tiers").decode()


def test_pn_family(t):
    server = t.pannierd()
    with server.connect() as c:
        assert c.cmd("PN.SET", "k", "v", "TTL", "60000", "COST", "12", "COMPUTE", "3000000", "CONF", "0.5",
                     "TAG", "red", "blue") == b"OK"
        got = pairs(c.cmd("PN.GET", "k"))
        assert got["state"] == b"hit" and got["value"] == b"v" and got["tier"] == b"l1", got
        assert 0 <= got["age-ms"] < 10000 and 50000 < got["soft-ms"] <= 60000 and got["hard-ms"] >= got["soft-ms"], got
        assert pairs(c.cmd("PN.GET", "nothing"))["state"] == b"miss"
        assert "value" not in pairs(c.cmd("PN.GET", "nothing"))
        assert c.cmd("PN.SET", "g", "v", "TTL", "50", "GRACE", "60000") == b"OK"
        time.sleep(0.08)
        got = pairs(c.cmd("PN.GET", "g"))
        assert got["state"] == b"stale" and got["value"] == b"v", got
        assert c.cmd("GET", "g") is None, "a plain GET serves stale only where resp-stale says so"
        for bad in (("PN.SET", "k"), ("PN.SET", "k", "v", "TTL"), ("PN.SET", "k", "v", "TTL", "x"),
                    ("PN.SET", "k", "v", "CONF", "1.5"), ("PN.SET", "k", "v", "NONSENSE"), ("PN.FLUSH",),
                    ("PN.FLUSH", "L9"), ("PN.GET",)):
            assert isinstance(c.call(*bad), RespError), bad
        assert pairs(c.cmd("PN.GET", "k", "DEADLINE", "20"))["state"] == b"hit"
        assert c.cmd("PN.TIERS") and c.cmd("PN.HELP")
        c.cmd("MSET", "one:a", "1", "two:a", "1")
        c.cmd("PN.FLUSH", "L1", "NAMESPACE", "one")
        assert c.cmd("MGET", "one:a", "two:a", "k") == [None, b"1", b"v"]
        c.cmd("PN.FLUSH", "ALL")
        assert c.cmd("MGET", "one:a", "two:a", "k") == [None, None, None]


def test_inline(t):
    server = t.pannierd()
    with server.connect() as c:
        for line, want in ((b"PING\r\n", b"PONG"), (b"PING\n", b"PONG"), (b"set a 1\r\n", b"OK"), (b"GET a\r\n", b"1"),
                           (b"  GET   a  \r\n", b"1"), (b'SET "a b" "x\\ny\\x41"\r\n', b"OK"),
                           (b"GET 'a b'\r\n", b"x\nyA")):
            c.send(line)
            got = c.read()
            assert got == want, (line, got)
        c.send(b"\r\n\r\n\nPING\r\n")
        assert c.read() == b"PONG", "empty lines are nothing"
        c.send(b'SET a "unbalanced\r\n')
        error = c.read()
        assert isinstance(error, RespError) and "Protocol error" in str(error) and "quote" in str(error), error
        c.drain_until_closed()
    with server.connect() as c:
        c.send(b"PING " + b"x" * 200000)
        error = c.read()
        assert isinstance(error, RespError) and "Protocol error" in str(error), error
        c.drain_until_closed()


SPLIT = [("PING",), ("SET", "key", b"va\r\nl\x00ue"), ("GET", "key"), ("MSET", "a", "1", "b", "22"),
         ("MGET", "a", "b", "c"), ("SET", "key", "x", "EX", "100", "GET"), ("PN.GET", "key"),
         ("PN.SET", "key", "z", "TTL", "1000"), ("DEL", "a", "b", "key"), ("ECHO", ""), ("NOSUCH", "x"), ("GET",),
         ("HELLO", "2"), ("EXISTS", "a"), ("CLIENT", "GETNAME")]


def volatile(reply):
    """Without what depends on the moment."""
    if isinstance(reply, RespError):
        return str(reply)
    if isinstance(reply, list) and b"state" in reply:
        return [reply[i + 1] for i in range(0, len(reply), 2) if not reply[i].endswith(b"-ms")]
    if isinstance(reply, list) and b"proto" in reply:
        return len(reply)
    return reply


@limit(180)
def test_every_split(t):
    """Each request, then all of them as one pipeline, cut in two at every byte."""
    server = t.pannierd()
    with server.connect() as c:
        wanted = [volatile(c.call(*args)) for args in SPLIT]
        for args, want in zip(SPLIT, wanted):
            request = encode(*args)
            for cut in range(1, len(request)):
                c.call("DEL", "a", "b", "key")
                if args[0] in ("GET", "PN.GET") or "GET" in args:
                    c.call("SET", "key", b"va\r\nl\x00ue")
                if args[0] == "MGET":
                    c.call("MSET", "a", "1", "b", "22")
                if args[0] == "PN.GET":
                    c.call("SET", "key", "x", "EX", "100", "GET")
                c.send(request[:cut])
                if cut % 3 == 0:
                    time.sleep(0.0005)  # lets the first part arrive alone
                c.send(request[cut:])
                got = volatile(c.read())
                if args[0] != "DEL":
                    assert got == want, (args, cut, got, want)
        whole = b"".join(encode(*args) for args in SPLIT)
        c.call("DEL", "a", "b", "key")
        for cut in range(1, len(whole)):
            c.send(whole[:cut])
            c.send(whole[cut:])
            got = [volatile(c.read()) for _ in SPLIT]
            assert got == wanted, (cut, got, wanted)


def test_byte_by_byte(t):
    server = t.pannierd()
    with server.connect() as c:
        wanted = [volatile(c.call(*args)) for args in SPLIT]
        for byte in b"".join(encode(*args) for args in SPLIT):
            c.send(bytes([byte]))
        assert [volatile(c.read()) for _ in SPLIT] == wanted


def test_pipeline_of_10000(t):
    server = t.pannierd()
    for unix in (False, True):
        with server.connect(unix=unix) as c:
            replies = c.pipeline([("SET", f"key{i}", f"value{i}") for i in range(10000)])
            assert all(r == b"OK" for r in replies)
            replies = c.pipeline([("GET", f"key{i}") for i in range(10000)])
            assert replies == [b"value%d" % i for i in range(10000)]
            mixed = [("SET", "same", i) if i % 2 == 0 else ("GET", "same") for i in range(10000)]
            replies = c.pipeline(mixed)
            assert all(r == b"OK" if i % 2 == 0 else r == b"%d" % (i - 1) for i, r in enumerate(replies))


def test_pipeline_through_tiers_keeps_order(t):
    """A GET that must ask the tiers stands before and after writes of its key: each sees what stood before it."""
    server, _, _ = t.three_tiers()
    with server.connect() as c:
        c.pipeline([("SET", f"o:{i}", "old") for i in range(500)])
        server.wait_queues_empty()
        c.cmd("PN.FLUSH", "L1")
        commands = [x for i in range(500) for x in (("GET", f"o:{i}"), ("SET", f"o:{i}", f"new{i}"), ("GET", f"o:{i}"))]
        replies = c.pipeline(commands)
        for i in range(500):
            assert replies[3 * i : 3 * i + 3] == [b"old", b"OK", b"new%d" % i], (i, replies[3 * i : 3 * i + 3])


def test_binary_keys_and_values(t):
    server, _, _ = t.three_tiers()
    rng = random.Random(7)
    keys = [b"\x00", b"\xff" * 10, b"a\r\nb", b"}", b"{x}", b"#hash", b"a:b:c", b"*1\r\n$4\r\nPING\r\n", b"'\"\\"]
    keys += [rng.randbytes(rng.randint(1, 300)) for _ in range(60)]
    wanted = {k: rng.randbytes(rng.choice((0, 1, 50, 2000))) for k in keys}
    with server.connect() as c:
        for k, v in wanted.items():
            c.cmd("SET", k, v)
        server.wait_queues_empty()
        for flush in ((), ("L1",), ("L1", "L2")):
            for tier in flush:
                c.cmd("PN.FLUSH", tier)
            for k, v in wanted.items():
                got = pairs(c.cmd("PN.GET", k))
                assert got.get("value") == v, (flush, k, got)
                assert got["tier"] == (b"l1", b"l2", b"l3")[len(flush)], (flush, k, got["tier"])
            assert c.cmd("MGET", *wanted) == list(wanted.values())


def test_quit_and_reset(t):
    server = t.pannierd()
    with server.connect() as c:
        c.send(encode("SET", "a", "1") + encode("QUIT") + encode("SET", "a", "2"))
        assert c.read() == b"OK" and c.read() == b"OK"
        c.drain_until_closed()
    with server.connect() as c:
        assert c.cmd("GET", "a") == b"1", "what stands behind QUIT is not executed"
        c.cmd("HELLO", "3", "SETNAME", "x")
        assert c.cmd("RESET") == b"RESET"
        c.send(encode("GET", "nothing"))
        assert c._line() == b"$-1", "RESET goes back to RESP2"


def run_text(command, **how):
    run = subprocess.run(command, capture_output=True, text=True, timeout=90, **how)
    assert run.returncode == 0, f"{command}: {run.stdout}{run.stderr}"
    return run.stdout


def test_redis_cli(t):
    server, _, _ = t.three_tiers()
    cli = ["redis-cli", "-p", str(server.port)]
    assert run_text(cli + ["set", "user:7", "Ada"]) == "OK\n"
    assert run_text(cli + ["get", "user:7"]) == "Ada\n"
    assert run_text(["redis-cli", "-s", server.socket, "get", "user:7"]) == "Ada\n"
    assert run_text(cli + ["-3", "get", "nothing"]) == "\n"
    assert "tier\nl1\n" in run_text(cli + ["pn.get", "user:7"])
    assert "pannier_version" in run_text(cli + ["info"])
    big = os.urandom(300000).hex()
    assert run_text(cli + ["-x", "set", "big"], input=big) == "OK\n"
    assert run_text(cli + ["get", "big"]).strip() == big
    lines = run_text(cli, input="ping\nset x 1\nget x\n").split()
    assert lines == ["PONG", "OK", "1"], lines


@limit(180)
def test_redis_benchmark(t):
    """The tool asks CONFIG GET and expects no error reply at all."""
    for tiers in (False, True):
        server = t.three_tiers()[0] if tiers else t.pannierd()
        out = run_text(["redis-benchmark", "-p", str(server.port), "-t", "ping,set,get,mset", "-P", "16", "-n",
                        "20000" if t.sanitized or tiers else "100000", "-r", "10000", "--csv"])
        rates = dict(re.findall(r'^"([A-Z_]+)[^"]*","([0-9.]+)"', out, re.M))
        for name in ("PING_INLINE", "PING_MBULK", "SET", "GET", "MSET"):
            assert float(rates.get(name, 0)) > 0, out
        if not tiers:
            t.note(", ".join(f"{k} {float(v) / 1000:.0f} k/s" for k, v in rates.items()))
        server.stop()
