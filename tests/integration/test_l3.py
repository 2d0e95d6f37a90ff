"""PostgreSQL by itself: expired rows go, the schema is made once, and the same through PgBouncer in transaction mode."""
import random
import subprocess
import threading

from harness.context import limit
from harness.resp import pairs
from harness.services import find_program, wait_until


def rows(postgres):
    return int(postgres.sql("select count(*) from pannier.entry")[0][0])


def table_bytes(postgres):
    return int(postgres.sql("select pg_total_relation_size('pannier.entry') + pg_total_relation_size('pannier.chunk')")[0][0])


@limit(180)
def test_expired_rows_are_deleted(t):
    """In small steps, and the table does not grow without end: its room is used again. An expired row stands as
    long as a tombstone would, for something older may still be on its way."""
    server, _, postgres = t.three_tiers("--l3-sweep", "100ms", "--l3-sweep-rows", "200", policy="tombstone-ttl = 10s")
    noise = random.Random(1).randbytes(2000)
    full, empty = [], []
    with server.connect() as c:
        c.cmd("SET", "stays", "v")
        for turn in range(3):
            c.pipeline([("SET", f"t{turn}:{i}", noise, "PX", "1000") for i in range(3000)])
            server.wait_queues_empty()
            assert rows(postgres) == 3001
            full.append(table_bytes(postgres))
            wait_until("rows expire and go", lambda: rows(postgres) <= 1, 30)
            postgres.sql("vacuum")
            empty.append(table_bytes(postgres))
        server.wait_queues_empty()
        assert rows(postgres) == 1
        assert max(empty) <= min(full) / 3, f"the table does not shrink: {full} bytes full, {empty} after"
        assert full[-1] <= full[0] * 1.5, f"the table grows: {full}"
        t.note(f"{full[0] >> 10} KiB with 3,001 rows, {empty[0] >> 10} KiB once they expired")
        assert server.metrics()["pannier_l3_swept_rows_total"] >= 9000
        c.cmd("PN.FLUSH", "L1")
        c.cmd("PN.FLUSH", "L2")
        assert pairs(c.cmd("PN.GET", "stays"))["tier"] == b"l3"


def test_many_servers_make_the_schema_once(t):
    """Started at the same moment on an empty database: the advisory lock lets one create, the others find."""
    postgres = t.postgres()
    servers = [t.pannierd("--config", t.patient_config(), l3=postgres, start=False) for _ in range(4)]
    for server in servers:
        server.spawn()
    for server in servers:
        server.wait_ready()
        server.wait_tiers(l2=False)
    for i, server in enumerate(servers):
        with server.connect() as c:
            assert c.cmd("SET", f"k{i}", "v") == b"OK"
        server.wait_queues_empty()
    assert rows(postgres) == 4


def test_migrate_check_only_looks(t):
    """Without its tables and without leave to make them it serves from what there is, and says why."""
    postgres = t.postgres()
    server = t.pannierd("--l3-migrate", "check", "--drain-timeout", "300ms", l3=postgres)
    server.expect_exit = 1  # it says that what waits for L3 is lost
    with server.connect() as c:
        assert c.cmd("SET", "k", "v") == b"OK" and c.cmd("GET", "k") == b"v"
    assert postgres.sql("select 1 from information_schema.schemata where schema_name = 'pannier'") == []
    wait_until("the log names the missing tables", lambda: "migrate" in server.log_text() or "schema" in server.log_text())


def test_schema_name_is_an_option(t):
    postgres = t.postgres()
    server = t.pannierd("--l3-schema", "Odd name", "--config", t.patient_config(), l3=postgres).wait_tiers(l2=False)
    with server.connect() as c:
        c.cmd("SET", "k", "v")
        server.wait_queues_empty()
        c.cmd("PN.FLUSH", "L1")
        assert pairs(c.cmd("PN.GET", "k"))["tier"] == b"l3"
    assert postgres.sql("select count(*) from information_schema.tables where table_schema = 'Odd name'") != [["0"]]


def test_url_form(t):
    postgres = t.postgres(tcp=True)
    server = t.pannierd("--config", t.patient_config(), l3=f"postgresql://pannier@127.0.0.1:{postgres.port}/postgres")
    server.wait_tiers(l2=False)
    with server.connect() as c:
        c.cmd("SET", "k", "v")
        server.wait_queues_empty()
        c.cmd("PN.FLUSH", "L1")
        assert pairs(c.cmd("PN.GET", "k"))["tier"] == b"l3"


