"""Reading and writing through: write modes, deletes, expiry, promotion, and tiers that come, go and stand still."""
import os
import threading
import time

from harness.context import limit
from harness.resp import RespError, pairs
from harness.services import wait_until


def tier_of(c, key):
    got = pairs(c.cmd("PN.GET", key))
    return got.get("tier", got["state"]).decode()


def in_redis(redis, key):
    with redis.connect() as r:
        return r.cmd("EXISTS", "pn1:v:{%s}" % key)


def in_postgres(postgres):
    return int(postgres.sql("select count(*) from pannier.entry where not tombstone")[0][0])


def test_promotion_on_the_way_back(t):
    server, _, _ = t.three_tiers()
    with server.connect() as c:
        c.cmd("SET", "k", "v")
        assert tier_of(c, "k") == "l1"
        server.wait_queues_empty()
        c.cmd("PN.FLUSH", "L1")
        assert tier_of(c, "k") == "l2" and tier_of(c, "k") == "l1"
        c.cmd("PN.FLUSH", "L1")
        c.cmd("PN.FLUSH", "L2")
        assert tier_of(c, "k") == "l3" and tier_of(c, "k") == "l1"
        c.cmd("PN.FLUSH", "L1")
        wait_until("the value is promoted to L2", lambda: tier_of(c, "k") == "l2" or c.cmd("PN.FLUSH", "L1") is None)
        c.cmd("PN.FLUSH", "ALL")
        assert tier_of(c, "k") == "miss"


def test_flush_touches_only_our_keys(t):
    server, redis, postgres = t.three_tiers()
    postgres.sql("create table theirs (x int); insert into theirs values (1)")
    with server.connect() as c, redis.connect() as r:
        r.cmd("SET", "theirs", "1")
        r.cmd("SET", "pn12:v:{k}", "1")
        c.cmd("MSET", "a:1", "1", "b:1", "2", "plain", "3")
        server.wait_queues_empty()
        c.cmd("PN.FLUSH", "ALL", "NAMESPACE", "a")
        assert c.cmd("MGET", "a:1", "b:1", "plain") == [None, b"2", b"3"]
        error = c.call("FLUSHALL")
        assert isinstance(error, RespError) and "flushall" in str(error), error
        c.cmd("PN.FLUSH", "ALL")
        assert c.cmd("MGET", "a:1", "b:1", "plain") == [None, None, None]
        assert r.cmd("GET", "theirs") == b"1" and r.cmd("GET", "pn12:v:{k}") == b"1"
    assert postgres.sql("select x from theirs") == [["1"]]


def test_flushall_where_it_is_allowed(t):
    server, _, _ = t.three_tiers("--flushall", "yes")
    with server.connect() as c:
        c.cmd("SET", "k", "v")
        server.wait_queues_empty()
        assert c.cmd("FLUSHALL") == b"OK"
        assert tier_of(c, "k") == "miss"


@limit(180)
def test_write_modes(t):
    """What is stored where once a write is acknowledged."""
    for mode, l2, l3 in (("l1", 0, 0), ("l2", 1, 0), ("behind", 1, 1), ("through", 1, 1)):
        server, redis, postgres = t.three_tiers(policy=f"mode = {mode}")
        with server.connect() as c:
            assert c.cmd("SET", "k", "v") == b"OK"
            assert in_redis(redis, "k") == l2, f"mode {mode}"
            if mode == "through":
                assert in_postgres(postgres) == 1, "acknowledged before PostgreSQL had it"
            server.wait_queues_empty()
            assert in_postgres(postgres) == l3, f"mode {mode}"
            c.cmd("PN.FLUSH", "L1")
            assert tier_of(c, "k") == ("miss" if mode == "l1" else "l2")
            c.cmd("SET", "k", "v")
            assert c.cmd("DEL", "k") == 1 and c.cmd("DEL", "k") == 0
            for flush in ("L1", "L1"):
                assert tier_of(c, "k") == "miss", mode
                c.cmd("PN.FLUSH", flush)
        server.stop()


def test_default_modes(t):
    """behind with L3, l2 with L2 alone, through L3 alone, l1 without tiers."""
    redis, postgres = t.redis(), t.postgres()
    alone = t.pannierd()
    with alone.connect() as c:
        c.cmd("SET", "k", "v")
        c.cmd("PN.FLUSH", "L1")
        assert tier_of(c, "k") == "miss"
    only_l2 = t.pannierd("--config", t.patient_config(), l2=redis).wait_tiers(l3=False)
    with only_l2.connect() as c:
        c.cmd("SET", "k", "v")
        c.cmd("PN.FLUSH", "L1")
        assert tier_of(c, "k") == "l2"
    only_l3 = t.pannierd("--config", t.patient_config(), l3=postgres).wait_tiers(l2=False)
    with only_l3.connect() as c:
        c.cmd("SET", "j", "w")
        only_l3.wait_queues_empty()
        c.cmd("PN.FLUSH", "L1")
        assert tier_of(c, "j") == "l3"
        assert c.cmd("DEL", "j") == 1
        only_l3.wait_queues_empty()
        c.cmd("PN.FLUSH", "L1")
        assert tier_of(c, "j") == "miss"


