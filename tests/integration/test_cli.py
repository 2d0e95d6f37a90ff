"""The `pannier` command and the C client: what redis-cli wrote they read, and the other way round."""
import base64
import json
import os
import re
import socket
import subprocess
import time

from harness.context import limit, once


def pannier_text(t, *arguments, expect=0, stdin=None, environment=None, server=None):
    """(standard output, standard error) as bytes."""
    where = ["--server", f"127.0.0.1:{server.port}"] if server else []
    p = subprocess.run([t.program("pannier"), *where, *arguments], input=stdin, capture_output=True, timeout=60,
                       env=environment)
    assert p.returncode == expect, f"{arguments}: status {p.returncode} {p.stdout[:500]} {p.stderr[:500]}"
    return p.stdout, p.stderr


def pannier(t, server, *arguments, expect=0, stdin=None):
    return pannier_text(t, *arguments, expect=expect, stdin=stdin, server=server)[0]


def redis_cli(server, *arguments):
    return subprocess.run(["redis-cli", "-p", str(server.port), *arguments], capture_output=True, text=True,
                          timeout=30, check=True).stdout.rstrip("\n")


def test_agrees_with_redis_cli(t):
    server, _, _ = t.three_tiers()
    assert redis_cli(server, "SET", "user:7", "Ada Lovelace") == "OK"
    assert pannier(t, server, "get", "user:7") == b"Ada Lovelace"
    pannier(t, server, "set", "user:8", "Grace Hopper", "--ttl", "5m")
    assert redis_cli(server, "GET", "user:8") == "Grace Hopper"
    assert 290 < int(redis_cli(server, "TTL", "user:8")) <= 300
    assert pannier(t, server, "mget", "user:7", "user:9", "user:8") == \
        b"user:7\tAda Lovelace\nuser:9\t(no such key)\nuser:8\tGrace Hopper\n"
    assert pannier(t, server, "del", "user:7", "user:9") == b"deleted 1\n"
    assert redis_cli(server, "EXISTS", "user:7") == "0"
    assert re.match(rb"pannier \S+ at \S+ answered in ", pannier(t, server, "ping"))


def test_tells_the_tier(t):
    server, _, _ = t.three_tiers()
    pannier(t, server, "set", "k", "v")
    for tier, flush in (("l1", None), ("l2", "L1"), ("l1", None)):
        if flush:
            redis_cli(server, "PN.FLUSH", flush)
        got = json.loads(pannier(t, server, "--json", "get", "k"))
        assert (got["status"], got["value"], got["tier"]) == ("hit", "v", tier), got
    out, err = pannier_text(t, "get", "k", "-v", server=server)
    assert out == b"v" and re.match(rb"hit in L1, .* old, fresh .*, kept .*, version \d+\n$", err), err
    stored = json.loads(pannier(t, server, "--json", "set", "k2", "v"))
    assert stored["status"] == "ok" and "l2" in stored["reached"] and stored["version"] > 0, stored


def test_a_terminal_gets_nothing_that_it_would_obey(t):
    """Escape sequences in a value are shown on a terminal; a pipe gets the bytes."""
    server = t.pannierd()
    value = b"a\x1b[31mred\xc2\x9bx\n\xe2\x98\x83"
    pannier(t, server, "set", "k", "-", stdin=value)
    assert pannier(t, server, "get", "k") == value
    master, slave = os.openpty()
    subprocess.run([t.program("pannier"), "-s", f"127.0.0.1:{server.port}", "get", "k"], stdout=slave, timeout=60,
                   check=True)
    os.close(slave)
    shown = os.read(master, 4096)
    os.close(master)
    assert shown == b"a\\x1b[31mred\\xc2\\x9bx\r\n\xe2\x98\x83\r\n", shown


def test_missing_key_has_a_status_of_its_own(t):
    server = t.pannierd()
    out, err = pannier_text(t, "get", "nothing", server=server, expect=1)
    assert (out, err) == (b"", b"pannier: no such key\n")
    assert json.loads(pannier(t, server, "--json", "get", "nothing", expect=1)) == {"key": "nothing", "status": "miss"}
    pannier(t, server, "del", "nothing", expect=1)
    pannier(t, server, "mget", "nothing", "neither", expect=1)


