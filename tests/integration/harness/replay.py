"""Replays ids of a trace through several servers that take turns, and judges every answer.

Each process has keys of its own (id modulo processes), so that one checker sees all writes of a key. A turn is
one pipeline to one server, then a second one that fills what was missing, as a caller of a cache would.
"""
import multiprocessing
import random
import time
import traceback

from .checker import Checker, Outages, value_of
from .resp import Conn, RespError, encode

BATCH = 128


class Load:
    """How a replay is done; the same for all processes."""

    def __init__(self, addresses, ids, processes=2, l1_ttl_s=3.0, slack_s=1.0, size=3000, forever=False, seed=1):
        self.addresses, self.ids, self.processes = addresses, ids, processes
        self.l1_ttl_s, self.slack_s, self.size, self.forever, self.seed = l1_ttl_s, slack_s, size, forever, seed


class Figures(dict):
    """Sums over the processes."""

    def __missing__(self, _name):
        return 0

    def add(self, other):
        for name, value in other.items():
            self[name] = max(self[name], value) if name.endswith("_max") else self[name] + value


class Replayer:
    def __init__(self, load, number, outages):
        self.load, self.number = load, number
        self.rng = random.Random(load.seed * 1000 + number)
        self.checker = Checker(load.l1_ttl_s, load.slack_s, outages=outages)
        self.figures = Figures()
        self.conns = [Conn(a, timeout=20.0) for a in load.addresses]
        self.present = {}  # key -> until when a read must find it, as far as this process knows

    def size_of(self, key_id):
        return 200 + key_id * 2654435761 % (2 * self.load.size - 400)

    def write(self, key, key_id, ttl_ms=None):
        generation = self.checker.next_generation(key)
        value = value_of(key, generation, self.size_of(key_id))
        if ttl_ms is None:
            return ("set", key, generation, None), encode(b"SET", key, value)
        return ("set", key, generation, ttl_ms / 1000), encode(b"SET", key, value, b"PX", ttl_ms)

    def request(self, key_id):
        key = b"orm:%d" % key_id
        dice = self.rng.random()
        if dice < 0.05:
            return self.write(key, key_id)
        if dice < 0.06:
            return ("del", key, self.checker.next_generation(key), None), encode(b"DEL", key)
        if dice < 0.07:
            return self.write(key, key_id, self.rng.randint(200, 1500))
        return ("get", key, key_id, None), encode(b"GET", key)

    def exchange(self, server, requests):
        """One pipeline; returns the ids that were missing."""
        conn, checker, figures, missing = self.conns[server], self.checker, self.figures, []
        data = memoryview(b"".join(r[1] for r in requests))
        sent = time.monotonic()
        while data:
            data = data[conn._send_some(data):]
        for (kind, key, what, ttl_s), _ in requests:
            reply = conn.read()
            now = time.monotonic()
            if isinstance(reply, RespError):
                figures[f"{kind} refused"] += 1
                figures["refused: " + str(reply).split()[0]] += 1
                self.present.pop(key, None)
            elif kind == "set":
                figures["sets"] += 1
                checker.wrote(server, key, what, now, ttl_s)
                self.present[key] = now + ttl_s if ttl_s is not None else float("inf")
            elif kind == "del":
                figures["dels"] += 1
                checker.wrote(server, key, what, now, deleted=True)
                self.present.pop(key, None)
            else:
                figures["gets"] += 1
                figures[f"gets_{server}"] += 1
                if reply is None:
                    figures["missed"] += 1
                    if self.present.get(key, 0) > now + 0.05:
                        figures["missed though written"] += 1
                    missing.append(what)
                else:
                    checker.read(server, key, reply, sent)
        took = time.monotonic() - sent
        figures["batch_s_max"] = max(figures["batch_s_max"], took)
        return missing

    def run(self, stop):
        turn = self.number
        load = self.load
        mine = [i for i in load.ids if i % load.processes == self.number]
        at = 0
        while not (load.forever and stop.is_set()):
            if at >= len(mine):
                if not load.forever:
                    break
                at = 0
            server = turn % len(self.conns)
            turn += 1
            missing = self.exchange(server, [self.request(i) for i in mine[at : at + BATCH]])
            at += BATCH
            if missing:
                self.exchange(server, [self.write(b"orm:%d" % i, i) for i in dict.fromkeys(missing)])
        for conn in self.conns:
            conn.close()


def _work(load, number, array, stop, results):
    try:
        replayer = Replayer(load, number, Outages(array))
        replayer.run(stop)
        results.put((dict(replayer.figures), replayer.checker.violations, None))
    except BaseException:
        results.put(({}, [], traceback.format_exc(limit=-4)))


class Replay:
    """start(), perhaps faults in between with outage(), then finish()."""

    def __init__(self, load):
        self.load = load
        fork = multiprocessing.get_context("fork")
        self.array = fork.Array("d", 64)
        self.outages = Outages(self.array)
        self.stop = fork.Event()
        self.results = fork.Queue()
        self.processes = [fork.Process(target=_work, args=(load, n, self.array, self.stop, self.results), daemon=True)
                          for n in range(load.processes)]

    def start(self):
        self.begun = time.monotonic()
        for p in self.processes:
            p.start()
        return self

    def check_running(self):
        assert all(p.is_alive() for p in self.processes) or self.results.empty(), self.finish()

    def finish(self, seconds=600.0):
        """Figures and violations of all processes; an error in one of them is raised."""
        self.stop.set()
        figures, violations = Figures(), []
        until = time.monotonic() + seconds
        for _ in self.processes:
            one, wrong, error = self.results.get(timeout=max(1.0, until - time.monotonic()))
            if error:
                for p in self.processes:
                    p.kill()
                raise AssertionError("a client of the replay failed:\n" + error)
            figures.add(one)
            violations += wrong
        figures["seconds"] = time.monotonic() - self.begun
        for p in self.processes:
            p.join(10)
        return figures, violations