def test_two_servers_share(t):
    a, redis, postgres = t.three_tiers("--l1-ttl", "1s")
    b, _, _ = t.three_tiers("--l1-ttl", "1s", redis=redis, postgres=postgres)
    with a.connect() as ca, b.connect() as cb:
        ca.cmd("SET", "k", "1")
        assert cb.cmd("GET", "k") == b"1" and tier_of(cb, "k") == "l1"
        ca.cmd("SET", "k", "2")
        wait_until("the other server's copy ends with L1's lifetime", lambda: cb.cmd("GET", "k") == b"2", 4)
        cb.cmd("DEL", "k")
        assert cb.cmd("GET", "k") is None
        wait_until("a delete too", lambda: ca.cmd("GET", "k") is None, 4)
        assert cb.cmd("SET", "n", "1", "NX") == b"OK" and ca.cmd("SET", "n", "2", "NX") is None
        assert ca.cmd("SET", "n", "3", "GET") == b"1"


def test_delete_leaves_a_tombstone(t):
    """An old copy that survives in a lower tier does not come back."""
    server, redis, postgres = t.three_tiers()
    with server.connect() as c, redis.connect() as r:
        c.cmd("SET", "k", "v")
        server.wait_queues_empty()
        old = r.cmd("GET", "pn1:v:{k}")
        assert c.cmd("DEL", "k") == 1
        assert in_redis(redis, "k") == 1, "a tombstone stands where the value stood"
        assert len(r.cmd("GET", "pn1:v:{k}")) < len(old) + 1
        for flush in ("L1", "L1"):
            c.cmd("PN.FLUSH", flush)
            assert tier_of(c, "k") == "miss" and c.cmd("EXISTS", "k") == 0
        server.wait_queues_empty()
        r.cmd("DEL", "pn1:v:{k}")  # as if Redis lost it: L3's tombstone still speaks
        c.cmd("PN.FLUSH", "L1")
        assert tier_of(c, "k") == "miss"
        c.cmd("SET", "k", "again")
        assert c.cmd("GET", "k") == b"again"


def test_a_lost_l2_is_refilled_from_l3(t):
    server, redis, _ = t.three_tiers()
    with server.connect() as c, redis.connect() as r:
        c.pipeline([("SET", f"k{i}", f"v{i}") for i in range(500)])
        server.wait_queues_empty()
        r.cmd("FLUSHALL")
        c.cmd("PN.FLUSH", "L1")
        assert c.cmd("MGET", *[f"k{i}" for i in range(500)]) == [b"v%d" % i for i in range(500)]
        wait_until("L2 has it again", lambda: r.cmd("EXISTS", *[f"pn1:v:{{k{i}}}" for i in range(500)]) == 500)


def test_expiry_reaches_all_tiers(t):
    server, redis, postgres = t.three_tiers()
    with server.connect() as c:
        c.cmd("SET", "k", "v", "PX", "60000")
        c.cmd("SET", "short", "v")
        server.wait_queues_empty()
        assert c.cmd("EXPIRE", "k", "1000") == 1 and c.cmd("PTTL", "k") > 900000
        assert c.cmd("EXPIRE", "short", "1") == 1
        server.wait_queues_empty()
        for flush in (None, "L1", "L2"):
            if flush:
                c.cmd("PN.FLUSH", "L1")
                c.cmd("PN.FLUSH", flush)
            assert c.cmd("PTTL", "k") > 900000, f"after {flush}"
        wait_until("it expires", lambda: c.cmd("GET", "short") is None, 4)
        for flush in ("L1", "L2"):
            c.cmd("PN.FLUSH", flush)
            assert c.cmd("GET", "short") is None
        c.cmd("SET", "p", "v", "PX", "300")
        c.cmd("PERSIST", "p")
        assert c.cmd("TTL", "p") > 1000 or c.cmd("TTL", "p") == -1


def test_times_to_live_are_exact(t):
    """What a caller named is neither shortened nor stretched by a tier."""
    server, _, _ = t.three_tiers()
    with server.connect() as c:
        begin = time.monotonic()
        c.cmd("SET", "k", "v", "PX", "700")
        c.cmd("PN.FLUSH", "L1")
        while c.cmd("GET", "k") == b"v":
            time.sleep(0.005)
            assert time.monotonic() - begin < 3
        took = time.monotonic() - begin
        assert 0.68 < took < 0.95 + (1.0 if t.sanitized else 0), f"700 ms became {took * 1000:.0f} ms"


