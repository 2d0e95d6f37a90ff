#!/usr/bin/env python3
"""Writes proto/vectors/envelope.jsonl from proto/envelope.md alone (it shares no code with the server).

Needs the packages xxhash and lz4 (`pip install xxhash lz4` in a virtual environment); with the same releases the
file comes out the same. Usage: envelope_vectors.py > vectors/envelope.jsonl

A line is an object. Bytes are hex. `key`, `stored` (8 bytes of version, then the envelope), `value_max`, `result`
(`ok`, `corrupt`, `newer`). With `ok`: every field, `tags` as [name, hash] pairs, `payload`; `value`: the raw value,
or null where the payload is damaged although the envelope is sound; `seal`: true where a writer that is given those
fields and that payload makes exactly these bytes. 64-bit numbers are decimal strings: many JSON readers lose them.
"""
import json
import struct
import sys

import lz4.block
import xxhash

TAG_SEED = 0x50616E6E69657231
NEVER = 2**64 - 1
TOMBSTONE, IN_L3, LZ4, NEGATIVE = 1, 2, 4, 8
WIDE = ('version', 'namespace', 'origin', 'replid', 'soft', 'hard', 'cost')


def xxh3(data, seed=0):
    return xxhash.xxh3_64_intdigest(data, seed=seed)


def namespace(key):
    return key.split(b':', 1)[0] if b':' in key else b''


def tag_block(key, tags):
    hashes = [xxh3(namespace(key) + b':' + t, TAG_SEED) for t in tags]
    return (b''.join(struct.pack('<Q', h) for h in hashes) + b''.join(struct.pack('<H', len(t)) for t in tags)
            + b''.join(tags)), hashes


def build(key, payload=b'', tags=(), checksum_key=None, block=None, **given):
    """The stored bytes, and the fields as a reader finds them. `given` may overrule every field."""
    if block is None:
        block = tag_block(key, tags)[0]
    f = dict(version=1700000000000000, magic=b'PNEV', format=1, flags=0, codec=0, zero=0, raw_len=len(payload),
             compute=0, namespace=xxh3(namespace(key)), origin=0, replid=0, soft=NEVER, hard=NEVER, cost=0,
             confidence=0, tag_count=len(tags), tags_len=len(block), payload_len=len(payload), zero2=0, mac=bytes(16))
    assert set(given) <= set(f) | {'checksum'}, given
    f.update(given)
    head = f['magic'] + struct.pack('<BBBBIIQQQQQQHHIII', *(f[n] for n in (
        'format', 'flags', 'codec', 'zero', 'raw_len', 'compute', 'namespace', 'origin', 'replid', 'soft', 'hard',
        'cost', 'confidence', 'tag_count', 'tags_len', 'payload_len', 'zero2'))) + f['mac']
    assert len(head) == 96
    rest = block + payload
    checksum = given.get('checksum', xxh3((checksum_key or key) + head + bytes(8) + rest))
    return struct.pack('<Q', f['version']) + head + struct.pack('<Q', checksum) + rest, f


def line(name, **rest):
    print(json.dumps({'name': name, **rest}, separators=(',', ':')))


def good(name, key, payload=b'', tags=(), value=None, seal=True, value_max=1 << 26, **given):
    stored, f = build(key, payload, tags, **given)
    hashes = tag_block(key, tags)[1]
    out = {n: f[n] for n in ('version', 'flags', 'codec', 'raw_len', 'compute', 'namespace', 'origin', 'replid', 'soft',
                             'hard', 'cost', 'confidence')}
    out.update({n: str(f[n]) for n in WIDE})
    if value is None and not f['flags'] & LZ4:
        value = payload
    line(name, key=key.hex(), stored=stored.hex(), value_max=value_max, result='ok', seal=seal, **out,
         tags=[[t.hex(), str(h)] for t, h in zip(tags, hashes)], payload=payload.hex(),
         value=None if value is None else value.hex())


def bad(name, key, stored, result='corrupt', value_max=1 << 26):
    line(name, key=key.hex(), stored=stored.hex(), value_max=value_max, result=result)


