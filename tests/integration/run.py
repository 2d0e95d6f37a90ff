#!/usr/bin/env python3
"""Runs the integration tests: every test_* function of every test_*.py beside this file, against real servers.

A test runs once for each loop (uring, epoll), or once if it is marked @once. Modules run in processes of their
own, a few at a time; those that measure time (EXCLUSIVE = True) run alone, at the end.
Each result is one line; the last line is `N passed, N failed, N skipped`.
"""
import argparse
import glob
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

from harness.context import Context, Skip, uring_missing  # noqa: E402
from harness.services import Postgres  # noqa: E402


class Hang(BaseException):
    """A test took longer than it may; not an Exception, so that no test catches it by accident."""


def on_alarm(_signal, _frame):
    raise Hang()


def tests_of(module, io, pattern):
    for name, function in list(vars(module).items()):
        if not name.startswith("test_") or not callable(function):
            continue
        once = getattr(function, "once", False)
        if once != (io == "auto"):
            continue
        label = f"{module.__name__[5:]}.{name[5:]}" + ("" if once else f"[{io}]")
        if not pattern or pattern in label:
            yield label, function


def run_one(label, function, arguments, io):
    """One test: (result, seconds, text)."""
    directory = tempfile.mkdtemp(prefix="t", dir=arguments.scratch)
    os.chmod(directory, 0o755)
    t = Context(directory, arguments.build, io, arguments.template, arguments.sanitized)
    begin = time.monotonic()
    result, text = "pass", ""
    scale = 3 if arguments.sanitized else 1
    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(getattr(function, "limit_s", 120) * scale)
    try:
        function(t)
    except Skip as e:
        result, text = "skip", str(e)
    except Hang:
        result, text = "fail", "took too long" + where_it_broke()
    except Exception as e:
        result, text = "fail", f"{type(e).__name__}: {str(e)[:2000]}" + where_it_broke()
    signal.alarm(60)
    try:
        wrong = t.close()
    except Hang:
        wrong = ["ending the servers took too long"]
    signal.alarm(0)
    if wrong and result != "fail":
        result, text = "fail", "\n".join(wrong)
    elif wrong:
        text += "\n" + "\n".join(wrong)
    if result == "fail":
        logs = keep_logs(t, label, arguments)
        text += f"\nlogs: {logs}"
        for service in t.services:
            if service.name == "pannierd":
                text += f"\n--- the end of {os.path.relpath(service.log, t.dir)}:\n{service.log_tail(6)}"
    shutil.rmtree(directory, ignore_errors=True)
    if t.notes and result == "pass":
        text = "; ".join(t.notes)
    return result, time.monotonic() - begin, text


def where_it_broke():
    """Files and lines of the exception at hand, without what belongs to Python or to this file."""
    frames = [f for f in traceback.extract_tb(sys.exc_info()[2]) if f.filename.startswith(HERE) and f.filename != __file__]
    return "".join(f"\n    {os.path.relpath(f.filename, HERE)}:{f.lineno}: {f.line}" for f in frames)


def keep_logs(t, label, arguments):
    where = os.path.join(arguments.logs, label)
    shutil.rmtree(where, ignore_errors=True)
    os.makedirs(where)
    for service in t.services:
        if os.path.exists(service.log):
            shutil.copy(service.log, os.path.join(where, os.path.basename(service.dir) + ".log"))
    return where


def child(arguments):
    """One module with one loop; results as JSON lines on stdout."""
    module = importlib.import_module(arguments.child)
    why_not = uring_missing() if arguments.io == "uring" else None
    for label, function in tests_of(module, arguments.io, arguments.k):
        if why_not:
            result, seconds, text = "skip", 0.0, why_not
        else:
            result, seconds, text = run_one(label, function, arguments, arguments.io)
        print(json.dumps({"name": label, "result": result, "seconds": round(seconds, 2), "text": text}), flush=True)


def show(r):
    word = {"pass": "ok  ", "fail": "FAIL", "skip": "skip"}[r["result"]]
    print(f"  {word} {r['name']} ({r['seconds']:.1f} s)" + (f": {r['text']}" if r["text"] else ""), flush=True)


