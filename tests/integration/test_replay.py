"""Real traffic through three tiers and two servers, judged answer by answer; then while both tiers fail."""
import os
import time

from harness.context import limit
from harness.replay import Load, Replay
from harness.services import wait_until
from harness.traces import orm_busy

WEIGHT = 10
SLOW = True
L1_TTL_S = 3.0
ANSWERED_BY = ('pannier_hits_total{tier="l1"}', 'pannier_hits_total{tier="l2"}', 'pannier_hits_total{tier="l3"}',
               'pannier_hits_total{tier="queue"}', "pannier_misses_total", "pannier_lookups_failed_total")


def requests_wanted():
    """How much of the trace: PANNIER_REPLAY=all, or a number of requests."""
    wanted = os.environ.get("PANNIER_REPLAY", "250000")
    return None if wanted == "all" else int(wanted)


def trace(t, count):
    ids = orm_busy(count)
    if ids is None:
        t.skip("the trace cache2k_orm-busy.trace.xz is not here (PANNIER_TRACES names its directory)")
    return ids


def two_servers(t, memory, patient=False):
    """Two pannierd over one Redis and one PostgreSQL."""
    options = ("--memory", str(memory), "--l1-ttl", f"{L1_TTL_S:.0f}s")
    a, redis, postgres = t.three_tiers(*options, patient=patient)
    b, _, _ = t.three_tiers(*options, patient=patient, redis=redis, postgres=postgres)
    return a, b, redis, postgres


