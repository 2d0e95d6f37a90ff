#!/usr/bin/env python3
"""Runs a test program with a PostgreSQL cluster of its own, made here, and what is needed to start it.

The program starts, freezes and kills the server (and PgBouncer, where there is one) itself. As root
the servers run as the user postgres, or as nobody. Exit status 77, skipped, without PostgreSQL.
"""
import glob
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile


def programs():
    """The folder of initdb and postgres: the newest that is installed."""
    def version(folder):
        name = folder.split("/")[-2]
        return int(name) if name.isdigit() else 0
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=version, reverse=True)
    found = shutil.which("initdb")
    if found:
        folders.append(os.path.dirname(os.path.realpath(found)))
    for folder in folders:
        if all(os.access(os.path.join(folder, name), os.X_OK) for name in ("initdb", "postgres")):
            return folder
    return None


def unprivileged():
    if os.getuid() != 0:
        return os.getuid(), os.getgid()
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
            return user.pw_uid, user.pw_gid
        except KeyError:
            continue
    return 65534, 65534


def end_leftover(path):
    """A server that its program left behind."""
    try:
        pid = int(open(path).readline())
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGQUIT)
    except (OSError, ValueError):
        pass


def main():
    folder = programs()
    if folder is None:
        print("there is no PostgreSQL server here")
        return 77
    uid, gid = unprivileged()
    # Short: it holds Unix sockets.
    directory = tempfile.mkdtemp(prefix="pn-pg-")
    data = os.path.join(directory, "data")
    try:
        os.chown(directory, uid, gid)
        as_user = {"user": uid, "group": gid, "extra_groups": []} if os.getuid() == 0 else {}
        subprocess.run([os.path.join(folder, "initdb"), "-D", data, "-U", "pannier", "-A", "trust", "-E", "UTF8",
                        "--locale=C", "--no-sync"], check=True, stdout=subprocess.DEVNULL, cwd=directory, **as_user)
        bouncer = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
        environment = dict(os.environ, PG_DIR=directory, PG_SERVER=os.path.join(folder, "postgres"),
                           PG_UID=str(uid), PG_GID=str(gid), PG_BOUNCER=bouncer or "")
        for name in [n for n in environment if n.startswith("PG") and not n.startswith("PG_")]:
            del environment[name]
        status = subprocess.run(sys.argv[1:], env=environment).returncode
        if status not in (0, 77):
            for name in ("postgres.log", "pgbouncer.log"):
                path = os.path.join(directory, name)
                if os.path.exists(path):
                    sys.stderr.write(open(path, errors="replace").read()[-3000:])
        return status if status >= 0 else 1
    finally:
        end_leftover(os.path.join(data, "postmaster.pid"))
        end_leftover(os.path.join(directory, "pgbouncer.pid"))
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
