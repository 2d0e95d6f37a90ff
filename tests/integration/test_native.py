"""The native protocol against the running server: the vectors, every split, order, batches, large values, limits."""
import json
import os
import random
import struct
import time

from harness.context import limit
from harness.native import HIT, MISS, MORE, OK, OPS, PREFACE, REPLY, Native, batch, field, frame, item, read_item
from harness.services import wait_until
from harness.traces import ROOT

MIB = 1 << 20


def vectors():
    with open(os.path.join(ROOT, "proto/vectors/native.jsonl")) as f:
        return [json.loads(line) for line in f]


def hello():
    return frame("HELLO", 1, item(PROTOCOL=1, FEATURES=0, NAME=b"t"))


def test_hello(t):
    server = t.pannierd("--value-max", "1mb")
    with Native(server.address) as c:
        assert c.limits["PROTOCOL"] == 1 and c.limits["VALUE_MAX"] == MIB and c.limits["KEY_MAX"] == 65536, c.limits
        assert c.limits["BATCH_MAX"] == 4096 and c.limits["UPLOADS_MAX"] == 2 and c.limits["NAME"], c.limits
        assert c.call("HELLO", item(PROTOCOL=1)).status == 22
        assert c.call("PING", item(value=b"x")).value == b"x"
        assert c.call(200).status == 18, "an unknown op"
        info = c.call("INFO").value
        assert b"server_name:pannier" in info
        assert b"io_backend" not in c.call("INFO", item(b"tiers")).value
    with Native(server.socket, hello=False) as c:
        c.sock.sendall(PREFACE + frame("GET", 1, item(b"k")))
        assert [f.status for f in c.drain_until_closed()] == [26]
    with Native(server.socket, hello=False) as c:
        c.sock.sendall(PREFACE + frame("HELLO", 1, item(NAME=b"no version")))
        assert [f.status for f in c.drain_until_closed()] == [26]
    with Native(server.socket) as c:
        c.send("SET", item(b"k", b"v"))
        number = c.send("BYE")
        frames = c.drain_until_closed()
        assert [f.op for f in frames] == [OPS["SET"], OPS["BYE"]] and frames[1].id == number


@limit(180)
def test_vectors(t):
    """Every request of proto/vectors: answered with its op and id, refused, or the end, as the vector says."""
    server = t.pannierd()
    seen = 0
    for vector in vectors():
        data = bytes.fromhex(vector["hex"])
        if vector["direction"] != "request" or len(data) < 1:
            continue
        seen += 1
        name = vector["name"]
        with Native(server.socket, timeout=15) as c:
            if vector.get("op") == OPS["HELLO"] and not vector.get("malformed"):
                c.close()
                c.__init__(server.socket, timeout=15, hello=False)
                c.sock.sendall(PREFACE)
            c.sock.sendall(data)
            if vector.get("malformed"):
                frames = c.drain_until_closed()
                assert frames and frames[-1].status == 29, (name, frames)
                assert frames[-1].fields.get("ERROR"), name
                continue
            silent = vector.get("op") in (OPS["CHUNK"], OPS["CREDIT"], OPS["CANCEL"]) or vector.get("continues")
            if vector.get("incomplete") or silent:
                c.sock.settimeout(0.05)
                try:
                    frames = [c.read()]
                except TimeoutError:
                    frames = []
                assert not frames, (name, frames)
                continue
            reply = c.read()
            assert reply.op == vector["op"] and reply.id == int(vector["id"]) and reply.flags & REPLY, (name, reply)
            if "refused" in vector:
                assert reply.status == vector["refused"] and reply.fields.get("ERROR"), (name, reply)
            else:
                assert reply.status < 16 or vector["op"] in (5, 48, 49, 50, 51, 52), (name, reply)
            if vector["op"] != OPS["BYE"] and not reply.flags & MORE:
                assert c.call("PING", item(value=b"still here")).value == b"still here", name
    assert seen > 40, seen


REQUESTS = [("PING", item(value=b"hello")), ("SET", item(b"k", b"value", TTL=60000000, COST=7, TAG=[b"red", b"blue"])),
            ("GET", item(b"k")), ("GET", item(b"nothing")), ("EXPIRE", item(b"k", TTL=90000000)),
            ("MSET", batch([item(b"a", b"1"), item(b"b", b"22", CONDITION=1)])), ("MGET", batch([item(b"a"), item(b"x")])),
            ("MDEL", batch([item(b"a"), item(b"b"), item(b"x")])), ("DEL", item(b"k")), ("FLUSH", item(TIERS=1)),
            (99, b"")]


def talk(c, cut):
    """Preface, HELLO and all requests in one stream that is cut in two there; what came back, by id."""
    stream = PREFACE + hello() + b"".join(frame(op, 10 + i, body) for i, (op, body) in enumerate(REQUESTS))
    c.sock.sendall(stream[:cut])
    if cut % 4 == 0:
        time.sleep(0.0005)
    c.sock.sendall(stream[cut:])
    out = {}
    for _ in range(len(REQUESTS) + 1):
        f = c.read()
        out[f.id] = (f.op, f.status, f.value if f.op not in (1, 21) else len(f.value))
    return out, len(stream)


