#!/usr/bin/env python3
"""What a reviewer should not have to say: layers, lengths, banned calls, globals, leftovers.

Reads the sources as text and prints `file:line: what` for each complaint; exit status 1 if there is
one. `--self-test` runs the same checks on small planted mistakes instead. It is no parser: it relies
on clang-format, which puts every function's braces at the start of a line.
"""
import os
import re
import sys

LINES_MAX, FUNCTION_LINES_MAX, COLUMNS_MAX = 600, 70, 100
PURE = ('cache', 'wire', 'request')
BELOW_SERVER = ('base',) + PURE + ('io',)
# Who may include whom. cache and wire do not know each other.
MAY_INCLUDE = {
    'base': {'base'},
    'cache': {'base', 'cache'},
    'wire': {'base', 'wire'},
    'request': {'base', 'cache', 'wire', 'request'},
    'io': {'base', 'cache', 'wire', 'request', 'io'},
    'server': {'base', 'cache', 'wire', 'request', 'io', 'server'},
    'main': {'base', 'cache', 'wire', 'request', 'io', 'server'},
    'cli': {'base', 'wire', 'cli'},
    'bench': {'base', 'wire', 'bench'},
}
LIBRARIES_OF_IO = re.compile(r'(hiredis|libpq-fe|libpq/|liburing|microhttpd|openssl/)')
SYSTEM = re.compile(r'(unistd|time|fcntl|poll|signal|netdb|dirent|sys/(socket|epoll|stat|mman|eventfd|'
                    r'timerfd|time|select|un)|netinet/\w+|arpa/inet)\.h$')
BANNED = re.compile(r'(?<![\w.>])(strcpy|strcat|sprintf|vsprintf|gets|atoi|atol|atof|strtok|time|rand|'
                    r'srand|random)\s*\(')
ALLOCATES = re.compile(r'(?<![\w.>])(malloc|calloc|realloc|free|strdup|strndup|asprintf|aligned_alloc|'
                       r'posix_memalign)\s*\(')
CLOCK = re.compile(r'(?<![\w.>])(clock_gettime|gettimeofday|timespec_get)\s*\(')
LEFTOVER = re.compile(r'\b(TODO|FIXME|XXX)\b')
# Paths of the machine that somebody wrote this on.
MACHINE = re.compile(r'(?<![\w./}*-])/(?:work|home|root|Users|mnt)/\w|/tmp/(?!pannier|pn)\w')
MUTABLE_ALLOWED = {('src/base/log.c', 'log_level'), ('src/base/mem.c', 'in_use'),
                   ('src/base/mem.c', 'ceiling')}
SKIPPED_FOLDERS = {'.git', 'node_modules', '__pycache__', '.quickstart', '.mypy_cache'}