def valid():
    good('empty value', b'k')
    good('one byte', b'k', b'\0')
    good('no namespace', b'plain', b'value')
    good('namespace', b'users:42', b'value')
    good('two colons', b'a:b:c', b'value')
    good('empty namespace before a colon', b':x', b'value')
    good('binary key', bytes(range(256)), b'value')
    good('key of 64 KiB', b'n:' + b'K' * 65534, b'value')
    good('text', b'greeting', 'grüße'.encode(), codec=7)
    good('every field', b'model:x', b'out', [b'team', b'gpt@3'], version=2**53 - 1, codec=255, compute=2**32 - 1,
         origin=2**64 - 1, replid=2**63 + 5, soft=1, hard=2**63 + 1, cost=2**64 - 2, confidence=65535)
    good('version not given yet', b'k', b'v', version=0)
    good('soft equals hard', b'k', b'v', soft=5, hard=5)
    good('one tag', b'ns:k', b'v', [b't'])
    good('the same tag elsewhere has another hash', b'other:k', b'v', [b't'])
    good('tag without a namespace', b'k', b'v', [b't'])
    good('tags of every shape', b'ns:k', b'v', [b'\0', b'x' * 256, b'a:b', bytes(range(200, 256))])
    good('64 tags', b'ns:k', b'v', [b'tag%d' % i for i in range(64)])
    good('tombstone', b'users:42', flags=TOMBSTONE, version=7, soft=0, hard=600000000)
    good('tombstone with a tag', b'users:42', tags=[b'vip'], flags=TOMBSTONE)
    good('mark', b'big:1', flags=IN_L3, raw_len=1 << 26)
    good('mark of a refusal', b'big:1', flags=IN_L3 | NEGATIVE, raw_len=9)
    good('negative', b'llm:1', b'refused: too long', flags=NEGATIVE)
    good('payload of 239, 240 and 241 bytes: 239', b'k', bytes(i % 251 for i in range(239)))
    good('payload of 239, 240 and 241 bytes: 240', b'k', bytes(i % 251 for i in range(240)))
    good('payload of 239, 240 and 241 bytes: 241', b'k', bytes(i % 251 for i in range(241)))
    good('payload over several blocks of the hash', b'k', bytes((i * i) >> 3 & 255 for i in range(5000)))
    good('value as long as allowed', b'k', b'12345678', value_max=8)
    raw = b'{"name":"pannier","values":[0,0,0,0]}' * 60
    good('LZ4', b'json:1', lz4.block.compress(raw, store_size=False), flags=LZ4, raw_len=len(raw), value=raw)
    good('LZ4 negative with tags', b'json:1', lz4.block.compress(raw, store_size=False), [b'a', b'bc'],
         flags=LZ4 | NEGATIVE, raw_len=len(raw), value=raw)
    zeros = bytes(1 << 14)
    packed = lz4.block.compress(zeros, store_size=False)
    good('LZ4 at its densest', b'k', packed, flags=LZ4, raw_len=len(zeros), value=zeros)
    good('LZ4 block cut short: a sound envelope, a damaged value', b'k', packed[:-6], flags=LZ4,
         raw_len=len(zeros) - 2000)
    good('LZ4 block of fewer bytes than raw length says', b'k', packed, flags=LZ4, raw_len=len(zeros) + 1)
    good('LZ4 block of more bytes than raw length says', b'k', packed, flags=LZ4, raw_len=len(zeros) - 1)
    good('LZ4 block of random bytes', b'k', bytes([0xff] * 40), flags=LZ4, raw_len=4000)
    good('a MAC is not looked at', b'k', b'v', mac=bytes(range(16)), seal=False)


def layout():
    key, value = b'users:42', b'a value'
    stored, _ = build(key, value, [b'tag'])
    bad('no bytes', key, b'')
    bad('the version alone', key, stored[:8])
    bad('four bytes', key, stored[:12])
    bad('magic and format alone', key, stored[:13])
    bad('one byte less than a header', key, stored[:8 + 103])
    bad('the header alone', key, stored[:8 + 104])
    bad('one byte less', key, stored[:-1])
    bad('one byte more', key, stored + b'\0')
    bad('another magic', key, build(key, value, magic=b'PNEW')[0])
    bad('format 0', key, build(key, value, format=0)[0])
    bad('format 2', key, build(key, value, format=2)[0], 'newer')
    bad('format 255, shorter than a header of format 1', key, stored[:12] + b'\xff', 'newer')
    bad('first zero field', key, build(key, value, zero=1)[0])
    bad('second zero field', key, build(key, value, zero2=1 << 31)[0])
    bad('tag block length too large', key, build(key, value, tags_len=2**32 - 1)[0])
    bad('payload length too large', key, build(key, value, payload_len=2**32 - 1, raw_len=2**32 - 1)[0])
    bad('lengths that add up beyond 32 bits', key,
        build(key, value, tags_len=2**32 - 97, payload_len=104, raw_len=104)[0])
    bad('the same with 64 tags', key,
        build(key, value, tags_len=2**32 - 97, payload_len=104, raw_len=104, tag_count=64)[0])
    bad('soft after hard', key, build(key, value, soft=6, hard=5)[0])
    bad('value longer than allowed', key, build(key, b'123456789')[0], value_max=8)
    bad('mark of a value longer than allowed', key, build(key, flags=IN_L3, raw_len=9)[0], value_max=8)