def test_conditions(t):
    server = t.pannierd()
    pannier(t, server, "set", "k", "1", "--xx", expect=1)
    pannier(t, server, "set", "k", "1", "--nx", "--ttl", "1h")
    pannier(t, server, "set", "k", "2", "--nx", expect=1)
    pannier(t, server, "set", "k", "3", "--xx", "--keepttl")
    assert redis_cli(server, "GET", "k") == "3" and int(redis_cli(server, "TTL", "k")) > 3500
    assert json.loads(pannier(t, server, "--json", "set", "k", "4", "--nx", expect=1))["status"] == "not_met"


def test_any_bytes(t):
    server = t.pannierd()
    value = bytes(range(256)) * 5 + b"\n"
    pannier(t, server, "set", "k", "-", stdin=value)
    assert pannier(t, server, "get", "k") == value
    got = json.loads(pannier(t, server, "--json", "get", "k"))
    assert "value" not in got and base64.b64decode(got["value_base64"]) == value
    path = os.path.join(t.dir, "value")
    with open(path, "wb") as f:
        f.write(value)
    pannier(t, server, "set", "--file", path, "k2")
    assert pannier(t, server, "get", "k2") == value
    pannier(t, server, "set", "empty", "")
    assert pannier(t, server, "get", "empty") == b""
    pannier(t, server, "set", "--", "--json", "a key like an option")
    assert pannier(t, server, "get", "--", "--json") == b"a key like an option"
    pannier(t, server, "set", "k3", "--file", path + ".none", expect=1)