def without_comments(text):
    """Comments and the insides of literals become spaces; lines stay where they are."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)

    def blank(match):
        found = match.group(0)
        inside = re.sub(r'[^\n]', ' ', found)
        return found[0] + inside[1:-1] + found[-1] if found[0] in '"\'' else inside
    return token.sub(blank, text)


def layer_of(path):
    parts = path.split('/')
    if parts[0] != 'src':
        return None
    return 'main' if parts[1] == 'main.c' else parts[1]


def check_includes(path, text):
    layer = layer_of(path)
    for number, line in enumerate(text.split('\n'), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)', line)
        if not match:
            continue
        bracket, name = match.groups()
        first = name.split('/')[0]
        if layer in MAY_INCLUDE and bracket == '"' and '/' in name:
            if first not in MAY_INCLUDE[layer] | {'def', 'pannier'}:
                yield number, f'{layer} may not include {name}: the layer line'
        if path.startswith(('src/', 'clients/c/')) and layer != 'io' and LIBRARIES_OF_IO.match(name):
            yield number, f'{name} belongs in src/io'
        if layer in PURE and bracket == '<' and SYSTEM.match(name):
            yield number, f'{layer} is pure: no {name}'


def check_calls(path, code):
    product = path.startswith(('src/', 'clients/c/'))
    for number, line in enumerate(code.split('\n'), 1):
        for match in BANNED.finditer(line) if product else ():
            yield number, f'{match.group(1)}() is banned'
        for match in ALLOCATES.finditer(line) if path.startswith('src/') else ():
            if path != 'src/base/mem.c':
                yield number, f'{match.group(1)}() is for base/mem.c alone: mem_alloc(), mem_free()'
        for match in CLOCK.finditer(line) if path.startswith('src/') else ():
            if path not in ('src/io/clock_os.c', 'src/base/log.c') and layer_of(path) not in ('cli', 'bench'):
                yield number, f'{match.group(1)}() is for io/clock_os.c alone: time is an argument'


def check_functions(path, code):
    opened = None
    for number, line in enumerate(code.split('\n'), 1):
        if line == '{':
            opened = number
        elif line.startswith('}') and opened is not None:
            if number - opened - 1 > FUNCTION_LINES_MAX:
                yield opened, f'{number - opened - 1} lines in one function; at most {FUNCTION_LINES_MAX}'
            opened = None


def variable_of(statement):
    """The name of the mutable variable that this declaration defines; None where it defines none."""
    head = re.sub(r'__attribute__\s*\(\(.*?\)\)|\bmust_use\b|\bprintf_like\([^)]*\)', ' ', statement)
    head = re.sub(r'\{.*', ' ', head, flags=re.S) if '=' in head.split('{')[0] else head
    head = re.sub(r'\{.*\}', ' ', head, flags=re.S).split('=')[0].strip().rstrip(';').strip()
    if re.match(r'(typedef|extern|enum|_Static_assert|static_assert)\b', head) and not head.startswith('static '):
        return None
    pointer = re.search(r'\(\s*\*\s*(const\b)?\s*(\w+)', head)
    if pointer:
        return None if pointer.group(1) or '(' not in head.split('*')[0] else pointer.group(2)
    if '(' in head:
        return None
    head = re.sub(r'\[[^\]]*\]', ' ', head).split(',')[0].strip()
    words = re.findall(r'\w+', head)
    if len(words) < 2 or words[0] in ('struct', 'union') and len(words) < 3:
        return None
    object_part = head.rsplit('*', 1)[1] if '*' in head else head
    return None if re.search(r'\bconst\b', object_part) else words[-1]


def check_variables(path, code):
    if layer_of(path) not in BELOW_SERVER or not path.endswith('.c'):
        return
    code = re.sub(r'^\s*#(?:[^\n\\]|\\.|\\\n)*', lambda m: '\n' * m.group(0).count('\n'), code, flags=re.M)
    depth, start, in_function = 0, 0, False
    for at, letter in enumerate(code):
        if letter == '{':
            in_function |= depth == 0 and code[at - 1:at + 2] == '\n{\n'
            depth += 1
        elif letter == '}':
            depth -= 1
        if not (letter == ';' or letter == '}' and depth == 0 and in_function):
            if letter == '{' and in_function:
                start = at + 1
            continue
        statement = code[start:at + 1].strip()
        number = code.count('\n', 0, start + len(code[start:at + 1]) - len(code[start:at + 1].lstrip())) + 1
        if depth == 0 and letter == ';' or in_function and depth and re.match(r'static\b', statement):
            name = variable_of(statement)
            if name and (path, name) not in MUTABLE_ALLOWED:
                yield number, f'{name} is a variable outside a function or static; state is passed as an argument'
        if depth == 0:
            in_function = False
        if depth == 0 or in_function:
            start = at + 1


def check_guard(path, text):
    if path.endswith('.h') and path.startswith(('src/', 'include/', 'clients/c/')):
        guard = re.search(r'^#ifndef (PN_\w+_H|PANNIER_\w+_H)\n#define \1$', text, re.M)
        if not guard:
            yield 1, 'no include guard PN_..._H'


def check_text(path, text):
    lines = text.split('\n')
    is_c, wide = path.endswith(('.c', '.h')), path.endswith('.def')
    if is_c or path.endswith(('.py', '.def')):
        if len(lines) - 1 > LINES_MAX:
            yield LINES_MAX + 1, f'{len(lines) - 1} lines; at most {LINES_MAX} a file'
    for number, line in enumerate(lines, 1):
        if is_c and not wide and len(line) > COLUMNS_MAX:
            yield number, f'{len(line)} columns; at most {COLUMNS_MAX}'
        if LEFTOVER.search(line):
            yield number, 'a leftover: do it or write it down where work is planned'
        if MACHINE.search(line):
            yield number, 'a path of somebody\'s own machine'
    if is_c:
        code = without_comments(text)
        yield from check_includes(path, text)
        yield from check_calls(path, code)
        yield from check_functions(path, code)
        yield from check_variables(path, code)
        yield from check_guard(path, text)


def files(root):
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED_FOLDERS and not f.startswith('build'))
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), root)
            if path != 'tests/tidy.py':
                yield path


def check_tree(root):
    complaints = 0
    for path in files(root):
        try:
            with open(os.path.join(root, path), encoding='utf-8') as f:
                text = f.read()
        except (UnicodeDecodeError, OSError):
            continue  # not text: nothing here speaks of it
        for number, what in check_text(path, text):
            print(f'{path}:{number}: {what}')
            complaints += 1
    return complaints


# path, text, a part of the one complaint it must cause; None: it must cause none.
PLANTED = [
    ('src/cache/a.c', '#include "wire/resp.h"\n', 'layer line'),
    ('src/wire/a.c', '#include "cache/l1.h"\n', 'layer line'),
    ('src/base/a.c', '#include "cache/l1.h"\n', 'layer line'),
    ('src/request/a.c', '#include "io/loop.h"\n', 'layer line'),
    ('src/io/a.c', '#include "server/worker.h"\n', 'layer line'),
    ('src/io/a.c', '#include "request/env.h"\n#include <liburing.h>\n', None),
    ('src/server/a.c', '#include <libpq-fe.h>\n', 'src/io'),
    ('src/server/a.c', '#include <microhttpd.h>\n', 'src/io'),
    ('src/request/a.c', '#include <hiredis/read.h>\n', 'src/io'),
    ('src/cache/a.c', '#include <unistd.h>\n', 'pure'),
    ('src/server/a.c', 'int\nf(void)\n{\n' + '        g();\n' * 71 + '}\n', '71 lines in one'),
    ('src/server/a.c', 'int\nf(void)\n{\n' + '        g();\n' * 70 + '}\n', None),
    ('src/server/a.c', '\n' * 601, '601 lines'),
    ('src/server/a.c', '\n' * 600, None),
    ('src/server/a.c', '/* ' + 'x' * 98 + '\n*/\n', '101 columns'),
    ('src/server/a.c', '/* ' + 'x' * 97 + '\n*/\n', None),
    ('src/io/a.c', 'int\nf(void)\n{\n        strcpy(a, b);\n}\n', 'strcpy() is banned'),
    ('clients/c/a.c', 'int\nf(void)\n{\n        sprintf(a, "b");\n}\n', 'sprintf() is banned'),
    ('src/io/a.c', 'int\nf(void)\n{\n        return time(NULL) + x.time(1) + my_time(2);\n}\n', 'time() is'),
    ('src/io/a.c', '/* strcpy(a, b) */\nint\nf(void)\n{\n        g("rand()");\n}\n', None),
    ('src/io/a.c', 'int\nf(void)\n{\n        free(p);\n}\n', 'mem_free'),
    ('clients/c/a.c', 'int\nf(void)\n{\n        free(p);\n}\n', None),
    ('src/io/a.c', 'int\nf(void)\n{\n        clock_gettime(0, &t);\n}\n', 'io/clock_os.c'),
    ('src/io/clock_os.c', 'int\nf(void)\n{\n        clock_gettime(0, &t);\n}\n', None),
    ('src/cache/a.c', 'static int counter;\n', 'counter is a variable'),
    ('src/cache/a.c', 'struct a *first = NULL;\n', 'first is a variable'),
    ('src/cache/a.c', 'static const char *name = "x";\n', 'name is a variable'),
    ('src/cache/a.c', 'static const char *const names[] = { "x", "y" };\nstruct a {\n        int b;\n};\n', None),
    ('src/cache/a.c', 'static void (*hook)(int);\n', 'hook is a variable'),
    ('src/cache/a.c', 'int f(int a);\ntypedef int t;\nextern int g(void);\nstruct b;\nenum { A = 1 };\n', None),
    ('src/cache/a.c', 'int\nf(void)\n{\n        static int calls;\n        return calls++;\n}\n', 'calls is'),
    ('src/cache/a.c', 'int\nf(void)\n{\n        int a = 1;\n        static const int b = 2;\n        return a;\n}\n',
     None),
    ('src/server/a.c', 'static int counter;\n', None),
    ('src/base/log.c', 'static enum log_level log_level = LOG_INFO;\n', None),
    ('src/cache/a.h', 'int f(void);\n', 'include guard'),
    ('src/cache/a.h', '#ifndef PN_CACHE_A_H\n#define PN_CACHE_A_H\n#endif\n', None),
    ('src/io/a.c', '/* TO' 'DO later */\n', 'leftover'),
    ('README.md', 'FIX' 'ME\n', 'leftover'),
    ('deploy/a.sh', 'cd /ho' 'me/somebody/pannier\n', 'own machine'),
    ('deploy/a.sh', 'cd /tmp/tea' 'm && ls /tmp/pannier.sock\n', 'own machine'),
    ('README.md', 'https://example.org/work/of/others and src/home/x\n', None),
]


def self_test():
    wrong = 0
    for path, text, want in PLANTED:
        got = [what for _, what in check_text(path, text)]
        fine = not got if want is None else len(got) == 1 and want in got[0]
        if not fine:
            print(f'{path}: planted {text[:60]!r}: wanted {want!r}, got {got}')
            wrong += 1
    print(f'{len(PLANTED) - wrong} of {len(PLANTED)} planted texts judged as they should be')
    return wrong


if __name__ == '__main__':
    ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.exit(1 if (self_test() if '--self-test' in sys.argv[1:] else check_tree(ROOT)) else 0)
