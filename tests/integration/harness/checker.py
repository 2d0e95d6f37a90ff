"""Judges what a cache answered against what it acknowledged.

Every value says its key and its generation; a DEL is a generation too. A server may never answer with a
generation older than one that it acknowledged itself. Another server may, but only as long as the L1 lifetime
allows. A missing value is never wrong here: whoever wants to count misses does it beside this.
Times are time.monotonic() of the client: `sent` before a request, `acked` after its reply.
"""
import random
import time

POOL = random.Random(20).randbytes(1 << 16)  # does not compress
HISTORY = 12  # acknowledged writes remembered for each key


def value_of(key, generation, size):
    """The only right value of that generation."""
    head = b"%b|%d|%d|" % (key, generation, size)
    rest = max(0, size - len(head))
    at = (generation * 7919 + len(key) * 131 + int.from_bytes(key[-4:], "big")) % (len(POOL) - 4096)
    return head + (POOL[at : at + rest] if rest <= 4096 else POOL[:1] * rest)


def read_value(key, value):
    """The generation of a value, or None if it is not one of that key's."""
    parts = value.split(b"|", 3)
    if len(parts) != 4 or parts[0] != key:
        return None
    try:
        generation, size = int(parts[1]), int(parts[2])
    except ValueError:
        return None
    return generation if value == value_of(key, generation, size) else None


class Outages:
    """Times in which a tier was down, when writes could not reach everybody. Shared between processes."""

    def __init__(self, array=None):
        self.array = array if array is not None else [0.0] * 64  # start, end, start, end ...; 0 is unset

    def begin(self, now):
        for i in range(0, len(self.array), 2):
            if self.array[i] == 0.0:
                self.array[i] = now
                return i
        raise AssertionError("too many outages")

    def end(self, i, now):
        self.array[i + 1] = now

    def reaches_others(self, acked, before):
        """From when on a write acknowledged at that moment must be known everywhere; None: not yet."""
        for i in range(0, len(self.array), 2):
            start, end = self.array[i], self.array[i + 1]
            if start == 0.0:
                break
            if acked >= start - before and (end == 0.0 or acked <= end):
                return None if end == 0.0 else end
        return acked


    def told(self, since):
        """As text, in seconds since a moment."""
        times = [t - since if t else float("inf") for t in self.array if t]
        return ", ".join(f"{times[i]:.1f} to {times[i + 1]:.1f}" if i + 1 < len(times) else f"from {times[i]:.1f}"
                         for i in range(0, len(times), 2))


class Checker:
    def __init__(self, l1_ttl_s, slack_s=1.0, expiry_slack_s=0.15, outages=None, flush_s=1.5):
        self.l1_ttl_s, self.slack_s, self.expiry_slack_s = l1_ttl_s, slack_s, expiry_slack_s
        self.outages = outages or Outages()
        self.flush_s = flush_s  # what was acknowledged so shortly before an outage may not be in L3 yet
        self.issued = {}   # key -> newest generation ever sent
        self.acked = {}    # key -> [(generation, server, acked, deleted)]
        self.expiry = {}   # (key, generation) -> when it must be gone
        self.seen = {}     # (server, key) -> newest generation read there
        self.violations = []
        self.begun = time.monotonic()

    def next_generation(self, key):
        g = self.issued.get(key, 0) + 1
        self.issued[key] = g
        return g

    def wrote(self, server, key, generation, acked, ttl_s=None, deleted=False):
        history = self.acked.setdefault(key, [])
        history.append((generation, server, acked, deleted))
        if len(history) > HISTORY:
            self.expiry.pop((key, history[0][0]), None)
            del history[0]
        if ttl_s is not None:
            self.expiry[(key, generation)] = acked + ttl_s

    def read(self, server, key, value, sent):
        """A value was answered to a request sent at that moment; returns its generation."""
        generation = read_value(key, value)
        if generation is None:
            self._wrong("not a value of this key", server, key, repr(value[:60]), sent)
            return None
        if generation > self.issued.get(key, 0):
            self._wrong("a generation never written", server, key, generation, sent)
            return generation
        gone_at = self.expiry.get((key, generation))
        if gone_at is not None and sent > gone_at + self.expiry_slack_s:
            self._wrong("expired", server, key, f"{generation}, {sent - gone_at:.3f} s after its end", sent)
        for g, writer, acked, deleted in self.acked.get(key, ()):
            if g <= generation:
                continue
            kind = "deleted, and came back" if deleted else "older than acknowledged"
            if writer == server:
                self._wrong(kind + " by this server", server, key,
                            f"{generation}, but {g} was acknowledged {sent - acked:.3f} s before", sent)
                break
            known = self.outages.reaches_others(acked, self.flush_s)
            if known is not None and sent > known + self.l1_ttl_s + self.slack_s:
                self._wrong(kind + " by another, longer ago than L1 may keep", server, key,
                            f"{generation}, but {g} was acknowledged {sent - acked:.3f} s before", sent)
                break
        if generation < self.seen.get((server, key), 0) and self._everywhere(key, self.seen[(server, key)], sent):
            self._wrong("went back on one server", server, key, f"{generation} after {self.seen[(server, key)]}", sent)
        self.seen[(server, key)] = generation
        return generation

    def _everywhere(self, key, generation, now):
        """Was it acknowledged, and no outage of then keeps it from the other servers?"""
        for g, _, acked, _ in self.acked.get(key, ()):
            if g == generation:
                known = self.outages.reaches_others(acked, self.flush_s)
                return known is not None and known + self.slack_s < now
        return False

    def _history(self, key, now):
        """The last writes of the key: generation, which server acknowledged it, seconds before now, lifetime."""
        return ", ".join(f"{g}{' deleted' if deleted else ''} by {server} {acked - now:+.3f}"
                         + (f" for {self.expiry[(key, g)] - acked:.3f}" if (key, g) in self.expiry else "")
                         for g, server, acked, deleted in self.acked.get(key, ())[-4:])

    def _wrong(self, what, server, key, detail, sent):
        if len(self.violations) < 50:
            outages = self.outages.told(self.begun)
            detail = f"{detail} ({self._history(key, sent)})"
            self.violations.append(f"{what}: server {server}, key {key.decode()}, {detail}; at {sent - self.begun:.2f} s"
                                   + (f", outages {outages}" if outages else ""))
