#!/usr/bin/env python3
"""Is what deploy/ holds right, as far as that can be told without a container engine or a cluster?

Reads the files as their tools would: systemd-analyze judges the unit, pannierd every configuration, and the Dockerfile,
compose file and manifest are checked against the tree, the packages there are, and the fixed names.
YAML is read by a small reader of its own that knows only what these files use.
"""
import argparse
import glob
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DEPLOY = os.path.join(ROOT, "deploy")


class Skip(Exception):
    pass


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


# --- YAML: maps, lists, scalars, flow maps and lists on one line, literal blocks ------------------------

def yaml_scalar(text):
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        return [yaml_scalar(part) for part in split_flow(text[1:-1])]
    if text.startswith("{") and text.endswith("}"):
        return {k.strip(): yaml_scalar(v) for k, v in (part.split(":", 1) for part in split_flow(text[1:-1]))}
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return {"true": True, "false": False, "": None}.get(text, text)


def split_flow(text):
    parts, depth, quoted, start = [], 0, "", 0
    for i, c in enumerate(text):
        if quoted:
            quoted = "" if c == quoted else quoted
        elif c in "'\"":
            quoted = c
        elif c in "[{":
            depth += 1
        elif c in "]}":
            depth -= 1
        elif c == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [p for p in parts + [text[start:]] if p.strip()]


def yaml_documents(text):
    return [yaml_block(doc.split("\n"), [0], 0) for doc in re.split(r"^---\s*$", text, flags=re.M) if doc.strip()]


def indent_of(line):
    return len(line) - len(line.lstrip(" "))


def skip_blank(lines, at):
    while at[0] < len(lines) and (not lines[at[0]].strip() or lines[at[0]].lstrip().startswith("#")):
        at[0] += 1


def yaml_block(lines, at, depth):
    skip_blank(lines, at)
    if at[0] >= len(lines) or indent_of(lines[at[0]]) < depth:
        return None
    depth = indent_of(lines[at[0]])
    out = [] if lines[at[0]].lstrip().startswith("- ") else {}
    while True:
        skip_blank(lines, at)
        if at[0] >= len(lines) or indent_of(lines[at[0]]) < depth:
            return out
        line = lines[at[0]]
        if "\t" in line or indent_of(line) != depth:
            raise AssertionError(f"indentation of {line!r}")
        if isinstance(out, list):
            if not line.lstrip().startswith("- "):
                return out
            rest = line[depth + 2:]
            if re.match(r"[\w.-]+:(\s|$)", rest):
                lines[at[0]] = " " * (depth + 2) + rest
                out.append(yaml_block(lines, at, depth + 2))
            else:
                out.append(yaml_scalar(rest))
                at[0] += 1
            continue
        m = re.match(r"([\w./-]+):(?:\s+(.*))?$", line[depth:])
        if not m:
            raise AssertionError(f"not a line of a map: {line!r}")
        key, rest = m.group(1), re.sub(r"\s+#.*$", "", m.group(2) or "")
        if key in out:
            raise AssertionError(f"{key} twice")
        at[0] += 1
        if rest == "|":
            out[key] = yaml_literal(lines, at, depth)
        elif rest:
            out[key] = yaml_scalar(rest)
        else:
            skip_blank(lines, at)
            deeper = at[0] < len(lines) and (indent_of(lines[at[0]]) > depth
                                             or indent_of(lines[at[0]]) == depth and lines[at[0]].lstrip().startswith("- "))
            out[key] = yaml_block(lines, at, depth) if deeper else None


def yaml_literal(lines, at, depth):
    first, taken = at[0], []
    while at[0] < len(lines) and (not lines[at[0]].strip() or indent_of(lines[at[0]]) > depth):
        taken.append(lines[at[0]])
        at[0] += 1
    inner = indent_of(lines[first])
    return "\n".join(line[inner:] for line in taken).rstrip("\n") + "\n"


# --- the checks -----------------------------------------------------------------------------------------

def pannierd(build, *arguments, expect=0):
    env = {k: v for k, v in os.environ.items() if not k.startswith("PANNIER_")}
    p = subprocess.run([os.path.join(build, "pannierd"), *arguments], capture_output=True, text=True, env=env, timeout=30)
    assert p.returncode == expect, f"pannierd {' '.join(arguments)}: status {p.returncode}: {p.stdout}{p.stderr}"
    return p.stdout + p.stderr


