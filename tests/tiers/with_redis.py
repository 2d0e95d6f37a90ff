#!/usr/bin/env python3
"""Runs a test program with a directory of its own and the path of redis-server in its environment.

The program starts, freezes and kills its Redis itself (which dies with it). Exit status 77, skipped,
without a redis-server.
"""
import os
import shutil
import subprocess
import sys
import tempfile


def main():
    server = next(filter(None, map(shutil.which, ("redis-server", "valkey-server"))), None)
    if server is None:
        print("there is no redis-server here")
        return 77
    # Short: it holds a Unix socket.
    directory = tempfile.mkdtemp(prefix="pn-redis-")
    try:
        environment = dict(os.environ, REDIS_SERVER=server, REDIS_DIR=directory)
        status = subprocess.run(sys.argv[1:], env=environment).returncode
        if status != 0:
            log = os.path.join(directory, "redis.log")
            if os.path.exists(log):
                sys.stderr.write(open(log, errors="replace").read()[-2000:])
        return status if status >= 0 else 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
