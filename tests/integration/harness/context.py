"""What a test gets: t.redis(), t.postgres(), t.pgbouncer(), t.pannierd(...). All of it ends with the test."""
import ctypes
import os
import platform

from .services import Pannierd, PgBouncer, Postgres, Redis


class Skip(Exception):
    """The test cannot be done here; the text says why."""


def once(function):
    """A test that has nothing to do with the loop: run with --io auto only."""
    function.once = True
    return function


def limit(seconds):
    """Seconds a test may take before it counts as hanging (default 120)."""

    def mark(function):
        function.limit_s = seconds
        return function

    return mark


def uring_missing():
    """Why io_uring cannot be used here, or None."""
    release = tuple(int(x) for x in platform.release().split("-")[0].split(".")[:2])
    if release < (6, 1):
        return f"kernel {platform.release()} is older than 6.1"
    libc = ctypes.CDLL(None, use_errno=True)
    params = ctypes.create_string_buffer(120)
    fd = libc.syscall(425, 1, params)  # io_uring_setup
    if fd < 0:
        return f"io_uring_setup: {os.strerror(ctypes.get_errno())}"
    os.close(fd)
    return None


class Context:
    def __init__(self, directory, build, io, template, sanitized):
        self.dir = directory
        self.build = build
        self.io = io
        self.template = template
        self.sanitized = sanitized  # slower: tests that measure time may relax
        self.services = []
        self.configs = 0
        self.notes = []  # figures worth telling

    def skip(self, why):
        raise Skip(why)

    def note(self, text):
        self.notes.append(text)

    def _path(self, kind):
        return os.path.join(self.dir, f"{kind}{len(self.services)}")

    def _start(self, service, start):
        self.services.append(service)
        return service.start() if start else service

    def redis(self, start=True, **how):
        return self._start(Redis(self._path("redis"), **how), start)

    def postgres(self, start=True, **how):
        return self._start(Postgres(self._path("pg"), self.template, **how), start)

    def pgbouncer(self, postgres, start=True, **how):
        return self._start(PgBouncer(self._path("bouncer"), postgres, **how), start)

    def pannierd(self, *options, l2=None, l3=None, start=True, io=None, **how):
        server = Pannierd(self._path("pannierd"), os.path.join(self.build, "pannierd"), io or self.io, l2, l3,
                          options, **how)
        self._start(server, start)
        if start:
            self._check_loop(server)
        return server

    def _check_loop(self, server):
        if server.io == "auto":
            return
        backend = server.info().get("io_backend")
        assert backend == server.io, f"asked for {server.io}, INFO says io_backend:{backend}"

    def config(self, text):
        """A configuration file for this test; its path."""
        self.configs += 1
        path = os.path.join(self.dir, f"pannier{self.configs}.conf")
        with open(path, "w") as f:
            f.write(text)
        return path

    def patient_config(self, policy=""):
        """Deadlines that a busy machine keeps, for tests that are not about deadlines."""
        return self.config(f"[l2]\ntimeout = 3s\n[l3]\ntimeout = 5s\n[namespace default]\ndeadline = 8s\n{policy}\n")

    def three_tiers(self, *options, policy="", patient=True, redis=None, postgres=None, **how):
        """A pannierd that reached its tiers, Redis, PostgreSQL (new ones unless given). `policy`: lines of
        [namespace default]. Not patient: with the deadlines that are the default."""
        redis, postgres = redis or self.redis(), postgres or self.postgres()
        if patient:
            options = ("--config", self.patient_config(policy), *options)
        elif policy:
            options = ("--config", self.config(f"[namespace default]\n{policy}\n"), *options)
        server = self.pannierd(*options, l2=redis, l3=postgres, **how).wait_tiers()
        return server, redis, postgres

    def program(self, name):
        return os.path.join(self.build, name)

    def close(self):
        """Ends everything, the servers first, and returns what was wrong with how they ended."""
        wrong = []
        for service in self.services:  # a test that failed may have left one standing still
            if service.running():
                service.thaw()
        for service in reversed(self.services):
            if service.process is None:
                continue
            ended_before = service.process.poll()
            try:
                status = service.stop()
            except Exception as e:
                wrong.append(str(e))
                continue
            if service.expect_exit is not None and status != service.expect_exit:
                when = "during the test" if ended_before is not None else "at its end"
                wrong.append(f"{service.name} ended {when} with status {status}, not {service.expect_exit}:\n"
                             f"{service.log_tail()}")
            if isinstance(service, Pannierd) and service.complaints():
                wrong.append("the log complains:\n" + "\n".join(service.complaints()[:10]))
        return wrong
