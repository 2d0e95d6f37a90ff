"""Proof that the judge of the replay sees what he must see: by words alone, and with old copies planted in the tiers."""
import time

from harness.checker import Checker, Outages, read_value, value_of
from harness.context import once

KEY = b"orm:77"
L1_TTL_S = 3.0


def judged(*events):
    """Events: ("wrote"|"deleted", server, generation, at), ("read", server, generation, at); what is said."""
    checker = Checker(L1_TTL_S, slack_s=1.0)
    for what, server, generation, at in events:
        if what == "read":
            checker.read(server, KEY, value_of(KEY, generation, 300), at)
        else:
            checker.issued[KEY] = max(checker.issued.get(KEY, 0), generation)
            checker.wrote(server, KEY, generation, at, deleted=what == "deleted")
    return checker.violations


@once
def test_judge(t):
    assert not judged(("wrote", 0, 1, 10), ("read", 0, 1, 11), ("read", 1, 1, 11), ("wrote", 0, 2, 12),
                      ("read", 0, 2, 13), ("read", 1, 1, 15.9), ("read", 1, 2, 17))
    for wanted, events in (
        ("older than acknowledged by this server", [("wrote", 0, 1, 10), ("wrote", 0, 2, 11), ("read", 0, 1, 11.1)]),
        ("older than acknowledged by another", [("wrote", 0, 1, 10), ("wrote", 0, 2, 11), ("read", 1, 1, 15.1)]),
        ("deleted, and came back by this server", [("wrote", 0, 1, 10), ("deleted", 0, 2, 11), ("read", 0, 1, 11.1)]),
        ("deleted, and came back by another", [("wrote", 0, 1, 10), ("deleted", 0, 2, 11), ("read", 1, 1, 15.1)]),
        ("never written", [("wrote", 0, 1, 10), ("read", 0, 2, 10.1)]),
        ("went back on one server", [("wrote", 0, 1, 10), ("wrote", 0, 2, 11), ("read", 1, 2, 12.5), ("read", 1, 1, 12.6)]),
    ):
        said = judged(*events)
        assert any(wanted in v for v in said), (wanted, said)


@once
def test_judge_of_values_and_times(t):
    value = value_of(KEY, 3, 500)
    assert len(value) == 500 and read_value(KEY, value) == 3
    for wrong in (value_of(b"orm:78", 3, 500), value[:-1], value[:-1] + b"x", value + b"x", b"", b"x" * 500,
                  value.replace(b"|3|", b"|4|", 1)):
        assert read_value(KEY, wrong) is None, wrong[:20]
    checker = Checker(L1_TTL_S)
    checker.issued[KEY] = 3
    checker.wrote(0, KEY, 3, 10.0, ttl_s=0.5)
    checker.read(0, KEY, value, 10.6)
    assert not checker.violations
    checker.read(0, KEY, value, 10.7)
    assert any(v.startswith("expired") for v in checker.violations)


@once
def test_judge_of_outages(t):
    """While a tier is down a write need not reach the others; from its end on the clock runs."""
    outages = Outages()
    checker = Checker(L1_TTL_S, slack_s=1.0, outages=outages)
    checker.issued[KEY] = 2
    checker.wrote(0, KEY, 1, 1.0)
    outage = outages.begin(10.0)
    checker.wrote(0, KEY, 2, 12.0)
    checker.read(1, KEY, value_of(KEY, 1, 300), 29.0)
    assert not checker.violations
    outages.end(outage, 30.0)
    checker.read(1, KEY, value_of(KEY, 1, 300), 33.5)
    assert not checker.violations
    checker.read(0, KEY, value_of(KEY, 1, 300), 33.5)
    assert len(checker.violations) == 1, "its own server is never forgiven"
    checker.read(1, KEY, value_of(KEY, 1, 300), 34.5)
    assert len(checker.violations) == 2


def l2_name(key):
    return b"pn1:v:{" + key + b"}"


class Plant:
    """Two generations through a server; then the first one is brought back behind its back, with a version above
    the second's, so that every rule of the server says to take it."""

    def __init__(self, t):
        self.server, self.redis, self.postgres = t.three_tiers("--l1-ttl", "3s")
        self.checker = Checker(L1_TTL_S)
        self.c, self.r = self.server.connect(), self.redis.connect()

    def write(self, deleted=False):
        generation = self.checker.next_generation(KEY)
        if deleted:
            self.c.cmd("DEL", KEY)
        else:
            self.c.cmd("SET", KEY, value_of(KEY, generation, 900))
        self.checker.wrote(0, KEY, generation, time.monotonic(), deleted=deleted)
        self.server.wait_queues_empty()

    def read(self):
        sent = time.monotonic()
        got = self.c.cmd("GET", KEY)
        if got is not None:
            self.checker.read(0, KEY, got, sent)
        return got

    def capture(self):
        self.old = self.r.cmd("GET", l2_name(KEY))
        assert self.old, "the value does not stand in Redis under its name"
        self.postgres.sql("create table old as select * from pannier.entry")
        assert self.postgres.sql("select count(*) from old") == [["1"]]

    def plant_in_l2(self):
        version = int.from_bytes(self.r.cmd("GET", l2_name(KEY))[:8], "little") + 1000000
        self.r.cmd("SET", l2_name(KEY), version.to_bytes(8, "little") + self.old[8:])
        self.c.cmd("PN.FLUSH", "L1")

    def plant_in_l3(self):
        self.postgres.sql("update pannier.entry e set value = o.value, size = o.size, tombstone = o.tombstone, "
                          "expires_at = o.expires_at, version = e.version + 1000000 from old o where e.id = o.id")
        self.r.cmd("DEL", l2_name(KEY))
        self.c.cmd("PN.FLUSH", "L1")


def planted(t, deleted, tier):
    p = Plant(t)
    p.write()
    p.capture()
    p.write(deleted)
    got = p.read()
    assert (got is None) == deleted and not p.checker.violations
    getattr(p, "plant_in_" + tier)()
    assert p.read() is not None, "the planted value was not served, so nothing is shown"
    return p.checker.violations


def test_a_planted_stale_promotion_is_seen(t):
    for tier in ("l2", "l3"):
        violations = planted(t, False, tier)
        assert any("older than acknowledged by this server" in v for v in violations), (tier, violations)


def test_a_planted_resurrection_is_seen(t):
    for tier in ("l2", "l3"):
        violations = planted(t, True, tier)
        assert any("deleted, and came back by this server" in v for v in violations), (tier, violations)
