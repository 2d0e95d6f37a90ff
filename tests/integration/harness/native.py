"""A client of the native protocol, written from proto/native.md alone."""
import socket
import struct

PREFACE = b"\xfbPN\x01"
OPS = {name: n for n, name in [(1, "HELLO"), (2, "PING"), (3, "BYE"), (4, "INFO"), (6, "TIERS"), (7, "FLUSH"), (16, "GET"),
                               (17, "SET"), (18, "DEL"), (19, "EXPIRE"), (20, "MGET"), (21, "MSET"), (22, "MDEL"),
                               (32, "CHUNK"), (33, "CREDIT"), (34, "CANCEL")]}
FIELDS = {"TTL": 1, "GRACE": 2, "DEADLINE": 3, "COST": 7, "COMPUTE": 8, "CONFIDENCE": 9, "TAG": 10, "CODEC": 11,
          "CONDITION": 12, "LENGTH": 14, "RAW_LENGTH": 15, "NAMESPACE": 16, "TIERS": 17, "TIER": 24, "AGE": 25, "SOFT": 26,
          "HARD": 27, "VERSION": 28, "RETRY": 29, "ERROR": 30, "COUNT": 31, "REACHED": 32, "PROTOCOL": 40, "FEATURES": 41,
          "NAME": 42, "VALUE_MAX": 43, "KEY_MAX": 44, "BODY_MAX": 45, "CHUNK_MAX": 46, "CREDIT_FIRST": 47, "BATCH_MAX": 48,
          "UPLOADS_MAX": 49, "UPLOAD_IDLE": 50}
NAMES = {n: name for name, n in FIELDS.items()}
CRITICAL = {12, 14, 15, 16, 17}
TEXTS = {10, 16, 30, 42}
REPLY, MORE = 1, 2
OK, HIT, STALE, MISS = 0, 1, 2, 3


class Closed(Exception):
    pass


def field(name, value):
    number = FIELDS[name]
    if isinstance(value, int):
        size = next(s for s in (1, 2, 4, 8) if value < 1 << 8 * s)
        value = value.to_bytes(size, "little")
    return struct.pack("<BBH", number, number in CRITICAL, len(value)) + value


def item(key=b"", value=b"", status=0, **fields):
    packed = b"".join(field(name, v) for name, vs in fields.items() for v in (vs if isinstance(vs, list) else [vs]))
    return struct.pack("<IIHH", len(key), len(value), len(packed), status) + packed + key + value


def frame(op, number, body=b"", flags=0):
    return struct.pack("<IBBHQ", len(body), OPS.get(op, op), flags, 0, number) + body


def batch(items):
    return item(value=struct.pack("<I", len(items)) + b"".join(items))


def read_item(body):
    """status, fields, key, value and what follows the item."""
    if not body:
        return {"status": 0, "fields": {}, "key": b"", "value": b""}, b""
    key, value, fields, status = struct.unpack_from("<IIHH", body)
    at, out = 12, {}
    while at < 12 + fields:
        kind, _, length = struct.unpack_from("<BBH", body, at)
        content = body[at + 4 : at + 4 + length]
        at += 4 + length
        out[NAMES.get(kind, kind)] = content if kind in TEXTS else int.from_bytes(content, "little")
    end = at + key + value
    assert at == 12 + fields and end <= len(body), "an item's lengths do not add up"
    return {"status": status, "fields": out, "key": body[at : at + key], "value": body[at + key : end]}, body[end:]


class Frame:
    def __init__(self, header, body):
        self.length, self.op, self.flags, self.status, self.id = struct.unpack("<IBBHQ", header)
        self.body = body
        if self.op not in (OPS["CHUNK"], OPS["CREDIT"]):
            self.item, rest = read_item(body)
            assert not rest, "bytes behind the item"
            self.fields, self.value = self.item["fields"], self.item["value"]

    def items(self):
        (count,) = struct.unpack_from("<I", self.value)
        rest, out = self.value[4:], []
        for _ in range(count):
            one, rest = read_item(rest)
            out.append(one)
        assert not rest, "bytes behind the batch"
        return out

    def __repr__(self):
        return f"<op {self.op} flags {self.flags} status {self.status} id {self.id} {getattr(self, 'fields', '')}>"


class Native:
    def __init__(self, address, timeout=30.0, hello=True, features=0):
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(address)
        self.buf = b""
        self.next_id = 1
        if hello:
            self.sock.sendall(PREFACE)
            self.limits = self.call("HELLO", item(PROTOCOL=1, FEATURES=features, NAME=b"test")).fields

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, op, body=b"", number=None, flags=0):
        if number is None:
            number, self.next_id = self.next_id, self.next_id + 1
        self.sock.sendall(frame(op, number, body, flags))
        return number

    def _exactly(self, n):
        parts, have = [self.buf], len(self.buf)
        while have < n:
            data = self.sock.recv(1 << 18)
            if not data:
                raise Closed()
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self.buf = whole[n:]
        return whole[:n]

    def read(self):
        header = self._exactly(16)
        return Frame(header, self._exactly(struct.unpack_from("<I", header)[0]))

    def call(self, op, body=b""):
        """One request whose reply has no chunks."""
        number = self.send(op, body)
        reply = self.read()
        assert reply.id == number and reply.flags & REPLY and not reply.flags & MORE, reply
        return reply

    def upload(self, key, value, chunk=262144, **fields):
        """A SET of a long value; its reply."""
        number = self.send("SET", item(key, LENGTH=len(value), **fields), flags=MORE)
        credit, at = 1 << 20, 0
        while at < len(value):
            part = value[at : at + min(chunk, credit)]
            if not part:
                reply = self.read()
                if reply.op != OPS["CREDIT"]:
                    return reply
                credit += struct.unpack("<I", reply.body)[0]
                continue
            more = MORE if at + len(part) < len(value) else 0
            self.send("CHUNK", struct.pack("<IIQ", 0, 0, at) + part, number, more)
            at += len(part)
            credit -= len(part)
        while True:
            reply = self.read()
            if reply.op != OPS["CREDIT"]:
                return reply

    def download(self, key):
        """A GET of a value of any length: its first frame and the value (None if there is none)."""
        number = self.send("GET", item(key))
        head = self.read()
        assert head.id == number and head.op == OPS["GET"], head
        if "LENGTH" not in head.fields:
            return head, head.value if head.status in (HIT, STALE) else None
        value, given = bytearray(), 1 << 20
        while len(value) < head.fields["LENGTH"]:
            chunk = self.read()
            assert chunk.op == OPS["CHUNK"] and chunk.status == 0 and chunk.id == number, chunk
            index, _, offset = struct.unpack_from("<IIQ", chunk.body)
            assert index == 0 and offset == len(value), (index, offset, len(value))
            value += chunk.body[16:]
            assert len(value) <= given, "more than the credit allows"
            last = len(value) == head.fields["LENGTH"]
            assert bool(chunk.flags & MORE) != last, chunk
            if not last:
                self.send("CREDIT", struct.pack("<I", len(chunk.body) - 16), number)
                given += len(chunk.body) - 16
        return head, bytes(value)

    def drain_until_closed(self):
        """The frames that still come until the server closes."""
        frames = []
        try:
            while True:
                frames.append(self.read())
        except (Closed, ConnectionResetError):
            return frames
