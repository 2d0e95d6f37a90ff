#!/usr/bin/env python3
"""Makes proto/vectors/native.jsonl from proto/native.md. Shares no code with the server or a client.

    proto/native_vectors.py           writes the file
    proto/native_vectors.py --check   fails when the file is not what would be written
"""
import json
import pathlib
import struct
import sys

TARGET = pathlib.Path(__file__).parent / "vectors" / "native.jsonl"

OPS = dict(HELLO=1, PING=2, BYE=3, INFO=4, STATS=5, TIERS=6, FLUSH=7, GET=16, SET=17, DEL=18, EXPIRE=19,
           MGET=20, MSET=21, MDEL=22, CHUNK=32, CREDIT=33, CANCEL=34)
FIELDS = dict(TTL=1, GRACE=2, DEADLINE=3, WAIT=4, LEASE=5, PRIORITY=6, COST=7, COMPUTE=8, CONFIDENCE=9, TAG=10,
              CODEC=11, CONDITION=12, TOKEN=13, LENGTH=14, RAW_LENGTH=15, NAMESPACE=16, TIERS=17, TIER=24,
              AGE=25, SOFT=26, HARD=27, VERSION=28, RETRY=29, ERROR=30, COUNT=31, REACHED=32, PROTOCOL=40,
              FEATURES=41, NAME=42, VALUE_MAX=43, KEY_MAX=44, BODY_MAX=45, CHUNK_MAX=46, CREDIT_FIRST=47,
              BATCH_MAX=48, UPLOADS_MAX=49, UPLOAD_IDLE=50, USER=51, PASSWORD=52)
CRITICAL = {"CONDITION", "TOKEN", "LENGTH", "RAW_LENGTH", "NAMESPACE", "TIERS", "USER", "PASSWORD"}
REPLY, MORE = 1, 2
OK, HIT, STALE, MISS, NEGATIVE, SHED, NOT_MET, CANCELLED = 0, 1, 2, 3, 6, 7, 8, 10


def number(value, size=None):
    if size is None:
        size = next(n for n in (1, 2, 4, 8) if value < 256 ** n)
    return value.to_bytes(size, "little")


def raw_field(kind, flags, content):
    return struct.pack("<BBH", kind, flags, len(content)) + content


def field(name, content):
    return raw_field(FIELDS[name], name in CRITICAL, number(content) if isinstance(content, int) else content)


def item_bytes(fields=b"", key=b"", value=b"", status=0):
    return struct.pack("<IIHH", len(key), len(value), len(fields), status) + fields + key + value


def frame(op, body=b"", flags=0, status=0, ident=1):
    return struct.pack("<IBBHQ", len(body), op, flags, status, ident) + body


def shown(fields):
    return [[name, str(content) if isinstance(content, int) else content.hex()] for name, content in fields]


def shown_item(fields=(), key=b"", value=b"", status=0):
    return {"status": status, "fields": shown(fields), "key": key.hex(), "value": value.hex()}


class Vectors:
    def __init__(self):
        self.rows = []

    def add(self, name, raw, **members):
        direction = members.pop("direction", None) or ("reply" if len(raw) > 5 and raw[5] & REPLY else "request")
        assert name not in (row["name"] for row in self.rows), name
        self.rows.append({"name": name, "direction": direction, "hex": raw.hex(), **members})

    def framed(self, name, op, body, flags=0, status=0, ident=1, canonical=True, **members):
        number_of_op = OPS.get(op, op)
        self.add(name, frame(number_of_op, body, flags, status, ident), op=number_of_op, flags=flags, status=status,
                 id=str(ident), **members, **({} if "refused" in members else {"canonical": canonical}))

    def item(self, name, op, fields=(), key=b"", value=b"", **rest):
        packed = b"".join(field(*f) for f in fields)
        body = item_bytes(packed, key, value) if fields or key or value else b""
        self.framed(name, op, body, item=shown_item(fields, key, value), **rest)

    def batch(self, name, op, items, fields=(), **rest):
        inner = b"".join(item_bytes(b"".join(field(*f) for f in i.get("fields", ())), i.get("key", b""),
                                    i.get("value", b""), i.get("status", 0)) for i in items)
        value = struct.pack("<I", len(items)) + inner
        self.framed(name, op, item_bytes(b"".join(field(*f) for f in fields), b"", value),
                    item=shown_item(fields, b"", value), items=[shown_item(**i) for i in items], **rest)

    def chunk(self, name, index, offset, data, **rest):
        self.framed(name, "CHUNK", struct.pack("<IIQ", index, 0, offset) + data,
                    chunk={"index": str(index), "offset": str(offset), "data": data.hex()}, **rest)

    def malformed(self, name, what, raw, **rest):
        self.add(name, raw, malformed=what, **rest)


