"""Values from nothing to the longest, keys from one byte to the longest, through every tier; compression."""
import json
import random

from harness.context import limit
from harness.resp import RespError, pairs

KIB, MIB = 1024, 1024 * 1024
SIZES = (0, 1, KIB, 256 * KIB + 1, 8 * MIB)
TIERS = ((), ("L1",), ("L1", "L2"))  # what is emptied, so that the value must come from L1, L2, L3
# One node's memory must hold 64 MiB values.
ROOM = ("--memory", "1gb")


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def text(size):
    """Compresses well."""
    line = b'{"user": 1234567, "score": 0.25, "tags": ["alpha", "beta"], "note": "nothing new"}\n'
    return (line * (size // len(line) + 1))[:size]


def through_all(c, server, key, value):
    """Written once, then found unchanged in L1, L2 and L3; where it came from must be what was left."""
    assert c.cmd("SET", key, value) == b"OK"
    server.wait_queues_empty()
    for emptied, tier in zip(TIERS, (b"l1", b"l2", b"l3")):
        for name in emptied:
            c.cmd("PN.FLUSH", name)
        got = pairs(c.cmd("PN.GET", key))
        assert got["state"] == b"hit" and got["tier"] == tier, (len(value), tier, {k: v for k, v in got.items() if k != "value"})
        assert got["value"] == value, f"{len(value)} bytes came back from {tier} as {len(got['value'])}, or changed"
        assert c.cmd("GET", key) == value
        assert c.cmd("STRLEN", key) == len(value)


@limit(180)
def test_values_through_all_tiers(t):
    server, _, _ = t.three_tiers(*ROOM)
    with server.connect() as c:
        for size in SIZES:
            through_all(c, server, f"noise:{size}", noise(size))
            through_all(c, server, f"text:{size}", text(size))


@limit(180)
def test_values_of_64_mib_through_l1_and_l3(t):
    server, redis, _ = t.three_tiers(*ROOM)
    value = noise(64 * MIB)
    with server.connect(timeout=60) as c, redis.connect() as r:
        assert c.cmd("SET", "big", value) == b"OK"
        got = pairs(c.cmd("PN.GET", "big"))
        assert got["tier"] == b"l1" and got["value"] == value
        stored = r.cmd("STRLEN", "pn1:v:{big}")
        assert 0 < stored < 10 * KIB, f"Redis holds {stored} bytes of it; a mark is enough"
        server.wait_queues_empty()
        c.cmd("PN.FLUSH", "L1")
        got = pairs(c.cmd("PN.GET", "big"))
        assert got["tier"] == b"l3" and got["value"] == value, got.get("state")
        assert c.cmd("DEL", "big") == 1
        assert c.cmd("GET", "big") is None


@limit(180)
def test_too_long_a_value_is_refused(t):
    """64 MiB + 1: an error that names the limit, and the connection is as good as before."""
    for tiers in (False, True):
        server = t.three_tiers(*ROOM)[0] if tiers else t.pannierd(*ROOM)
        with server.connect(timeout=60) as c:
            for command in (("SET", "k"), ("PN.SET", "k"), ("SETEX", "k", "10")):
                error = c.call(*command, bytes(64 * MIB + 1))
                assert isinstance(error, RespError) and "value-max" in str(error), error
                assert "64mb" in str(error).lower() or "67108864" in str(error), error
                assert c.cmd("PING") == b"PONG" and c.cmd("GET", "k") is None
            error = c.call("MSET", "a", "1", "b", bytes(64 * MIB + 1))
            assert isinstance(error, RespError) and "value-max" in str(error), error
            assert c.cmd("MGET", "a", "b") == [None, None]
            assert c.cmd("SET", "k", "v") == b"OK" and c.cmd("GET", "k") == b"v"
        server.stop()


def test_value_max_is_an_option(t):
    server = t.pannierd("--value-max", "100kb")
    with server.connect() as c:
        assert c.cmd("SET", "k", bytes(100 * KIB)) == b"OK"
        for size in (100 * KIB + 1, 400 * KIB):
            error = c.call("SET", "k", bytes(size))
            assert isinstance(error, RespError) and "100kb" in str(error), error
            assert c.cmd("STRLEN", "k") == 100 * KIB
        # Beyond four times the limit the bytes are not even swallowed.
        c.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % (400 * KIB + 1))
        error = c.read()
        assert isinstance(error, RespError) and "Protocol error" in str(error), error
        c.drain_until_closed()


@limit(180)
def test_keys_through_all_tiers(t):
    server, _, _ = t.three_tiers()
    with server.connect() as c:
        for key in (b"k", b"\x00", b"k" * 200, b"k" * 201, b"k" * 255, b"k" * 256, noise(65535, 3), noise(65536, 4),
                    b"ns:" + b"x" * 65533):
            through_all(c, server, key, b"the value of " + key[:20])
            assert c.cmd("DEL", key) == 1 and c.cmd("GET", key) is None
        for command in (("GET", bytes(65537)), ("SET", bytes(65537), "v"), ("DEL", bytes(65537)), ("GET", "")):
            error = c.call(*command)
            assert isinstance(error, RespError) and "key" in str(error), error
        assert c.cmd("PING") == b"PONG"


def rows(seed):
    """About 100 KiB of JSON as services write it."""
    rng = random.Random(seed)
    data = [{"id": rng.randint(1, 10**9), "name": rng.choice(("ada", "grace", "linus", "edsger")), "score": rng.random(),
             "active": rng.random() < 0.5, "region": rng.choice(("eu-central", "us-east", "ap-south"))}
            for _ in range(1150)]
    return json.dumps(data).encode()


def test_compression(t):
    server, redis, postgres = t.three_tiers()
    value, rough = rows(1), noise(100 * KIB)
    assert 95 * KIB < len(value) < 130 * KIB, len(value)
    with server.connect() as c, redis.connect() as r:
        before = server.metrics()
        c.cmd("SET", "json", value)
        c.cmd("SET", "noise", rough)
        server.wait_queues_empty()
        in_redis = {k: r.cmd("STRLEN", "pn1:v:{%s}" % k) for k in ("json", "noise")}
        assert in_redis["json"] * 2 <= len(value), f"{len(value)} bytes of JSON take {in_redis['json']} in Redis"
        assert len(rough) < in_redis["noise"] <= len(rough) + 256, in_redis["noise"]
        in_postgres = stored_lengths(postgres)
        assert sorted(in_postgres) == sorted(n - 8 for n in in_redis.values()), (in_redis, in_postgres)
        assert max(in_postgres) <= len(rough) + 256, in_postgres
        t.note(f"JSON of {len(value)} bytes takes {in_redis['json']}, noise of {len(rough)} takes {in_redis['noise']}")
        after = server.metrics()
        raw = after["pannier_written_raw_bytes_total"] - before["pannier_written_raw_bytes_total"]
        stored = after["pannier_written_stored_bytes_total"] - before["pannier_written_stored_bytes_total"]
        assert raw == len(value) + len(rough), raw
        assert len(rough) < stored < len(rough) + len(value) / 2 + 512, stored
        info = server.info()
        assert int(info["written_raw_bytes"]) >= raw and int(info["written_stored_bytes"]) >= stored, info
        for flush in ("L1", "L2"):
            c.cmd("PN.FLUSH", flush)
            assert c.cmd("GET", "json") == value and c.cmd("GET", "noise") == rough


def stored_lengths(postgres):
    """Lengths of the envelopes."""
    return [int(row[0]) for row in postgres.sql("select octet_length(value) from pannier.entry where value is not null")]


def test_short_values_are_not_compressed(t):
    """Up to compress-min, and where it saves less than an eighth, the bytes stay as they are."""
    server, redis, _ = t.three_tiers()
    with server.connect() as c, redis.connect() as r:
        c.cmd("SET", "short", bytes(1024))
        c.cmd("SET", "long", bytes(1025))
        c.cmd("SET", "poor", noise(9000) + bytes(1000))
        assert r.cmd("STRLEN", "pn1:v:{short}") >= 1024
        assert r.cmd("STRLEN", "pn1:v:{long}") < 512
        assert r.cmd("STRLEN", "pn1:v:{poor}") >= 10000
        assert c.cmd("GET", "poor") == noise(9000) + bytes(1000)