def test_starts_with_both_tiers_down(t):
    """It serves from memory, refuses nothing it need not, and uses the tiers once they come."""
    redis, postgres = t.redis(start=False), t.postgres(start=False)
    server = t.pannierd(l2=redis, l3=postgres)
    with server.connect() as c:
        begin = time.monotonic()
        assert c.cmd("GET", "k") is None
        assert time.monotonic() - begin < 2
        assert c.cmd("SET", "k", "v") == b"OK" and c.cmd("GET", "k") == b"v"
        status, text = server.http("/readyz")
        assert status == 200 and "degraded" in text, (status, text)
        assert server.http("/readyz?strict")[0] == 503
        redis.start()
        postgres.start()
        server.wait_tiers()
        server.wait_queues_empty()
        wait_until("what was written before reaches Redis", lambda: in_redis(redis, "k") == 1)
        c.cmd("SET", "later", "v")
        assert in_redis(redis, "later") == 1
        status, text = server.http("/readyz")
        assert status == 200 and "degraded" not in text, text


@limit(180)
def test_killed_and_started_again(t):
    """Redis with SIGKILL, then PostgreSQL: values of L1 are served all the while, and both are used again."""
    server, redis, postgres = t.three_tiers(patient=False)
    with server.connect() as c:
        c.pipeline([("SET", f"k{i}", "v") for i in range(100)])
        server.wait_queues_empty()
        for victim, tier in ((redis, "l2"), (postgres, "l3")):
            victim.kill9()
            begin = time.monotonic()
            for i in range(2, 100):
                assert c.cmd("GET", f"k{i}") == b"v"
                assert c.cmd("GET", f"absent{i}") is None
                assert c.cmd("SET", f"during{i}", "w") == b"OK"
                assert c.cmd("GET", f"during{i}") == b"w"
            assert time.monotonic() - begin < 12, f"{time.monotonic() - begin:.1f} s with {tier} down"
            if tier == "l2":
                error = c.call("DEL", "k0")
                assert isinstance(error, RespError) and str(error).startswith("TIERDOWN"), error
                assert c.cmd("GET", "k0") is None, "deleted here, though not everywhere yet"
            victim.start()
            server.wait_tiers()
            server.wait_queues_empty()
            wait_until("DEL works", lambda: c.cmd("DEL", "k1") in (0, 1))
        c.cmd("PN.FLUSH", "L1")
        assert c.cmd("GET", "k0") is None, "the queued DEL was lost"
        wait_until("a tier serves", lambda: tier_of(c, "during5") in ("l2", "l3"))


def frozen(t, which):
    """20 s of SIGSTOP: L1 goes on, misses are answered within their deadline, nothing old or deleted comes back."""
    server, redis, postgres = t.three_tiers(patient=False)
    victim = {"l2": redis, "l3": postgres}[which]
    with server.connect() as c:
        c.pipeline([("SET", f"k{i}", "old") for i in range(200)])
        server.wait_queues_empty()
        victim.freeze()
        until = time.monotonic() + 20
        worst, i, deleted = 0.0, 0, set()
        while time.monotonic() < until:
            i += 1
            begin = time.monotonic()
            if f"k{i % 200}" not in deleted and i % 200 >= 100:
                assert c.cmd("GET", f"k{i % 200}") == b"old"
            c.cmd("GET", f"absent{i}")
            assert c.cmd("SET", f"k{i % 100}", f"new{i}") == b"OK"
            assert c.cmd("GET", f"k{i % 100}") == b"new%d" % i
            if i % 50 == 7:
                key = f"k{100 + i % 97}"
                reply = c.call("DEL", key)
                assert isinstance(reply, (int, RespError)), reply
                deleted.add(key)
                assert c.cmd("GET", key) is None
            worst = max(worst, time.monotonic() - begin)
            time.sleep(0.002)
        assert worst < 1.5, f"one round of five requests took {worst:.2f} s"
        victim.thaw()
        begin = time.monotonic()
        server.wait_tiers()
        wait_until("writes reach the tier again", lambda: c.cmd("DEL", "nothing") in (0, 1))
        t.note(f"worst round {worst * 1000:.0f} ms, whole again {time.monotonic() - begin:.2f} s after")
        server.wait_queues_empty()
        newest = {n: c.cmd("GET", f"k{n}") for n in range(100)}
        for flush in ((), ("L1",), ("L1", "L2")):
            for tier in flush:
                c.cmd("PN.FLUSH", tier)
            for n in range(100):
                got = wait_until("an answer", lambda: (c.cmd("GET", f"k{n}"),))[0]
                assert got == newest[n], f"k{n}: {got} after emptying {flush}, {newest[n]} before"
            for key in deleted:
                assert c.cmd("GET", key) is None, f"{key} came back after emptying {flush}"