def judged_by_pannierd(build, text):
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
        f.write(text)
        f.flush()
        return pannierd(build, "--config", f.name, "--check-config")


def check_example_configurations(build):
    paths = sorted(glob.glob(os.path.join(DEPLOY, "examples", "*.conf"))) + [os.path.join(DEPLOY, "pannier.conf")]
    assert len(paths) >= 4
    for path in paths:
        pannierd(build, "--config", path, "--check-config")


def check_full_example_with_everything_uncommented(build):
    """Every default that deploy/pannier.conf shows is one that pannierd takes."""
    text = re.sub(r"^# ([a-z0-9-]+ = .*)$", r"\1", read("deploy/pannier.conf"), flags=re.M)
    text = re.sub(r"^# (\[namespace.*\])$", r"\1", text, flags=re.M)
    text = re.sub(r"^[a-z0-9-]+ = *$", "", text, flags=re.M)
    assert text.count("\n") > 50
    judged_by_pannierd(build, text)


def check_systemd_unit(build):
    if shutil.which("systemd-analyze") is None:
        raise Skip("no systemd-analyze")
    text = read("deploy/systemd/pannierd.service")
    with tempfile.TemporaryDirectory() as d:
        unit = os.path.join(d, "pannierd.service")
        with open(unit, "w") as f:  # the program is where it was built, not installed
            f.write(text.replace("/usr/bin/pannierd", os.path.join(build, "pannierd")))
        p = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
        assert p.returncode == 0 and not p.stderr.strip(), p.stderr
        p = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=20", unit],
                           capture_output=True, text=True)
        if "nrecognized option" not in p.stderr:
            assert p.returncode == 0, "\n".join(p.stdout.splitlines()[-3:]) + p.stderr
    for name in ("ExecReload=/bin/kill -HUP", "NoNewPrivileges=yes", "DynamicUser=yes"):
        assert name in text, f"the unit lacks {name}"
    assert int(re.search(r"TimeoutStopSec=(\d+)", text).group(1)) > 20, "systemd would kill it while it drains"


def dockerfile_instructions(text):
    joined = re.sub(r"\\\n(\s*#.*\n)*", " ", text)
    for line in joined.splitlines():
        if line.strip() and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            yield word, rest.strip()


