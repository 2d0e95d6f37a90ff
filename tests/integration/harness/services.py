"""The servers a test starts: each in a directory of its own, ended by its process id, never by name."""
import ctypes
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

from .resp import Conn, RespError, pairs

_libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(what, condition, seconds=15.0, pause=0.01):
    """Polls condition() until it is true; its last error is part of the complaint."""
    until = time.monotonic() + seconds
    error = None
    while True:
        try:
            got = condition()
            if got:
                return got
        except (OSError, RespError, EOFError, AssertionError, subprocess.CalledProcessError) as e:
            error = e
        except Exception as e:  # Closed and friends: the other side is not there yet
            error = e
        if time.monotonic() > until:
            raise AssertionError(f"{what}: not within {seconds} s" + (f" ({error})" if error else ""))
        time.sleep(pause)


def unprivileged():
    """The user that PostgreSQL can run as: nobody in particular unless we are root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    raise RuntimeError("no unprivileged user to run PostgreSQL as")


def find_program(name):
    """Debian keeps PostgreSQL's programs out of PATH and puts pgbouncer into sbin."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin")
    if found and "/usr/local/bin" not in found:
        return found
    base = "/usr/lib/postgresql"
    versions = sorted(os.listdir(base), key=lambda v: float(v)) if os.path.isdir(base) else []
    for version in reversed(versions):
        path = f"{base}/{version}/bin/{name}"
        if os.access(path, os.X_OK):
            return path
    return found


