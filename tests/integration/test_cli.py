"""The `pannier` command: what redis-cli wrote it reads, and the other way round."""
import json
import subprocess


def pannier(t, server, *arguments, expect=0, stdin=None):
    p = subprocess.run([t.program("pannier"), "-p", str(server.port), *arguments], input=stdin, capture_output=True,
                       timeout=30)
    assert p.returncode == expect, f"{arguments}: status {p.returncode} {p.stdout} {p.stderr}"
    return p.stdout


def redis_cli(server, *arguments):
    return subprocess.run(["redis-cli", "-p", str(server.port), *arguments], capture_output=True, text=True,
                          timeout=30, check=True).stdout.rstrip("\n")


def test_agrees_with_redis_cli(t):
    server, _, _ = t.three_tiers()
    assert redis_cli(server, "SET", "user:7", "Ada Lovelace") == "OK"
    assert pannier(t, server, "get", "user:7").strip() == b"Ada Lovelace"
    pannier(t, server, "set", "user:8", "Grace Hopper")
    assert redis_cli(server, "GET", "user:8") == "Grace Hopper"
    pannier(t, server, "del", "user:7")
    assert redis_cli(server, "EXISTS", "user:7") == "0"
    assert pannier(t, server, "ping").strip()


def test_missing_key_has_a_status_of_its_own(t):
    server = t.pannierd()
    pannier(t, server, "get", "nothing", expect=1)


def test_json(t):
    server, _, _ = t.three_tiers()
    pannier(t, server, "set", "k", "v")
    got = json.loads(pannier(t, server, "--json", "get", "k"))
    assert "v" in json.dumps(got) and "l1" in json.dumps(got), got
    for command in (("mget", "k", "nothing"), ("info",), ("stats",), ("ping",)):
        json.loads(pannier(t, server, "--json", *command))
        assert pannier(t, server, *command), command


def test_unreachable_server(t):
    server = t.pannierd()
    server.stop()
    p = subprocess.run([t.program("pannier"), "-p", str(server.port), "ping"], capture_output=True, text=True, timeout=30)
    assert p.returncode == 1 and str(server.port) in p.stdout + p.stderr, p


def test_bad_usage(t):
    server = t.pannierd()
    pannier(t, server, "nonsense", expect=2)
    pannier(t, server, expect=2)