def check_dockerfile(_build):
    known = {"FROM", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
    stages, user, copied = [], None, []
    for word, rest in dockerfile_instructions(read("deploy/container/Dockerfile")):
        assert word in known, f"unknown instruction {word}"
        if word == "FROM":
            m = re.fullmatch(r"(\S+)(?: AS (\S+))?", rest)
            assert m and m.group(1) == "debian:12-slim", rest
            stages.append(m.group(2))
            user = None
        elif word == "COPY":
            source = re.match(r"--from=(\S+)\s+", rest)
            if source:
                assert source.group(1) in stages, f"no stage {source.group(1)}"
                continue
            for path in rest.split()[:-1]:
                assert os.path.exists(os.path.join(ROOT, path)), f"COPY {path}: there is no such file"
                copied.append(path)
        elif word == "USER":
            user = rest
        elif word in ("ENTRYPOINT", "CMD"):
            assert isinstance(json.loads(rest), list), rest
    assert len(stages) == 2 and user and not user.startswith(("0", "root")), "the program must not run as root"
    for path in meson_subdirs():
        assert any(path == c or path.startswith(c + "/") for c in copied), f"the build needs {path}, which is not copied"


def meson_subdirs():
    """What the build reads when tests are disabled."""
    text = read("meson.build")
    without_tests = re.sub(r"^if criterion\.found\(\)$.*?^endif$", "", text, flags=re.M | re.S)
    return ["meson.build", "meson_options.txt"] + re.findall(r"^subdir\('([^']+)'\)", without_tests, re.M)


def packages_in(text):
    for command in re.findall(r"apt-get install[^&]*", re.sub(r"\\\n", " ", text)):
        yield from (w for w in command.split()[2:] if not w.startswith("-"))


def check_packages_exist(_build):
    """Every package that the Dockerfile and install-deps name is one that apt knows (on Debian 12)."""
    if "bookworm" not in read("/etc/os-release"):
        raise Skip("package names are checked on Debian 12")
    names = set(packages_in(read("deploy/container/Dockerfile")))
    groups = re.search(r"packages_of\(\) \{(.*?)^\}", read("deploy/install-deps"), re.M | re.S).group(1)
    names |= set(re.findall(r"(?<=\s)[a-z][a-z0-9.+-]+(?=[\s;\\])", re.sub(r"\\\n", " ", groups))) - {"case", "in", "echo", "esac"}
    assert len(names) > 25, names
    p = subprocess.run(["apt-cache", "policy", *sorted(names)], capture_output=True, text=True)
    known = set(re.findall(r"^(\S+):$", p.stdout, re.M))
    nothing = set(re.findall(r"^(\S+):\n  Installed: \(none\)\n  Candidate: \(none\)", p.stdout, re.M))
    if len(known) < len(names) // 2:
        raise Skip("apt has no package lists here")
    missing = (names - known) | nothing
    assert not missing, f"apt knows no {', '.join(sorted(missing))}"


def check_build_packages_agree(_build):
    """The Dockerfile builds with what install-deps calls the build group."""
    group = re.search(r"build\) echo (.*?);;", read("deploy/install-deps"), re.S).group(1)
    wanted = set(re.sub(r"\\\n", " ", group).split())
    first_stage = read("deploy/container/Dockerfile").split("\nFROM ")[1]
    assert set(packages_in(first_stage)) == wanted, set(packages_in(first_stage)) ^ wanted


def variables_are_options(environment):
    """PANNIER_* variables of a file are options that exist."""
    rows = re.findall(r'^OPTION\(\w+,\s*(\w+),\s*"([^"]+)"', read("src/def/options.def"), re.M)
    names = {"PANNIER_CONFIG"}
    for section, name in rows:
        full = name if section == "server" else section if name == "url" else f"{section}-{name}"
        names.add("PANNIER_" + full.upper().replace("-", "_"))
    for name in environment:
        assert not name.startswith("PANNIER_") or name in names, f"{name} is no option"


def check_compose(_build):
    (compose,) = yaml_documents(read("deploy/container/compose.yaml"))
    services = compose["services"]
    assert set(services) == {"pannier", "redis", "postgres"}
    pannier = services["pannier"]
    assert os.path.samefile(os.path.join(DEPLOY, "container", pannier["build"]["context"]), ROOT)
    assert os.path.exists(os.path.join(ROOT, pannier["build"]["dockerfile"]))
    variables_are_options(pannier["environment"])
    assert "//redis:" in pannier["environment"]["PANNIER_L2"] and "host=postgres " in pannier["environment"]["PANNIER_L3"]
    for port in pannier["ports"]:
        assert port.startswith("127.0.0.1:"), f"{port} is open to the network"
    assert {p.split(":")[-1] for p in pannier["ports"]} == {"7171", "7172"}
    assert "allkeys" not in " ".join(map(str, services["redis"]["command"])), "Redis must not evict what has no TTL"
    for volume in services["postgres"]["volumes"]:
        assert volume.split(":")[0] in compose["volumes"]


def check_kubernetes(build):
    documents = {d["kind"]: d for d in yaml_documents(read("deploy/kubernetes/sidecar.yaml"))}
    assert set(documents) == {"ConfigMap", "Secret", "Deployment"}
    config = documents["ConfigMap"]["data"]["pannier.conf"]
    judged_by_pannierd(build, config)
    deployment = documents["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    containers = {c["name"]: c for c in pod["containers"]}
    pannier = containers["pannier"]
    assert pannier["securityContext"]["readOnlyRootFilesystem"] is True
    assert pannier["securityContext"]["allowPrivilegeEscalation"] is False
    ports = {p["name"]: p["containerPort"] for p in pannier["ports"]}
    assert ports["admin"] == 7172
    for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert pannier[probe]["httpGet"] == {"path": path, "port": "admin"}, pannier[probe]
    variables_are_options(e["name"] for e in pannier["env"])
    secret = documents["Secret"]
    for e in pannier["env"]:
        ref = e["valueFrom"]["secretKeyRef"]
        assert ref["name"] == secret["metadata"]["name"] and ref["key"] in secret["stringData"], ref
    volumes = {v["name"]: v for v in pod["volumes"]}
    socket_dir = os.path.dirname(re.search(r"unix-socket = (\S+)", config).group(1))
    for container in containers.values():
        mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
        assert mounts["socket"] == socket_dir and set(mounts) <= set(volumes)
    assert "emptyDir" in volumes["socket"]
    assert volumes["config"]["configMap"]["name"] == documents["ConfigMap"]["metadata"]["name"]
    drain = int(re.search(r"drain-timeout = (\d+)s", config).group(1))
    assert pod["terminationGracePeriodSeconds"] > drain
    memory = int(re.search(r"memory = (\d+)mb", config).group(1))
    limit = int(pannier["resources"]["limits"]["memory"].removesuffix("Mi"))
    assert memory <= 0.7 * limit, f"{memory} MiB is more than 70 % of the limit of {limit}"


def check_seccomp(_build):
    """Exactly the three system calls of io_uring are added, whatever the profile was."""
    default = {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": ["SCMP_ARCH_X86_64"],
               "syscalls": [{"names": ["read", "write", "epoll_wait"], "action": "SCMP_ACT_ALLOW"},
                            {"names": ["io_uring_setup", "ptrace"], "action": "SCMP_ACT_ERRNO"},
                            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1}]}]}
    for installed in glob.glob("/usr/share/containers/seccomp.json"):
        with open(installed) as f:
            compare_profiles(json.load(f))
    made = compare_profiles(default)
    assert made["syscalls"][1]["names"] == ["ptrace"], "a rule that forbids it must not stand before one that allows it"
    compare_profiles(made)
    with tempfile.NamedTemporaryFile("w") as f:
        f.write("[1, 2]")
        f.flush()
        p = subprocess.run([os.path.join(DEPLOY, "seccomp/make-profile"), f.name], capture_output=True, text=True)
        assert p.returncode == 2 and "not a seccomp profile" in p.stderr


