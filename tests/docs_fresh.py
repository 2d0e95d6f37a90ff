#!/usr/bin/env python3
"""Is the generated documentation what the tables in src/def say now?

    tests/docs_fresh.py [BUILD]           compares; exit status 1 and a diff where it is not
    tests/docs_fresh.py [BUILD] --write   renews the files

BUILD is the build directory (default `build`); docs/print_tables is built there first.
"""
import difflib
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGES = {
    '--options': 'docs/configuration.md',
    '--metrics': 'docs/metrics.md',
    '--errors': 'docs/errors.md',
    '--commands': 'docs/commands.md',
    '--example': 'deploy/pannier.conf',
}


def main(arguments):
    write = '--write' in arguments
    build = os.path.join(ROOT, ([a for a in arguments if not a.startswith('--')] or ['build'])[0])
    program = 'docs/print_tables'
    made = subprocess.run(['ninja', '-C', build, program], capture_output=True, text=True)
    if made.returncode != 0:
        print((made.stdout + made.stderr).strip())
        return 1
    stale = 0
    for flag, path in PAGES.items():
        want = subprocess.run([os.path.join(build, program), flag], capture_output=True, text=True, check=True).stdout
        file = os.path.join(ROOT, path)
        have = ''
        if os.path.exists(file):
            with open(file, encoding='utf-8') as f:
                have = f.read()
        if have == want:
            continue
        if write:
            with open(file, 'w', encoding='utf-8') as f:
                f.write(want)
            print(f'{path}: written')
            continue
        stale += 1
        print(f'{path} is not what src/def says; `tests/docs_fresh.py {os.path.basename(build)} --write` renews it')
        print(''.join(difflib.unified_diff(have.splitlines(True), want.splitlines(True), path, 'src/def', n=0)))
    return 1 if stale else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