def l1_bytes(ids, size):
    """Memory for a tenth of the keys."""
    return max(8 << 20, len(set(ids)) // 10 * size)


def size_for(ids):
    """Mean value size with which a tenth of the keys fills the least memory that can be configured."""
    return max(1500, (8 << 20) // (len(set(ids)) // 10))


@limit(400)
def test_trace_through_three_tiers(t):
    ids = trace(t, requests_wanted())
    size = min(size_for(ids), 4000)
    a, b, _, _ = two_servers(t, l1_bytes(ids, size), patient=True)
    before = [s.metrics() for s in (a, b)]
    load = Load([a.socket, b.socket], ids, l1_ttl_s=L1_TTL_S, size=size)
    figures, violations = Replay(load).start().finish(380)
    assert not violations, "\n".join(violations[:20])
    after = [s.metrics() for s in (a, b)]
    tiers = [sum(after[i].get(name, 0) - before[i].get(name, 0) for i in (0, 1)) for name in ANSWERED_BY]
    assert sum(tiers) == figures["gets"], f"{dict(zip(ANSWERED_BY, tiers))} are {sum(tiers)}, not {figures['gets']} GETs"
    for i, server in enumerate((a, b)):
        answered = sum(after[i].get(name, 0) - before[i].get(name, 0) for name in ANSWERED_BY)
        assert answered == figures[f"gets_{i}"], f"server {i} counts {answered} of {figures[f'gets_{i}']} lookups"
    assert tiers[4] == figures["missed"] and tiers[5] == 0, f"{tiers[4:]} counted, {figures['missed']} misses seen"
    assert figures["missed though written"] == 0, f"{figures['missed though written']} values written were not found"
    assert min(tiers[0], tiers[1], figures["dels"]) > 0, (tiers, figures)
    refused = {k: v for k, v in figures.items() if "refused" in k}
    assert not refused, refused
    hit = 1 - figures["missed"] / figures["gets"]
    t.note(f"{len(ids)} requests in {figures['seconds']:.0f} s; hits L1 {tiers[0]:.0f} L2 {tiers[1]:.0f} "
           f"L3 {tiers[2]:.0f} queue {tiers[3]:.0f}, misses {tiers[4]:.0f} ({hit:.1%} hit)")
    check_l3_serves(a, b, ids)


def check_l3_serves(a, b, ids):
    """L2 was never emptied above, so L3 had nothing to say; now it has."""
    a.wait_queues_empty()
    b.wait_queues_empty()
    with a.connect() as c:
        c.cmd("PN.FLUSH", "L1")
        c.cmd("PN.FLUSH", "L2")
    before = a.metrics()
    keys = [b"orm:%d" % i for i in dict.fromkeys(ids[:4000])]
    with a.connect() as c:
        replies = c.pipeline([("GET", k) for k in keys])
    after = a.metrics()
    tiers = [after.get(name, 0) - before.get(name, 0) for name in ANSWERED_BY]
    assert sum(tiers) == len(keys), (tiers, len(keys))
    assert tiers[2] > 0.8 * len(keys), f"L3 answered {tiers[2]} of {len(keys)} after L1 and L2 were emptied: {tiers}"
    assert all(r is None or r.startswith(k + b"|") for k, r in zip(keys, replies))


class Faults:
    """Breaks tiers while a replay runs, telling the checker when writes could not get through."""

    def __init__(self, t, replay, servers):
        self.t, self.replay, self.servers = t, replay, servers

    def run_for(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.2)
            self.replay.check_running()

    def recovered(self):
        for server in self.servers:
            server.wait_tiers(seconds=30)
            wait_until("what waited for a tier reaches it", lambda: self.queue(server) < 2000, 40)

    @staticmethod
    def queue(server):
        return server.metrics()['pannier_queue_items{tier="l2"}']

    def kill(self, service, down_s):
        outage = self.replay.outages.begin(time.monotonic())
        service.kill9()
        self.run_for(down_s)
        service.start()
        self.recovered()
        self.run_for(1.5)  # what was queued for L3 gets there
        self.replay.outages.end(outage, time.monotonic())

    def freeze(self, service, seconds):
        outage = self.replay.outages.begin(time.monotonic())
        service.freeze()
        self.run_for(seconds)
        service.thaw()
        self.recovered()
        self.run_for(1.5)
        self.replay.outages.end(outage, time.monotonic())


@limit(420)
def test_trace_while_tiers_fail(t):
    """Redis, then PostgreSQL, killed with SIGKILL and started again; then each frozen for 20 s."""
    ids = trace(t, 150000)
    size = min(size_for(ids), 3000)
    a, b, redis, postgres = two_servers(t, l1_bytes(ids, size))
    load = Load([a.socket, b.socket], ids, l1_ttl_s=L1_TTL_S, slack_s=2.0, size=size, forever=True)
    replay = Replay(load).start()
    faults = Faults(t, replay, (a, b))
    faults.run_for(4)
    faults.kill(redis, 2.0)
    faults.run_for(4)
    faults.kill(postgres, 2.0)
    faults.run_for(4)
    faults.freeze(redis, 20.0)
    faults.run_for(4)
    faults.freeze(postgres, 20.0)
    faults.run_for(5)
    before = [s.metrics() for s in (a, b)]
    faults.run_for(3)
    after = [s.metrics() for s in (a, b)]
    figures, violations = replay.finish(60)
    assert not violations, "\n".join(violations[:20])
    for i, server in enumerate((a, b)):
        m = server.metrics()
        answered = sum(m.get(name, 0) for name in ANSWERED_BY)
        assert answered == figures[f"gets_{i}"], f"server {i} counts {answered} of {figures[f'gets_{i}']} lookups"
    assert figures["batch_s_max"] < 5.0, f"{figures['batch_s_max']:.1f} s for one pipeline of 128: a frozen tier hurts"
    assert figures["set refused"] == 0, f"{dict(figures)}"
    for name in ANSWERED_BY[1:2]:
        assert sum(after[i][name] - before[i][name] for i in (0, 1)) > 0, "Redis is not used again"
    for server in (a, b):
        assert server.running()
    t.note(f"{figures['gets']} lookups, {figures['missed']} missed, slowest pipeline {figures['batch_s_max']:.2f} s, "
           f"{figures['del refused']} DELs answered TIERDOWN")