def children_of(pid):
    """All descendants of a process, parents first."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as f:
                    parents.setdefault(int(f.read().rsplit(b")", 1)[1].split()[1]), []).append(int(entry))
            except (OSError, IndexError):
                pass
    out, todo = [], [pid]
    while todo:
        kids = parents.get(todo.pop(0), [])
        out += kids
        todo += kids
    return out


class Service:
    """A process with a log. start() waits until it answers."""

    name = "service"
    user = None
    stop_signal = signal.SIGTERM

    def __init__(self, directory):
        self.dir = directory
        self.log = os.path.join(directory, "log")
        self.process = None
        self.expect_exit = 0  # what a normal stop must return; None: anything
        self.frozen = False
        os.makedirs(directory, exist_ok=True)

    def argv(self):
        raise NotImplementedError

    def ready(self):
        raise NotImplementedError

    def environment(self):
        return dict(os.environ)

    def spawn(self):
        with open(self.log, "ab") as log:
            extra = {}
            if self.user:
                extra = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
            self.process = subprocess.Popen(
                self.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir,
                env=self.environment(), preexec_fn=_die_with_parent, **extra)

    def start(self, seconds=30.0):
        self.spawn()
        self.wait_ready(seconds)
        return self

    def wait_ready(self, seconds=30.0):
        def check():
            if self.process.poll() is not None:
                raise SystemError(f"{self.name} ended with status {self.process.returncode}:\n{self.log_tail()}")
            return self.ready()

        until = time.monotonic() + seconds
        while True:
            try:
                if check():
                    return
            except SystemError as e:
                raise AssertionError(str(e)) from None
            except Exception:
                pass
            if time.monotonic() > until:
                raise AssertionError(f"{self.name} is not ready after {seconds} s:\n{self.log_tail()}")
            time.sleep(0.01)

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def log_text(self):
        try:
            with open(self.log, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def log_tail(self, lines=25):
        return "\n".join(self.log_text().splitlines()[-lines:])

    def kill9(self):
        """SIGKILL, as an out-of-memory killer would: no goodbye."""
        self.thaw()
        pids = [self.pid] + children_of(self.pid)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(10)
        self.expect_exit = None

    def freeze(self):
        """SIGSTOP for the whole family."""
        os.kill(self.pid, signal.SIGSTOP)
        for pid in children_of(self.pid):
            try:
                os.kill(pid, signal.SIGSTOP)
            except ProcessLookupError:
                pass
        self.frozen = True

    def thaw(self):
        if not self.frozen:
            return
        for pid in children_of(self.pid) + [self.pid]:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
        self.frozen = False

    def stop(self, seconds=30.0):
        """Asks it to end and returns its exit status."""
        if self.process is None:
            return None
        self.thaw()
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill9()
                raise AssertionError(f"{self.name} did not end within {seconds} s:\n{self.log_tail()}") from None
        return self.process.returncode


class Redis(Service):
    name = "redis-server"

    def __init__(self, directory, tcp=False, options=()):
        super().__init__(directory)
        self.socket = os.path.join(directory, "redis.sock")
        self.port = free_port() if tcp else 0
        self.options = list(options)
        self.expect_exit = None

    def argv(self):
        return ["/usr/bin/redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.socket,
                "--dir", self.dir, "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction",
                *self.options]

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}" if self.port else f"redis+unix://{self.socket}"

    def connect(self, timeout=15.0):
        return Conn(self.socket, timeout)

    def ready(self):
        with self.connect(2.0) as c:
            return c.cmd("PING") == b"PONG"


class Postgres(Service):
    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": ends its sessions and shuts down

    def __init__(self, directory, template, tcp=False):
        super().__init__(directory)
        self.user = unprivileged()
        self.data = os.path.join(directory, "data")
        self.port = free_port() if tcp else 5432
        self.tcp = tcp
        self.expect_exit = None
        subprocess.run(["cp", "-a", template, self.data], check=True)
        if self.user:
            os.chown(directory, self.user.pw_uid, self.user.pw_gid)

    @staticmethod
    def make_template(directory):
        """initdb takes a second or two, a copy of its result far less."""
        user = unprivileged()
        os.makedirs(directory, mode=0o700)
        extra = {}
        if user:
            os.chown(directory, user.pw_uid, user.pw_gid)
            extra = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        subprocess.run([find_program("initdb"), "-D", directory, "-U", "pannier", "-A", "trust", "-E", "UTF8",
                        "--locale=C", "--no-sync"], check=True, stdout=subprocess.DEVNULL, cwd="/", **extra)
        with open(os.path.join(directory, "postgresql.conf"), "a") as f:
            f.write("fsync = off\nfull_page_writes = off\nshared_buffers = 64MB\nmax_wal_size = 1GB\n"
                    "max_connections = 60\nlog_line_prefix = '%m [%p] '\nautovacuum_naptime = 5s\n")
        return directory

    def argv(self):
        address = "127.0.0.1" if self.tcp else ""
        return [find_program("postgres"), "-D", self.data, "-k", self.dir, "-c", f"listen_addresses={address}",
                "-p", str(self.port)]

    def start(self, seconds=60.0):
        # After SIGKILL the children of the last one may need a moment to notice.
        until = time.monotonic() + seconds
        while True:
            try:
                super().start(seconds)
                return self
            except AssertionError:
                if self.running() or time.monotonic() > until or "still in use" not in self.log_tail():
                    raise
                time.sleep(0.1)

    def dsn(self, extra=""):
        host = "127.0.0.1" if self.tcp else self.dir
        return f"host={host} port={self.port} dbname=postgres user=pannier{extra}"

    @property
    def url(self):
        return self.dsn()

    def sql(self, statement, check=True):
        """Rows as lists of text, fields as psql prints them unaligned."""
        run = subprocess.run(["psql", "-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", self.dsn(), "-c", statement],
                             capture_output=True, text=True, timeout=60)
        if check and run.returncode != 0:
            raise AssertionError(f"psql: {run.stderr.strip()}")
        return [line.split("\t") for line in run.stdout.splitlines()]

    def ready(self):
        return self.sql("select 1") == [["1"]]


class PgBouncer(Service):
    name = "pgbouncer"

    def __init__(self, directory, postgres, mode="transaction"):
        super().__init__(directory)
        self.user = unprivileged()
        self.port = free_port()
        self.postgres = postgres
        self.expect_exit = None
        host = "127.0.0.1" if postgres.tcp else postgres.dir
        with open(os.path.join(directory, "pgbouncer.ini"), "w") as f:
            f.write(f"[databases]\npostgres = host={host} port={postgres.port} user=pannier\n[pgbouncer]\n"
                    f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\nauth_type = any\n"
                    f"pool_mode = {mode}\nmax_client_conn = 100\ndefault_pool_size = 10\n"
                    "ignore_startup_parameters = extra_float_digits\n")
        if self.user:
            for path in (directory, os.path.join(directory, "pgbouncer.ini")):
                os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def argv(self):
        return [find_program("pgbouncer"), os.path.join(self.dir, "pgbouncer.ini")]

    @property
    def url(self):
        return f"host=127.0.0.1 port={self.port} dbname=postgres user=pannier"

    def ready(self):
        run = subprocess.run(["psql", "-XAtqd", self.url, "-c", "select 1"], capture_output=True, text=True, timeout=20)
        return run.stdout.strip() == "1"


SANITIZER_WORDS = ("AddressSanitizer", "LeakSanitizer", "runtime error:", "UndefinedBehaviorSanitizer",
                   "must failed", "core dumped")


class Pannierd(Service):
    name = "pannierd"

    def __init__(self, directory, binary, io, l2=None, l3=None, options=(), environment=None, port=None):
        super().__init__(directory)
        self.binary = binary
        self.io = io
        self.port = port or free_port()
        self.admin_port = free_port()
        self.socket = os.path.join(directory, "p.sock")
        self.l2 = l2.url if isinstance(l2, Service) else l2
        self.l3 = l3.url if isinstance(l3, Service) else l3
        self.options = [str(o) for o in options]
        self.extra_environment = environment or {}

    def argv(self):
        argv = [self.binary, "--listen", f"127.0.0.1:{self.port}", "--admin", f"127.0.0.1:{self.admin_port}",
                "--unix-socket", self.socket, "--io", self.io]
        if self.l2:
            argv += ["--l2", self.l2]
        if self.l3:
            argv += ["--l3", self.l3]
        return argv + self.options

    def environment(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith("PANNIER_")}
        env["ASAN_OPTIONS"] = "detect_leaks=1:exitcode=99:detect_stack_use_after_return=0"
        env["UBSAN_OPTIONS"] = "print_stacktrace=1:halt_on_error=1:exitcode=98"
        env.update(self.extra_environment)
        return env

    def ready(self):
        with self.connect(timeout=5.0) as c:
            return c.cmd("PING") == b"PONG"

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    def connect(self, unix=False, timeout=30.0):
        return Conn(self.socket if unix else self.address, timeout)

    def http(self, path, timeout=10.0):
        """Status and text of an answer of the admin port."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=timeout) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def metrics(self):
        """{'pannier_hits_total{tier="l1"}': 12.0, ...}"""
        status, text = self.http("/metrics")
        assert status == 200, f"/metrics says {status}"
        out = {}
        for line in text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                out[name] = float(value)
        return out

    def info(self, section=None):
        with self.connect() as c:
            text = (c.cmd("INFO", section) if section else c.cmd("INFO")).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))

    def pn_get(self, key):
        with self.connect() as c:
            return pairs(c.cmd("PN.GET", key))

    def wait_tiers(self, l2=True, l3=True, seconds=30.0):
        """Until it says that its connections to the tiers work."""

        def up():
            m = self.metrics()
            return ((not l2 or m.get('pannier_tier_up{tier="l2"}', 0) >= 1)
                    and (not l3 or m.get('pannier_tier_up{tier="l3"}', 0) >= 1))

        wait_until("pannierd reaches its tiers", up, seconds)
        return self

    def wait_queues_empty(self, seconds=30.0):
        def empty():
            m = self.metrics()
            return m['pannier_queue_items{tier="l2"}'] == 0 and m['pannier_queue_items{tier="l3"}'] == 0

        wait_until("the queues to the tiers drain", empty, seconds)

    def rss_bytes(self):
        with open(f"/proc/{self.pid}/status") as f:
            return int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1)) * 1024

    def complaints(self):
        """What a sanitizer or an invariant wrote into the log."""
        return [line for line in self.log_text().splitlines() if any(w in line for w in SANITIZER_WORDS)]