def requests(v):
    v.item("hello", "HELLO", [("PROTOCOL", 1), ("FEATURES", 1), ("NAME", b"app")])
    v.item("hello-of-a-later-version", "HELLO", [("PROTOCOL", 300), ("FEATURES", 2**63 + 1)], ident=2**64 - 1)
    v.item("ping", "PING")
    v.item("ping-with-a-value", "PING", value=b"hello")
    v.item("bye", "BYE", ident=0)
    v.item("info", "INFO")
    v.item("info-of-a-section", "INFO", key=b"server")
    v.item("tiers", "TIERS")
    v.item("flush-everything", "FLUSH")
    v.item("flush-l1-of-a-namespace", "FLUSH", [("TIERS", 1), ("NAMESPACE", b"users")])
    v.item("flush-of-the-empty-namespace", "FLUSH", [("NAMESPACE", b"")])
    v.item("get", "GET", key=b"a", ident=7)
    v.item("get-with-a-deadline", "GET", [("DEADLINE", 20000)], key=b"users:1")
    v.item("get-with-everything", "GET", [("DEADLINE", 20000), ("WAIT", 30 * 10**6), ("LEASE", 10**7),
                                         ("PRIORITY", 3)], key=b"users:1")
    v.item("get-of-a-binary-key", "GET", key=bytes(range(256)))
    v.item("set", "SET", key=b"a", value=b"xy")
    v.item("set-of-an-empty-value", "SET", key=b"a")
    v.item("set-with-everything", "SET", [("TTL", 300 * 10**6), ("GRACE", 0), ("DEADLINE", 50000), ("COST", 2100),
                                         ("COMPUTE", 2**32 - 1), ("CONFIDENCE", 65535), ("CODEC", 255),
                                         ("CONDITION", 5), ("TAG", b"market-data"), ("TAG", b"\x00\xff"),
                                         ("TAG", b"market-data")], key=b"ns:k", value=b"\r\n\x00")
    v.item("set-of-a-large-value", "SET", [("LENGTH", 300000)], key=b"a", flags=MORE, ident=9, continues=True)
    v.item("del", "DEL", key=b"a")
    v.item("expire", "EXPIRE", [("TTL", 10**6)], key=b"a")
    v.item("expire-never", "EXPIRE", key=b"a")
    v.batch("mget", "MGET", [{"key": b"a"}, {"key": b"b"}, {"key": b"a"}], [("DEADLINE", 1000)])
    v.batch("mget-of-nothing", "MGET", [])
    v.batch("mset", "MSET", [{"key": b"a", "value": b"1", "fields": [("TTL", 1), ("TAG", b"t")]},
                             {"key": b"b", "value": b""}])
    v.batch("mdel", "MDEL", [{"key": b"a"}])
    v.chunk("chunk-of-an-upload", 0, 0, b"K" * 40, flags=MORE, ident=9)
    v.chunk("last-chunk-of-an-upload", 0, 262144, b"K", ident=9)
    v.framed("credit", "CREDIT", struct.pack("<I", 65536), credit="65536", ident=9)
    v.item("cancel", "CANCEL", ident=9)