def suite(t, server, postgres):
    """What L3 is used for: many keys at once, sizes, deletes, expiry, two clients, a killed backend."""
    rng = random.Random(11)
    with server.connect(timeout=60) as c:
        wanted = {f"k{i}": rng.randbytes(rng.choice((0, 1, 100, 3000))) for i in range(2000)}
        assert all(r == b"OK" for r in c.pipeline([("SET", k, v) for k, v in wanted.items()]))
        big = rng.randbytes(9 << 20)
        c.cmd("SET", "big", big)
        server.wait_queues_empty(60)
        c.cmd("PN.FLUSH", "L1")
        assert c.cmd("MGET", *wanted) == list(wanted.values())
        c.cmd("PN.FLUSH", "L1")
        assert c.pipeline([("GET", k) for k in wanted]) == list(wanted.values())
        assert c.cmd("GET", "big") == big
        c.cmd("DEL", *[f"k{i}" for i in range(0, 2000, 2)])
        c.cmd("EXPIRE", "k1", "1")
        server.wait_queues_empty(60)
        c.cmd("PN.FLUSH", "L1")
        replies = c.cmd("MGET", *[f"k{i}" for i in range(2000)])
        assert all(r is None for r in replies[::2]) and replies[3] == wanted["k3"]
        wait_until("k1 expires", lambda: c.cmd("GET", "k1") is None, 5)
        c.cmd("PN.FLUSH", "L1")
        assert c.cmd("GET", "k1") is None
        errors = []

        def work(n):
            with server.connect(timeout=60) as mine:
                for i in range(200):
                    mine.cmd("SET", f"w{n}:{i}", f"{n},{i}")
                    if i % 50 == 0:
                        mine.cmd("PN.FLUSH", "L1")
                    if mine.cmd("GET", f"w{n}:{i}") != b"%d,%d" % (n, i):
                        errors.append((n, i))
        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not errors, errors[:5]
        # Whoever closes our sessions (an administrator, a pooler) is not told anything by our clients.
        postgres.sql("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() "
                     "and backend_type = 'client backend'")
        c.cmd("SET", "after", "v")
        server.wait_tiers(l2=False)
        server.wait_queues_empty(60)
        c.cmd("PN.FLUSH", "L1")
        wait_until("L3 answers again", lambda: c.cmd("GET", "after") == b"v")
    assert server.metrics()['pannier_hits_total{tier="l3"}'] > 4000


@limit(180)
def test_suite_direct(t):
    postgres = t.postgres()
    server = t.pannierd("--config", t.patient_config(), l3=postgres).wait_tiers(l2=False)
    suite(t, server, postgres)


@limit(180)
def test_suite_through_pgbouncer(t):
    """Debian's PgBouncer 1.18 in transaction mode, which knows no prepared statements; nobody has to say so."""
    if find_program("pgbouncer") is None:
        t.skip("no pgbouncer")
    version = subprocess.run([find_program("pgbouncer"), "--version"], capture_output=True, text=True).stdout.split()[1]
    postgres = t.postgres()
    bouncer = t.pgbouncer(postgres)
    server = t.pannierd("--config", t.patient_config(), l3=bouncer).wait_tiers(l2=False)
    suite(t, server, postgres)
    # Another server on the same few backends: what one prepared must not disturb the other.
    other = t.pannierd("--config", t.patient_config(), l3=bouncer).wait_tiers(l2=False)
    with other.connect() as c:
        assert c.cmd("GET", "k3") is not None
    t.note(f"PgBouncer {version}")


@limit(120)
def test_three_tiers_through_pgbouncer(t):
    if find_program("pgbouncer") is None:
        t.skip("no pgbouncer")
    redis, postgres = t.redis(), t.postgres()
    bouncer = t.pgbouncer(postgres)
    server = t.pannierd("--config", t.patient_config("mode = through"), l2=redis, l3=bouncer).wait_tiers()
    with server.connect() as c:
        assert all(r == b"OK" for r in c.pipeline([("SET", f"k{i}", i) for i in range(300)]))
        c.cmd("PN.FLUSH", "L1")
        c.cmd("PN.FLUSH", "L2")
        assert c.pipeline([("GET", f"k{i}") for i in range(300)]) == [b"%d" % i for i in range(300)]
        bouncer.kill9()
        assert str(c.call("SET", "k1", "x")).startswith("TIERDOWN")
        bouncer.start()
        server.wait_tiers()
        wait_until("writes are taken again", lambda: c.call("SET", "k1", "y") == b"OK")