@limit(240)
def test_large_values(t):
    server = t.pannierd("--memory", "512mb")
    path = os.path.join(t.dir, "value")
    for size in (256 * 1024, 256 * 1024 + 1, 1 << 20, (1 << 20) + 1, 8 << 20, 64 << 20):
        value = os.urandom(1 << 16) * (size // (1 << 16)) + os.urandom(size % (1 << 16))
        with open(path, "wb") as f:
            f.write(value)
        pannier(t, server, "set", "k", "-f", path)
        assert pannier(t, server, "get", "k") == value, size
    _, err = pannier_text(t, "set", "k", "-", stdin=b"x" * ((64 << 20) + 1), server=server, expect=1)
    assert b"64mb" in err, err


def test_json(t):
    server, _, _ = t.three_tiers()
    pannier(t, server, "set", "k", "v")
    many = json.loads(pannier(t, server, "--json", "mget", "k", "nothing"))
    assert [m["status"] for m in many] == ["hit", "miss"] and many[0]["value"] == "v", many
    assert [m["status"] for m in json.loads(pannier(t, server, "-j", "del", "k", "nothing"))] == ["ok", "miss"]
    assert json.loads(pannier(t, server, "--json", "ping"))["status"] == "ok"
    info = json.loads(pannier(t, server, "--json", "info"))
    assert info["server"]["server_name"] == "pannier" and info["tiers"]["l2"]["state"] == "up", info
    assert info["server"]["tcp_port"] == server.port
    stats = json.loads(pannier(t, server, "--json", "stats"))
    assert stats["tiers"]["l3"]["state"] == "up" and stats["hits_l1"] >= 1 and stats["misses"] >= 1, stats
    assert 0 < stats["hit_ratio"] < 1 and stats["memory_bytes"] > 0, stats


def test_info_and_stats_for_people(t):
    server = t.pannierd()
    info = pannier(t, server, "info").decode()
    assert "# Server\n" in info and "server_name:pannier\n" in info and "\r" not in info
    assert pannier(t, server, "info", "memory").startswith(b"# Memory\n")
    pannier(t, server, "info", "nonsense", expect=1)
    stats = pannier(t, server, "stats").decode()
    assert re.search(r"^L1 +up +0", stats, re.M) and re.search(r"^L2 +off", stats, re.M), stats
    assert all(len(line) <= 80 for line in stats.split("\n")), stats


@once
def test_addresses(t):
    path = os.path.join(t.dir, "pannier.sock")
    server = t.pannierd("--unix-socket", path)
    for address in (f"127.0.0.1:{server.port}", f"pannier://localhost:{server.port}", f"unix:{path}", path):
        assert pannier_text(t, "--server", address, "ping")[0].startswith(b"pannier "), address
        environment = {**os.environ, "PANNIER_SERVER": address}
        assert pannier_text(t, "ping", environment=environment)[0].startswith(b"pannier "), address


@once
def test_unreachable_server(t):
    server = t.pannierd()
    server.stop()
    out, err = pannier_text(t, "ping", server=server, expect=1)
    assert out == b"" and err.decode() == \
        f"pannier: no server listens at 127.0.0.1:{server.port}: Connection refused\n", err
    out, _ = pannier_text(t, "--json", "get", "k", server=server, expect=1)
    assert json.loads(out)["status"] == "unavailable"


@once
def test_frozen_server(t):
    """A server that accepts and is silent: the deadline holds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        begin = time.monotonic()
        _, err = pannier_text(t, "-s", address, "--deadline", "50ms", "get", "k", expect=1)
        assert 0.05 <= time.monotonic() - begin < 5 and b"within the deadline" in err, err


@once
def test_another_server(t):
    redis = t.redis()
    _, err = pannier_text(t, "--server", f"unix:{redis.socket}", "ping", "-d", "200ms", expect=1)
    assert b"native protocol" in err or b"within the deadline" in err, err


@once
def test_usage(t):
    """Status 2, and one sentence that names what is right; before anything is asked."""
    wrong = {
        ("nonsense",): "get set del mget ping info stats",
        (): "get set del mget ping info stats",
        ("get",): "pannier get KEY",
        ("get", "a", "b"): "pannier get KEY",
        ("set", "k"): "pannier set KEY VALUE",
        ("set", "k", "v", "--file", "x"): "pannier set KEY VALUE",
        ("get", "k", "--ttl", "5m"): "--ttl is an option of set",
        ("set", "k", "v", "--ttl", "soon"): "20s 5m 24h",
        ("set", "k", "v", "--ttl", "0s"): "20s 5m 24h",
        ("set", "k", "v", "--ttl"): "--ttl TIME",
        ("set", "k", "v", "--confidence", "2"): "from 0 to 1",
        ("set", "k", "v", "--tag", ""): "1 to 256 bytes",
        ("set", "k", "v", "--nx", "--xx"): "exclude",
        ("set", "k", "v", "--keepttl", "--ttl", "5s"): "exclude",
        ("set", "k", "v", "--ttl", "999999h"): "at most 36525 d",
        ("set", "k", "v", "--compute", "2h"): "at most",
        ("--deadline", "0", "ping"): "50ms",
        ("--json=yes", "ping"): "no argument",
        ("--nonsense", "ping"): "pannier help",
        ("--server", "::1", "ping"): "[ipv6]:port",
        ("--server", "host:0", "ping"): "1 to 65535",
    }
    for arguments, words in wrong.items():
        out, err = pannier_text(t, *arguments, expect=2)
        assert out == b"" and words in err.decode() and err.count(b"\n") == 1, (arguments, err)


@once
def test_help(t):
    out, _ = pannier_text(t, "help")
    assert out == pannier_text(t, "--help")[0] == pannier_text(t, "get", "-h")[0]
    assert all(len(line) <= 80 for line in out.decode().split("\n")), out
    for word in ("get KEY", "set KEY VALUE", "del KEY", "mget KEY", "ping", "info", "stats", "--server", "--json",
                 "--deadline", "--ttl", "--grace", "--tag", "--nx", "--xx", "PANNIER_SERVER"):
        assert word in out.decode(), word
    assert re.match(rb"pannier \d+\.\d+\.\d+\n$", pannier_text(t, "--version")[0])


@limit(240)
def test_c_client(t):
    """clients/c/check.c: the library, every call of it, against this server."""
    server, _, _ = t.three_tiers("--memory", "512mb")
    p = subprocess.run([t.program("clients/c/pannier-client-check"), f"127.0.0.1:{server.port}"], capture_output=True,
                       text=True, timeout=200)
    assert p.returncode == 0 and p.stdout.endswith("all is well\n"), p.stdout + p.stderr


def test_example(t):
    server = t.pannierd()
    p = subprocess.run([t.program("clients/c/pannier-example"), f"127.0.0.1:{server.port}"], capture_output=True,
                       text=True, timeout=60, check=True)
    assert p.stdout.split("\n")[:2] == ["bicycle: 700, computed (there is no value)",
                                        "bicycle: 700, from tier 1, 0.0 s old"], p.stdout


@once
def test_readme_shows_the_example(t):
    here = os.path.join(os.path.dirname(__file__), "../../clients/c")
    with open(os.path.join(here, "README.md")) as f:
        blocks = re.findall(r"```c\n(static.*?)```", f.read(), re.S)
    with open(os.path.join(here, "example.c")) as f:
        example = f.read()
    assert len(blocks) == 2 and all(block in example for block in blocks)
