#!/usr/bin/env python3
"""The steps of tests/run, which installs what this needs. Every kind of test ends in one count.

Not here: what is tested. Unit tests are run by Meson, integration tests by tests/integration/run.py.
"""
import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STEPS = ("tidy", "docs", "format", "deploy", "unit", "mutations", "asan", "integration", "integration-asan")
ALIASES = {"lint": ("tidy", "docs", "format"), "sanitize": ("asan", "integration-asan")}
NEEDS_BUILD = {"docs", "deploy", "unit", "integration"}
NEEDS_ASAN = {"asan", "integration-asan"}


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []
        self.skips = []

    def add(self, result, name, text=""):
        """result: pass, fail or skip."""
        if result == "pass":
            self.passed += 1
        elif result == "skip":
            self.skipped += 1
            self.skips.append(f"{name}: {text}" if text else name)
        else:
            self.failed += 1
            self.failures.append(name)


count = Count()


def say(text):
    print(text, flush=True)


def check(name, command, **how):
    """One command, one test; its output only if it fails."""
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", **how)
    if run.returncode == 77:
        result = "skip"
    else:
        result = "pass" if run.returncode == 0 else "fail"
    text = (run.stdout + run.stderr).strip()
    say(f"  {'ok  ' if result == 'pass' else result} {name}")
    if result == "fail":
        say("\n".join("       " + line for line in text.splitlines()[-40:]))
    count.add(result, name, text.splitlines()[-1] if text else "")
    return result


# --- building ----------------------------------------------------------------------------------------

def build(directory, options):
    """Configures and compiles; False, and one failure counted, if that does not work."""
    begin = time.monotonic()
    if not os.path.exists(os.path.join(ROOT, directory, "build.ninja")):
        commands = [["meson", "setup", directory, "-Dtests=enabled", *options]]
    else:
        commands = [["meson", "configure", directory, "-Dtests=enabled", *options]]
    commands.append(["ninja", "-C", directory])
    for command in commands:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
        if run.returncode != 0:
            say("\n".join((run.stdout + run.stderr).splitlines()[-60:]))
            say(f"  fail building {directory}: {' '.join(command)}")
            count.add("fail", f"building {directory}")
            return False
    say(f"  {directory} in {time.monotonic() - begin:.0f} s")
    return True


# --- the kinds of test -------------------------------------------------------------------------------

def step_tidy(_arguments):
    check("tests/tidy.py", [sys.executable, "tests/tidy.py"])
    check("tests/tidy.py --self-test", [sys.executable, "tests/tidy.py", "--self-test"])


def step_docs(_arguments):
    check("generated documentation is fresh", [sys.executable, "tests/docs_fresh.py", "build"])


def step_format(_arguments):
    name = next((n for n in ("clang-format-14", "clang-format") if shutil.which(n)), None)
    if name is None:
        say("  skip format: no clang-format")
        count.add("skip", "format", "no clang-format")
        return
    version = subprocess.run([name, "--version"], capture_output=True, text=True).stdout
    if not re.search(r"version 14\.", version):
        say(f"  skip format: {version.strip()} formats differently from 14")
        count.add("skip", "format", "clang-format is not 14")
        return
    files = [f for d in ("src", "include", "clients/c", "tests") for e in ("c", "h")
             for f in glob.glob(os.path.join(ROOT, d, "**", f"*.{e}"), recursive=True)]
    wrong = [f for f in sorted(files)
             if subprocess.run([name, "--dry-run", "-Werror", f], capture_output=True).returncode != 0]
    say(f"  {'fail' if wrong else 'ok  '} clang-format of {len(files)} files")
    for f in wrong:
        say(f"       {os.path.relpath(f, ROOT)}: `{name} -i` changes it")
    count.add("fail" if wrong else "pass", "clang-format")


def step_deploy(arguments):
    run_counted("deploy", [sys.executable, "tests/deploy_check.py", "--build", "build"], arguments)


def step_unit(arguments, directory="build"):
    """Meson runs the programs; each test case inside them is counted, not the program."""
    options = ["--no-rebuild", "--print-errorlogs"]
    if directory != "build":
        options += ["--timeout-multiplier", "5"]
    names = []
    if arguments.k:
        listed = json.loads(subprocess.run(["meson", "introspect", "--tests", directory], cwd=ROOT,
                                           capture_output=True, text=True, check=True).stdout)
        names = [t["name"] for t in listed if arguments.k in t["name"]]
        if not names:
            return
    run = subprocess.run(["meson", "test", "-C", directory, *options, *names], cwd=ROOT, capture_output=True, text=True,
                         errors="replace", env=dict(os.environ, CRITERION_DISABLE_TIME_MEASUREMENTS="1"))
    log = os.path.join(ROOT, directory, "meson-logs", "testlog.json")
    entries = []
    if os.path.exists(log):
        with open(log, errors="replace") as f:
            entries = [json.loads(line) for line in f]
    if not entries:
        say(run.stdout[-2000:] + run.stderr[-2000:])
        count.add("fail", f"unit tests in {directory}", "meson test ran nothing")
        return
    total = {"pass": 0, "fail": 0, "skip": 0}
    for entry in entries:
        name = f"{entry['name']} ({directory})"
        cases = cases_of(entry)
        for result, number in cases.items():
            total[result] += number
            for _ in range(number):
                count.add(result, name)
        if cases["fail"]:
            say(f"  fail {name}")
            say("\n".join("       " + line for line in
                          (entry.get("stdout", "") + entry.get("stderr", "")).splitlines()[-40:]))
    say(f"  {directory}: {len(entries)} programs, {total['pass']} tests passed, {total['fail']} failed, "
        f"{total['skip']} skipped")