@limit(180)
def test_redis_frozen_for_20_s(t):
    frozen(t, "l2")


@limit(180)
def test_postgres_frozen_for_20_s(t):
    frozen(t, "l3")


def test_one_lookup_however_many_ask(t):
    """A hundred connections that miss the same key: one call to the tiers."""
    server, redis, _ = t.three_tiers()
    with server.connect() as c:
        c.cmd("SET", "k", "v")
        server.wait_queues_empty()
        c.cmd("PN.FLUSH", "L1")
    before = server.metrics()
    redis.freeze()
    got, threads = [], []
    for _ in range(50):
        def ask():
            with server.connect() as conn:
                got.append(conn.cmd("GET", "k"))
        threads.append(threading.Thread(target=ask))
        threads[-1].start()
    wait_until("all of them wait", lambda: server.metrics()["pannier_lookups_followed_total"]
               - before["pannier_lookups_followed_total"] == 49)
    redis.thaw()
    for thread in threads:
        thread.join(20)
    assert got == [b"v"] * 50, got
    after = server.metrics()
    answered = sum(after[n] - before[n] for n in after if n.startswith("pannier_hits_total"))
    assert answered == 50, f"{answered} hits counted for 50 lookups"


def test_redis_over_tcp_with_password_and_database(t):
    redis = t.redis(tcp=True, options=("--requirepass", "se:cret"), start=False)
    redis.spawn()
    wait_until("Redis listens", lambda: os.path.exists(redis.socket))
    server = t.pannierd("--config", t.patient_config(), l2=f"redis://:se%3Acret@127.0.0.1:{redis.port}/3")
    server.wait_tiers(l3=False)
    with server.connect() as c, redis.connect() as r:
        c.cmd("SET", "k", "v")
        r.cmd("AUTH", "se:cret")
        r.cmd("SELECT", "3")
        assert r.cmd("EXISTS", "pn1:v:{k}") == 1
    assert "se:cret" not in server.log_text(), "the log holds a password"


def test_envelopes_that_cannot_be_used_are_misses(t):
    """Garbage, another key's envelope, a damaged one: a miss that is counted, never an error."""
    server, redis, _ = t.three_tiers(policy="mode = l2")
    with server.connect() as c, redis.connect() as r:
        c.cmd("SET", "good", "value")
        good = r.cmd("GET", "pn1:v:{good}")
        damaged = good[:-1] + bytes([good[-1] ^ 1])
        for name, stored in (("garbage", b"x"), ("empty", b""), ("long", b"y" * 500), ("another", good),
                             ("short", good[:40]), ("newer", good[:12] + b"\x63" + good[13:])):
            r.cmd("SET", "pn1:v:{%s}" % name, stored)
            assert tier_of(c, name) == "miss", name
        r.cmd("SET", "pn1:v:{good}", damaged)
        c.cmd("PN.FLUSH", "L1")
        assert tier_of(c, "good") == "miss"
        rejected = sum(v for n, v in server.metrics().items() if n.startswith("pannier_envelopes_rejected_total"))
        assert rejected >= 5, rejected
        assert c.cmd("SET", "garbage", "fine") == b"OK" and c.cmd("GET", "garbage") == b"fine"


@limit(180)
def test_pipelined_writes_of_a_key_keep_their_order(t):
    """The last one in a pipeline wins, with Redis there, frozen and back: in L1, in L2 and in L3."""
    server, redis, _ = t.three_tiers(patient=False)
    keys = [f"o{i}" for i in range(60)]

    def write(c, turn):
        commands = [("SET", key, f"{turn}:{n}") for n in range(3) for key in keys]
        replies = c.pipeline(commands)
        assert all(r == b"OK" for r in replies), replies[:3]

    def last(c, turn, when):
        wanted = [b"%d:2" % turn] * len(keys)
        got = c.pipeline([("GET", key) for key in keys])
        assert got == wanted, f"{when}: {[(k, g) for k, g, w in zip(keys, got, wanted) if g != w][:5]}"

    with server.connect() as c:
        write(c, 0)
        last(c, 0, "with Redis")
        for turn in range(1, 6):
            redis.freeze()
            write(c, turn)
            last(c, turn, "at once, Redis frozen")
            c.cmd("PN.FLUSH", "L1")
            last(c, turn, "Redis frozen, L1 emptied")
            write(c, turn + 10)
            last(c, turn + 10, "again, Redis frozen")
            redis.thaw()
            server.wait_tiers()
            server.wait_queues_empty()
            last(c, turn + 10, "Redis back")
            c.cmd("PN.FLUSH", "L1")
            wait_until("L2 serves", lambda: c.cmd("GET", keys[0]) is not None)
            last(c, turn + 10, "from L2")