def replies(v):
    limits = [("VALUE_MAX", 67108864), ("KEY_MAX", 65536), ("BODY_MAX", 1048576), ("CHUNK_MAX", 262144),
              ("CREDIT_FIRST", 1048576), ("BATCH_MAX", 4096), ("UPLOADS_MAX", 2), ("UPLOAD_IDLE", 10000000)]
    hit = [("TIER", 1), ("AGE", 2000), ("SOFT", 300 * 10**6), ("HARD", 300 * 10**6), ("VERSION", 5)]
    v.item("hello-reply", "HELLO", [("PROTOCOL", 1), ("FEATURES", 1), ("NAME", b"pannier 0.1.0")] + limits, flags=REPLY)
    v.item("hello-refused", "HELLO", [("ERROR", b"unsupported protocol version")], flags=REPLY, status=26)
    v.item("pong", "PING", value=b"hello", flags=REPLY)
    v.item("bye-reply", "BYE", flags=REPLY)
    v.item("hit", "GET", hit, value=b"xy", flags=REPLY, status=HIT, ident=7)
    v.item("hit-of-an-empty-value", "GET", hit, flags=REPLY, status=HIT)
    v.item("hit-for-ever", "GET", [("TIER", 3), ("AGE", 0), ("VERSION", 1790000000000000)], value=b"x", flags=REPLY,
           status=HIT)
    v.item("stale", "GET", [("TIER", 2), ("AGE", 10**6), ("SOFT", 0), ("HARD", 10**6), ("VERSION", 5), ("COST", 70000),
                            ("COMPUTE", 41000), ("CONFIDENCE", 60293), ("CODEC", 2)], value=b"xy", flags=REPLY,
           status=STALE)
    v.item("miss", "GET", flags=REPLY, status=MISS)
    v.item("negative", "GET", [("TIER", 1)], value=b"model is down", flags=REPLY, status=NEGATIVE)
    v.item("shed", "GET", [("RETRY", 100000)], flags=REPLY, status=SHED)
    v.item("hit-as-lz4", "GET", [("TIER", 1), ("RAW_LENGTH", 64)], value=bytes.fromhex("1f61010027506161616161"),
           flags=REPLY, status=HIT)
    v.item("hit-in-chunks", "GET", hit + [("LENGTH", 8388608)], flags=REPLY | MORE, status=HIT)
    v.chunk("chunk-of-a-reply", 0, 1048576, b"v" * 33, flags=REPLY | MORE)
    v.chunk("chunk-of-a-batch", 4095, 0, b"v", flags=REPLY)
    v.chunk("chunk-that-ends-early", 0, 1048576, b"", flags=REPLY, status=CANCELLED)
    v.framed("credit-for-an-upload", "CREDIT", struct.pack("<I", 65536), flags=REPLY | MORE, credit="65536", ident=9)
    v.item("set-reply", "SET", [("VERSION", 1790000000000000), ("REACHED", 3)], flags=REPLY)
    v.item("set-not-met", "SET", flags=REPLY, status=NOT_MET)
    v.item("set-tier-down", "SET", [("ERROR", b"l2")], flags=REPLY, status=30)
    v.item("del-of-nothing", "DEL", flags=REPLY, status=MISS)
    v.item("flush-reply", "FLUSH", [("COUNT", 12)], flags=REPLY)
    v.item("info-reply", "INFO", value=b"# Server\r\nserver_name:pannier\r\n", flags=REPLY)
    v.batch("mget-reply", "MGET", [{"status": HIT, "fields": hit, "value": b"1"}, {"status": MISS},
                                   {"status": 25, "fields": [("ERROR", b"key is empty")]},
                                   {"status": HIT, "fields": [("TIER", 1), ("LENGTH", 5)]}], flags=REPLY | MORE)
    v.batch("mset-reply", "MSET", [{"status": OK, "fields": [("VERSION", 7), ("REACHED", 1)]},
                                   {"status": NOT_MET}], flags=REPLY)


def skipping(v):
    """What a reader of version 1 skips, reads all the same, or refuses."""
    unknown = raw_field(200, 0, b"later") + raw_field(63, 0, b"") + raw_field(18, 0, b"12345678901234567890")
    v.framed("unknown-fields-are-skipped", "GET", item_bytes(unknown + field("DEADLINE", 5), b"a"),
             item=shown_item([("DEADLINE", 5)], b"a"), canonical=False)
    v.framed("other-field-flags-are-not-looked-at", "GET", item_bytes(raw_field(3, 0xFE, b"\x05"), b"a"),
             item=shown_item([("DEADLINE", 5)], b"a"), canonical=False)
    v.framed("numbers-of-any-length", "SET", item_bytes(
        raw_field(1, 0, number(7, 8)) + raw_field(2, 0, number(70000, 3)) + raw_field(7, 0, number(2**56 - 1, 7)),
        b"a"),
        item=shown_item([("TTL", 7), ("GRACE", 70000), ("COST", 2**56 - 1)], b"a"), canonical=False)
    v.framed("an-empty-item", "PING", item_bytes(), item=shown_item(), canonical=False)
    v.framed("unknown-critical-field", "GET", item_bytes(raw_field(200, 1, b""), b"a"), refused=22)
    v.framed("known-critical-field-of-another-op", "GET", item_bytes(field("CONDITION", 1), b"a"), refused=22)
    v.framed("raw-length-in-a-request", "SET", item_bytes(field("RAW_LENGTH", 9), b"a", b"x"), refused=22)
    v.framed("unknown-op", 200, item_bytes(b"", b"a"), refused=18)
    v.framed("reserved-op", 48, item_bytes(b"", b"a"), refused=18)
    v.framed("empty-key", "GET", b"", refused=25)
    v.framed("key-too-long", "GET", item_bytes(b"", b"k" * 65537), refused=24)
    v.framed("batch-too-long", "MGET", item_bytes(b"", b"", struct.pack("<I", 4097)), refused=22)
    v.framed("ttl-of-zero", "SET", item_bytes(field("TTL", 0), b"a", b"x"), refused=21)