@limit(180)
def test_every_split(t):
    server = t.pannierd()
    with Native(server.socket, hello=False) as c:
        wanted, length = talk(c, 1)
    assert [wanted[10 + i][1] for i in range(11)] == [0, 0, HIT, MISS, 0, 0, 0, 0, 0, 0, 18], wanted
    for cut in range(1, length):
        with Native(server.socket, hello=False) as c:
            got, _ = talk(c, cut)
        for number, reply in wanted.items():
            same = reply[:2] == got[number][:2] and (reply[0] in (20, 22) or reply[2] == got[number][2])
            assert same, (cut, number, got[number], reply)
    with Native(server.socket, hello=False) as c:
        for byte in PREFACE + hello() + frame("SET", 2, item(b"k", b"v")) + frame("GET", 3, item(b"k")):
            c.sock.sendall(bytes([byte]))
        assert [c.read().status for _ in range(3)] == [OK, OK, HIT]


def test_malformed_closes_only_its_connection(t):
    server = t.pannierd()
    with Native(server.socket) as bystander:
        for bad in (struct.pack("<IBBHQ", MIB + 1, 16, 0, 0, 5), struct.pack("<IBBHQ", 4, 16, 0, 0, 5) + b"abcd",
                    frame("GET", 5, item(b"k")[:-1] + b""), frame("GET", 5, b"\xff" * 12),
                    frame("GET", 5, struct.pack("<IIHH", 1, 0, 5, 0) + b"\x01\x00\x00\x09\x01k")):
            with Native(server.socket) as c:
                c.sock.sendall(frame("SET", 4, item(b"k", b"v")) + bad)
                frames = c.drain_until_closed()
                assert [f.status for f in frames] == [OK, 29] and frames[1].id == 5, (bad, frames)
                assert frames[1].fields["ERROR"]
        assert bystander.call("PING").status == OK


def test_get_tells_of_the_entry(t):
    server, _, _ = t.three_tiers()
    with Native(server.socket) as c:
        reply = c.call("SET", item(b"k", b"v", TTL=50000000, GRACE=9000000, COST=12, COMPUTE=3000000, CONFIDENCE=32768, CODEC=9,
                                   TAG=[b"red"]))
        assert reply.status == OK and reply.fields["VERSION"] > 10**15 and reply.fields["REACHED"] & 3 == 3, reply
        version = reply.fields["VERSION"]
        server.wait_queues_empty()
        for tiers, tier in ((0, 1), (1, 2), (3, 3)):
            if tiers:
                assert c.call("FLUSH", item(TIERS=tiers)).status == OK
            got = c.call("GET", item(b"k"))
            assert got.status == HIT and got.value == b"v" and got.fields["TIER"] == tier, (tiers, got)
            assert got.fields["VERSION"] == version and got.fields["COST"] == 12 and got.fields["COMPUTE"] == 3000000
            assert got.fields["CONFIDENCE"] == 32768 and got.fields["CODEC"] == 9
            assert 0 < got.fields["SOFT"] <= 50000000 < got.fields["HARD"] <= 59000000, got
        assert c.call("SET", item(b"k", b"w", CONDITION=1)).status == 8
        assert c.call("DEL", item(b"k")).fields["VERSION"] > version
        assert c.call("DEL", item(b"k")).status == MISS
        assert c.call("GET", item(b"k")).status == MISS
        assert c.call("GET", item(b"")).status == 25
        assert c.call("GET", item(bytes(65537))).status == 24


def test_a_hit_overtakes_a_miss(t):
    """The lookup that waits for a frozen Redis does not hold back the one behind it."""
    server, redis, _ = t.three_tiers()
    with Native(server.socket) as c:
        for key in (b"slow", b"quick"):
            c.call("SET", item(key, b"v"))
        server.wait_queues_empty()
        c.call("FLUSH", item(TIERS=1))
        assert c.call("GET", item(b"quick")).status == HIT
        redis.freeze()
        first, second = c.send("GET", item(b"slow")), c.send("GET", item(b"quick"))
        reply = c.read()
        assert reply.id == second and reply.status == HIT, reply
        redis.thaw()
        reply = c.read()
        assert reply.id == first and reply.status == HIT, reply


def test_batches_through_tiers(t):
    server, _, _ = t.three_tiers()
    rng = random.Random(2)
    wanted = {b"b:%d" % i: rng.randbytes(rng.choice((0, 10, 400))) for i in range(2000)}
    with Native(server.socket) as c:
        reply = c.call("MSET", batch([item(k, v, TTL=10**9) for k, v in wanted.items()]))
        assert all(i["status"] == OK and i["fields"]["VERSION"] for i in reply.items())
        server.wait_queues_empty()
        for tiers, tier in ((0, 1), (1, 2), (3, 3)):
            if tiers:
                c.call("FLUSH", item(TIERS=tiers))
            number = c.send("MGET", batch([item(k) for k in [*wanted, b"absent"]]))
            reply = c.read()
            assert reply.id == number
            items = reply.items()
            assert [i["value"] for i in items[:-1]] == list(wanted.values())
            assert {i["fields"]["TIER"] for i in items[:-1]} == {tier} and items[-1]["status"] == MISS
        items = c.call("MDEL", batch([item(k) for k in list(wanted)[:10]] + [item(b"absent"), item(b"")])).items()
        assert [i["status"] for i in items] == [OK] * 10 + [MISS, 25], [i["status"] for i in items]
        assert c.call("MGET", item(value=struct.pack("<I", 4097) + item(b"k") * 4097)).status >= 16