def compare_profiles(default):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(default, f)
        f.flush()
        p = subprocess.run([os.path.join(DEPLOY, "seccomp/make-profile"), f.name], capture_output=True, text=True)
        assert p.returncode == 0, p.stderr
    made = json.loads(p.stdout)

    def allowed(profile):
        return {n for r in profile["syscalls"] if r["action"] == "SCMP_ACT_ALLOW" and not r.get("args")
                and not r.get("includes") and not r.get("excludes") for n in r["names"]}
    three = {"io_uring_setup", "io_uring_enter", "io_uring_register"}
    assert allowed(made) == allowed(default) | three
    for key in default:
        assert key == "syscalls" or made[key] == default[key], f"{key} changed"
    return made


def check_scripts_parse(_build):
    for path in ("deploy/quickstart", "deploy/install-deps", "tests/run", ".ci/run"):
        full = os.path.join(ROOT, path)
        assert os.access(full, os.X_OK), f"{path} cannot be executed"
        p = subprocess.run(["bash", "-n", full], capture_output=True, text=True)
        assert p.returncode == 0, p.stderr
        assert "set -euo pipefail" in read(path), path


def check_install_deps(_build):
    """A second run does nothing and is quick; an unknown group is an error that names the known ones."""
    script = os.path.join(DEPLOY, "install-deps")
    p = subprocess.run([script, "--check", "build", "run", "test"], capture_output=True, text=True, timeout=20)
    assert p.returncode == 0, p.stdout
    p = subprocess.run([script, "nonsense"], capture_output=True, text=True, timeout=20)
    assert p.returncode == 2 and "build run test" in p.stderr, p.stderr
    if os.geteuid() == 0 and shutil.which("setpriv"):
        with tempfile.TemporaryDirectory() as d:
            os.chmod(d, 0o755)
            fake = os.path.join(d, "dpkg-query")  # nothing is installed, says this one
            with open(fake, "w") as f:
                f.write("#!/bin/sh\nexit 1\n")
            os.chmod(fake, 0o755)
            copy = shutil.copy(script, d)
            env = {"PATH": f"{d}:/usr/bin:/bin" if not shutil.which("sudo", path="/usr/bin:/bin") else d + ":" + plain_path(d)}
            p = subprocess.run(["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/bin/bash", copy,
                                "build"], capture_output=True, text=True, env=env, cwd="/", stdin=subprocess.DEVNULL)
            assert p.returncode == 1 and ("root or sudo" in p.stderr or "password" in p.stderr), (p.returncode, p.stderr)