def broken(v):
    ping = frame(OPS["PING"])
    v.malformed("reply-flag-in-a-request", "header", frame(2, flags=REPLY), direction="request")
    v.malformed("unknown-flag", "header", frame(2, flags=4))
    v.malformed("status-in-a-request", "header", frame(2, status=1))
    v.malformed("body-too-long", "header", struct.pack("<IBBHQ", 1048577, 2, 0, 0, 1))
    v.malformed("body-of-4-gib", "header", struct.pack("<IBBHQ", 2**32 - 1, 2, 0, 0, 1))
    for n in (0, 1, 4, 15):
        v.add(f"header-of-{n}-bytes", ping[:n], incomplete=True)
    v.add("body-one-byte-short", frame(2, item_bytes(value=b"abc"))[:-1], incomplete=True)
    v.malformed("item-head-cut-short", "item", frame(16, item_bytes(key=b"")[:11]))
    v.malformed("key-passes-the-end", "item", frame(16, struct.pack("<IIHH", 2, 0, 0, 0) + b"a"))
    v.malformed("value-passes-the-end", "item", frame(17, struct.pack("<IIHH", 1, 1, 0, 0) + b"a"))
    v.malformed("fields-pass-the-end", "item", frame(17, struct.pack("<IIHH", 1, 0, 1, 0) + b"a"))
    v.malformed("lengths-that-wrap", "item", frame(17, struct.pack("<IIHH", 2**32 - 1, 2, 0, 0) + b"a"))
    v.malformed("bytes-behind-the-item", "item", frame(16, item_bytes(key=b"a") + b"b"))
    v.malformed("field-head-cut-short", "field", frame(16, item_bytes(b"\x03\x00\x01", b"a")))
    v.malformed("field-passes-the-end", "field", frame(16, item_bytes(b"\x03\x00\x02\x00\x01", b"a")))
    v.malformed("skipped-field-passes-the-end", "field", frame(16, item_bytes(b"\xc8\x00\x02\x00\x01", b"a")))
    v.malformed("number-of-no-bytes", "field", frame(16, item_bytes(raw_field(3, 0, b""), b"a")))
    v.malformed("number-of-nine-bytes", "field", frame(16, item_bytes(raw_field(3, 0, bytes(9)), b"a")))
    v.malformed("field-twice", "field", frame(16, item_bytes(field("DEADLINE", 1) * 2, b"a")))
    v.malformed("batch-without-a-count", "batch", frame(20, item_bytes(value=b"\x00\x00\x00")))
    v.malformed("batch-with-an-empty-body", "batch", frame(20))
    for name, count in (("batch-counts-too-many", 2), ("batch-counts-too-few", 0)):
        v.malformed(name, "batch", frame(20, item_bytes(value=struct.pack("<I", count) + item_bytes(key=b"a"))))
    v.malformed("batch-item-passes-the-end", "batch",
                frame(20, item_bytes(value=struct.pack("<I", 1) + struct.pack("<IIHH", 2, 0, 0, 0) + b"a")))
    v.malformed("chunk-head-cut-short", "chunk", frame(32, bytes(15)))
    v.malformed("chunk-without-data", "chunk", frame(32, bytes(16)))
    v.malformed("chunk-with-reserved-bytes", "chunk", frame(32, struct.pack("<IIQ", 0, 1, 0) + b"x"))
    v.malformed("credit-of-three-bytes", "credit", frame(33, bytes(3)))
    v.malformed("credit-of-five-bytes", "credit", frame(33, bytes(5)))


def main():
    v = Vectors()
    for part in (requests, replies, skipping, broken):
        part(v)
    text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in v.rows)
    if sys.argv[1:] == ["--check"]:
        return 0 if TARGET.read_text() == text else "native.jsonl is not what native_vectors.py makes"
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