@limit(180)
def test_large_values_by_credit(t):
    server, _, _ = t.three_tiers("--memory", "1gb")
    rng = random.Random(4)
    with Native(server.socket, timeout=60) as c:
        for size in (262144, 262145, MIB, MIB + 1, 9 * MIB):
            value = rng.randbytes(size)
            if size <= 262144:
                assert c.call("SET", item(b"big", value)).status == OK
            else:
                assert c.upload(b"big", value).status == OK, size
            server.wait_queues_empty(60)
            for tiers, where in ((0, {1}), (1, {2, 3}), (3, {3})):
                if tiers:
                    c.call("FLUSH", item(TIERS=tiers))
                head, got = c.download(b"big")
                assert got == value and head.fields["TIER"] in where, (size, tiers, head, got and len(got))
        assert c.upload(b"big", rng.randbytes(700000), chunk=1000).status == OK
        assert c.upload(b"big", rng.randbytes(700001), chunk=99999).status == OK


def test_small_ones_pass_between_chunks(t):
    """A value that waits for credit holds nothing up."""
    server = t.pannierd("--memory", "64mb")
    with Native(server.socket) as c:
        c.upload(b"big", bytes(4 * MIB))
        number = c.send("GET", item(b"big"))
        got, head = 0, c.read()
        assert head.fields["LENGTH"] == 4 * MIB and head.flags & MORE
        while got < MIB:
            chunk = c.read()
            got += len(chunk.body) - 16
        assert c.call("PING", item(value=b"between")).value == b"between"
        c.send("CANCEL", b"", number)
        end = c.read()
        assert end.id == number and end.status == 10 and not end.flags & MORE, end
        assert c.call("PING").status == OK


def test_upload_limits(t):
    server = t.pannierd("--value-max", "8mb", "--memory", "64mb")
    with Native(server.socket, timeout=40) as c:
        reply = c.call("SET", item(b"k", LENGTH=8 * MIB + 1))
        assert reply.status == 23 and b"8mb" in reply.fields["ERROR"], reply
        first = c.send("SET", item(b"a", LENGTH=MIB), flags=MORE)
        second = c.send("SET", item(b"b", LENGTH=MIB), flags=MORE)
        third = c.send("SET", item(b"c", LENGTH=MIB), flags=MORE)
        replies = {}
        while third not in replies:
            f = c.read()
            if f.op != OPS["CREDIT"]:
                replies[f.id] = f.status
        assert replies == {third: 28}, replies
        c.send("CHUNK", struct.pack("<IIQ", 0, 0, 5) + b"x", first)  # not the next offset
        while first not in replies:
            f = c.read()
            if f.op != OPS["CREDIT"]:
                replies[f.id] = f.status
        assert replies[first] == 22
        begin = time.monotonic()
        while second not in replies:
            f = c.read()
            if f.op != OPS["CREDIT"]:
                replies[f.id] = f.status
        assert replies[second] == 36 and time.monotonic() - begin < 15, "an idle upload is dropped after 10 s"
        assert c.call("PING").status == OK
        assert c.call("GET", item(b"a")).status == MISS


def test_unknown_critical_field_is_refused(t):
    server = t.pannierd()
    with Native(server.socket) as c:
        unknown, body = b"\xc8\x00\x01\x00\x05", item(b"k")

        def with_field(extra):
            return struct.pack("<IIHH", 1, 0, len(extra), 0) + extra + b"k"
        assert read_item(body)[0]["key"] == b"k" and field("TTL", 5)
        assert c.call("GET", with_field(unknown)).status == MISS, "skipped"
        assert c.call("GET", with_field(b"\xc8\x01\x01\x00\x05")).status == 22, "refused"


def test_many_in_flight(t):
    """Thousands of requests without waiting; every one is answered once."""
    server, _, _ = t.three_tiers()
    with Native(server.socket) as c:
        for i in range(0, 3000, 500):
            c.call("MSET", batch([item(b"f:%d" % j, b"v%d" % j) for j in range(i, i + 500)]))
        server.wait_queues_empty()
        c.call("FLUSH", item(TIERS=1))
        c.sock.sendall(b"".join(frame("GET", 1000 + i, item(b"f:%d" % i)) for i in range(3000)))
        got = {}
        for _ in range(3000):
            f = c.read()
            assert f.id not in got
            got[f.id] = f.value
        assert got == {1000 + i: b"v%d" % i for i in range(3000)}
    wait_until("nothing is left", lambda: server.metrics()["pannier_connections"] <= 1)