def plain_path(directory):
    """A PATH with what the script needs, but without sudo."""
    inside = os.path.join(directory, "bin")
    os.makedirs(inside, exist_ok=True)
    for name in ("bash", "id", "cat", "apt-get", "readlink", "fold", "sed", "env"):
        if shutil.which(name):
            os.symlink(shutil.which(name), os.path.join(inside, name))
    return inside


def quickstart(*arguments, expect=0, timeout=240):
    p = subprocess.run([os.path.join(DEPLOY, "quickstart"), *arguments], capture_output=True, text=True, timeout=timeout,
                       stdin=subprocess.DEVNULL)
    assert p.returncode == expect, f"quickstart {' '.join(arguments)}: {p.returncode}\n{p.stdout}{p.stderr}"
    for line in p.stdout.splitlines():
        assert len(line) <= 80, f"{len(line)} columns: {line}"
    return p.stdout + p.stderr


def free_ports():
    """A port whose successor is free too."""
    while True:
        with socket.socket() as a, socket.socket() as b:
            a.bind(("127.0.0.1", 0))
            try:
                b.bind(("127.0.0.1", a.getsockname()[1] + 1))
                return str(a.getsockname()[1])
            except (OSError, OverflowError):
                pass


def check_quickstart(_build):
    """Starts all, shows the tiers, does nothing the second time, stops all. On a port of its own."""
    state = subprocess.run([os.path.join(DEPLOY, "quickstart"), "--status"], capture_output=True, text=True)
    if state.returncode == 0 or "runs, process" in state.stdout:
        raise Skip("a quickstart of this checkout is running; it is left alone")
    port = free_ports()
    try:
        text = quickstart("--port", port)
        for words in ("hit in L1", "hit in L2", "hit in L3", "What to type next"):
            assert words in text, f"{words!r} is not in:\n{text}"
        first = re.findall(r"process (\d+)", text)
        assert len(first) == 3
        again = quickstart("--port", port, timeout=60)
        assert re.findall(r"process (\d+)", again) == first and "nothing, all of it was running" in again, again
        status = quickstart("--status")
        assert all(pid in status for pid in first)
        for pid in first:
            assert os.path.exists(f"/proc/{pid}")
    finally:
        quickstart("--stop")
    for pid in first:
        if os.path.exists(f"/proc/{pid}"):
            with open(f"/proc/{pid}/status") as f:
                assert re.search(r"State:\s+Z", f.read()), f"process {pid} still runs"
    quickstart("--status", expect=1)


def check_quickstart_embedded(_build):
    state = subprocess.run([os.path.join(DEPLOY, "quickstart"), "--status"], capture_output=True, text=True)
    if "runs, process" in state.stdout:
        raise Skip("a quickstart of this checkout is running; it is left alone")
    port = free_ports()
    try:
        text = quickstart("--embedded", "--port", port)
        assert "hit in L1" in text and "hit in L2" not in text, text
    finally:
        quickstart("--stop")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = taken.getsockname()[1]
        text = quickstart("--embedded", "--port", str(busy), expect=1)
        assert f"port {busy}" in text and "--port" in text, text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--results", metavar="FILE")
    parser.add_argument("-k", metavar="TEXT", help="only checks whose name contains TEXT")
    arguments = parser.parse_args()
    results = []
    for name, function in list(globals().items()):
        if not name.startswith("check_") or arguments.k and arguments.k not in name:
            continue
        label = "deploy." + name[6:]
        try:
            function(os.path.abspath(arguments.build))
            result, text = "pass", ""
        except Skip as e:
            result, text = "skip", str(e)
        except Exception as e:
            result, text = "fail", f"{type(e).__name__}: {e}"
        results.append({"name": label, "result": result, "text": text})
        word = {"pass": "ok  ", "fail": "FAIL", "skip": "skip"}[result]
        print(f"  {word} {label}" + (f": {text}" if text else ""), flush=True)
    if arguments.results:
        with open(arguments.results, "w") as f:
            f.writelines(json.dumps(r) + "\n" for r in results)
    return 1 if any(r["result"] == "fail" for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