def flags():
    key, value = b'users:42', b'a value'
    for bit in range(4, 8):
        bad(f'unknown flag {1 << bit}', key, build(key, value, flags=1 << bit)[0])
    bad('raw length above the payload', key, build(key, value, raw_len=8)[0])
    bad('raw length below the payload', key, build(key, value, raw_len=6)[0])
    bad('tombstone with a payload', key, build(key, value, flags=TOMBSTONE)[0])
    bad('tombstone with a raw length', key, build(key, flags=TOMBSTONE, raw_len=1)[0])
    for other in (IN_L3, LZ4, NEGATIVE):
        bad(f'tombstone with flag {other}', key, build(key, flags=TOMBSTONE | other)[0])
    bad('mark with a payload', key, build(key, value, flags=IN_L3)[0])
    bad('mark with LZ4', key, build(key, flags=IN_L3 | LZ4, raw_len=5)[0])
    bad('LZ4 that saves nothing', key, build(key, value, flags=LZ4, raw_len=len(value))[0])
    bad('LZ4 of nothing', key, build(key, flags=LZ4)[0])
    bad('LZ4 of no payload', key, build(key, flags=LZ4, raw_len=1)[0])
    bad('LZ4 beyond 255 times its length', key, build(key, value, flags=LZ4, raw_len=255 * len(value) + 1)[0])


def sums():
    key, value = b'users:42', b'a value'
    stored, f = build(key, value)
    bad("another key's value", b'users:43', stored)
    bad("the value of a key that ours begins with", b'users:421', stored)
    bad('checksum of zero', key, build(key, value, checksum=0)[0])
    bad('checksum without the key', key, build(key, value, checksum=xxh3(stored[8:104] + bytes(8) + stored[112:]))[0])
    bad('checksum that skips its own eight bytes', key,
        build(key, value, checksum=xxh3(key + stored[8:104] + stored[112:]))[0])
    bad('checksum over the version', key,
        build(key, value, checksum=xxh3(key + stored[:104] + bytes(8) + stored[112:]))[0])
    bad("another namespace's hash", key, build(key, value, namespace=f['namespace'] ^ 1)[0])


def tags():
    key, value = b'ns:k', b'v'
    block, hashes = tag_block(key, [b'ab', b'c'])
    bad('a tag counted that is not there', key, build(key, value, tag_count=1)[0])
    bad('a tag block without tags', key, build(key, value, block=b'\0')[0])
    bad('65 tags', key, build(key, value, [b't%d' % i for i in range(65)])[0])
    bad('65535 tags', key, build(key, value, [b't'], tag_count=65535)[0])
    bad('an empty tag', key, build(key, value, [b''])[0])
    bad('a tag of 257 bytes', key, build(key, value, [b'x' * 257])[0])
    bad('a byte left over behind the names', key, build(key, value, block=block + b'\0', tag_count=2)[0])
    bad('a name beyond the block', key, build(key, value, block=block[:-1], tag_count=2)[0])
    bad('a name beyond the envelope', key, build(key, block=block[:-1], tag_count=2)[0])
    bad('half a hash', key, build(key, value, block=block[:4], tag_count=1)[0])
    bad('a hash that is not of its name', key,
        build(key, value, block=struct.pack('<Q', hashes[0] ^ 1) + block[8:], tag_count=2)[0])
    bad('a hash of the name alone', key,
        build(key, value, block=struct.pack('<QH', xxh3(b't', TAG_SEED), 1) + b't', tag_count=1)[0])
    bad('a hash without the seed', key,
        build(key, value, block=struct.pack('<QH', xxh3(b'ns:t'), 1) + b't', tag_count=1)[0])


if __name__ == '__main__':
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    for part in (valid, layout, flags, sums, tags):
        part()