def parent(arguments):
    names = sorted(os.path.basename(p)[:-3] for p in glob.glob(os.path.join(HERE, "test_*.py")))
    if arguments.modules:
        known = {n[5:] for n in names}
        unknown = [m for m in arguments.modules if m not in known]
        if unknown:
            sys.exit(f"no module {unknown[0]}; there are: {' '.join(sorted(known))}")
        names = ["test_" + m for m in arguments.modules]
    if arguments.quick:
        names = [n for n in names if not getattr(importlib.import_module(n), "SLOW", False)]
    jobs, alone = [], []
    for name in names:
        module = importlib.import_module(name)
        for io in arguments.loops + ["auto"]:
            if any(True for _ in tests_of(module, io, arguments.k)):
                (alone if getattr(module, "EXCLUSIVE", False) else jobs).append((name, io))
    jobs.sort(key=lambda job: -getattr(importlib.import_module(job[0]), "WEIGHT", 1))
    results = []
    scratch = tempfile.mkdtemp(prefix="pn-test-", dir="/tmp")
    os.chmod(scratch, 0o755)
    try:
        template = Postgres.make_template(os.path.join(scratch, "template"))
        for batch, width in ((jobs, arguments.j), (alone, 1)):
            results += run_batch(batch, width, scratch, template, arguments)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if arguments.results:
        with open(arguments.results, "w") as f:
            for r in results:
                f.write(json.dumps(r) + "\n")
    count = {k: sum(r["result"] == k for r in results) for k in ("pass", "fail", "skip")}
    print(f"{count['pass']} passed, {count['fail']} failed, {count['skip']} skipped")
    return 1 if count["fail"] or not results else 0


def read_all(fd):
    """What a pipe holds right now."""
    data = b""
    while True:
        try:
            more = os.read(fd, 1 << 16)
        except BlockingIOError:
            return data
        if not more:
            return data
        data += more


def run_batch(jobs, width, scratch, template, arguments):
    waiting, running, results = list(jobs), [], []
    while waiting or running:
        while waiting and len(running) < width:
            name, io = waiting.pop(0)
            command = [sys.executable, os.path.abspath(__file__), "--child", name, "--io", io, "--build",
                       arguments.build, "--scratch", scratch, "--template", template, "--logs", arguments.logs]
            command += ["--sanitized"] if arguments.sanitized else []
            command += ["-k", arguments.k] if arguments.k else []
            p = subprocess.Popen(command, stdout=subprocess.PIPE)
            os.set_blocking(p.stdout.fileno(), False)
            running.append({"process": p, "name": f"{name[5:]}[{io}]", "rest": b""})
        time.sleep(0.05)
        for job in list(running):
            ended = job["process"].poll() is not None
            job["rest"] += read_all(job["process"].stdout.fileno())
            *lines, job["rest"] = job["rest"].split(b"\n")
            for line in lines:
                r = json.loads(line)
                results.append(r)
                show(r)
            if ended:
                running.remove(job)
                if job["process"].returncode != 0:
                    r = {"name": job["name"], "result": "fail", "seconds": 0.0,
                         "text": f"the module's process ended with status {job['process'].returncode}"}
                    results.append(r)
                    show(r)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("modules", nargs="*", help="test_NAME.py; default all")
    parser.add_argument("-k", metavar="TEXT", help="only tests whose name contains TEXT")
    parser.add_argument("-j", type=int, default=(os.cpu_count() or 1) + 1, help="modules at a time")
    parser.add_argument("--build", default=os.path.join(HERE, "../../build"), help="directory of the programs")
    parser.add_argument("--loops", default="uring,epoll", help="loops to test, separated by commas")
    parser.add_argument("--sanitized", action="store_true", help="the programs are slow: wait longer")
    parser.add_argument("--quick", action="store_true", help="leave out the modules that take minutes")
    parser.add_argument("--results", metavar="FILE", help="write one JSON line for each test")
    parser.add_argument("--logs", help="where logs of failed tests go (default BUILD/integration-logs)")
    for hidden in ("--child", "--io", "--scratch", "--template"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.build = os.path.abspath(arguments.build)
    arguments.logs = arguments.logs or os.path.join(arguments.build, "integration-logs")
    arguments.loops = [io for io in arguments.loops.split(",") if io]
    if arguments.child:
        child(arguments)
        return 0
    if not os.access(os.path.join(arguments.build, "pannierd"), os.X_OK):
        sys.exit(f"there is no pannierd in {arguments.build}: build first (tests/run does)")
    return parent(arguments)


if __name__ == "__main__":
    sys.exit(main())