def cases_of(entry):
    """The test cases of one program: Criterion's synthesis, or TAP, or the program as one."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", entry.get("stdout", "") + "\n" + entry.get("stderr", ""))
    ok = entry["result"] in ("OK", "EXPECTEDFAIL")
    skip = entry["result"] == "SKIP"
    found = re.findall(r"Tested: (\d+) \| Passing: (\d+) \| Failing: (\d+) \| Crashing: (\d+)", text)
    tap = re.findall(r"^\s*(not )?ok\b(.*)$", text, re.M)
    if found:
        passing = sum(int(f[1]) for f in found)
        failing = sum(int(f[2]) + int(f[3]) for f in found)
        cases = {"pass": passing, "fail": failing, "skip": 0}
    elif tap:
        skipped = sum("# skip" in rest.lower() for _, rest in tap)
        failing = sum(bool(bad) for bad, _ in tap)
        cases = {"pass": len(tap) - skipped - failing, "fail": failing, "skip": skipped}
    else:
        return {"pass": int(ok), "fail": int(not ok and not skip), "skip": int(skip)}
    if not ok and not skip and cases["fail"] == 0:
        cases["fail"] = 1  # it said that all is well and then died
    return cases


def step_mutations(_arguments):
    check("tests/sim/mutations.py", [sys.executable, "tests/sim/mutations.py"])


def step_asan(arguments):
    step_unit(arguments, "build-asan")


def run_counted(name, command, arguments):
    """A program that writes one JSON line for each test."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as results:
        command = [*command, "--results", results.name]
        if arguments.k:
            command += ["-k", arguments.k]
        status = subprocess.run(command, cwd=ROOT).returncode
        lines = results.read().splitlines()
    for line in lines:
        r = json.loads(line)
        count.add(r["result"], r["name"], r["text"])
    failed = any(json.loads(line)["result"] == "fail" for line in lines)
    if status != 0 and not failed and not (arguments.k and not lines):
        count.add("fail", name, f"ended with status {status}")


def step_integration(arguments):
    command = [sys.executable, "tests/integration/run.py", "--build", "build"]
    run_counted("integration", command + (["--quick"] if arguments.quick else []), arguments)


def step_integration_asan(arguments):
    command = [sys.executable, "tests/integration/run.py", "--build", "build-asan", "--sanitized", "--quick"]
    run_counted("integration with sanitizers", command, arguments)


# -----------------------------------------------------------------------------------------------------

def chosen_steps(arguments):
    chosen = []
    for step in arguments.step or STEPS:
        chosen += ALIASES.get(step, (step,))
    if arguments.quick and not arguments.step:
        chosen = [s for s in chosen if s not in NEEDS_ASAN and s != "mutations"]
    return [s for s in STEPS if s in chosen]


def main():
    parser = argparse.ArgumentParser(prog="tests/run", description="Builds and tests; see also CONTRIBUTING.md.")
    parser.add_argument("step", nargs="*", help=f"{', '.join(STEPS + tuple(ALIASES))}; default all")
    parser.add_argument("-k", metavar="TEXT", help="only tests whose name contains TEXT")
    parser.add_argument("--quick", action="store_true", help="no sanitizer builds, no test that takes minutes")
    parser.add_argument("--no-install", action="store_true", help="do not call deploy/install-deps")
    arguments = parser.parse_args()
    for step in arguments.step:
        if step not in STEPS and step not in ALIASES:
            parser.error(f"no step '{step}'; there are: {', '.join(STEPS + tuple(ALIASES))}")
    begin = time.monotonic()
    steps = chosen_steps(arguments)
    broken = set()
    if NEEDS_BUILD & set(steps):
        say("building")
        if not build("build", []):
            broken |= NEEDS_BUILD
    if NEEDS_ASAN & set(steps):
        say("building with ASan and UBSan")
        if not build("build-asan", ["-Db_sanitize=address,undefined", "-Db_lundef=false"]):
            broken |= NEEDS_ASAN
    for step in steps:
        if step not in broken:
            say(step)
            globals()["step_" + step.replace("-", "_")](arguments)
    for text in count.skips:
        say(f"skipped: {text}")
    for text in count.failures:
        say(f"FAILED: {text}")
    say(f"took {time.monotonic() - begin:.0f} s")
    say(f"{count.passed} passed, {count.failed} failed, {count.skipped} skipped")
    return 1 if count.failed or count.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
