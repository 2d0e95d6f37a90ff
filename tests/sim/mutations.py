#!/usr/bin/env python3
"""Breaks one rule of the engine at a time and sees that the tests in this folder mind.

Each mutation names a rule, a file of src/request and one replacement in it. It is built apart (nothing
in the tree changes) and given to the directed tests and to random runs: one of them must fail, or the
mutation has survived and the exit status is 1. A replacement that no longer fits its file is an error,
too. EQUIVALENT lists what cannot be told from the original, and why.

mutations.py [-k TEXT] [--jobs N] [--seeds N]; ends with one line: N caught, N survived.
"""
import argparse
import concurrent.futures
import glob
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ENGINE = [f"src/request/{n}.c" for n in (
    "env", "floors", "lookup", "newest", "op", "op_flush", "op_get", "op_line", "op_make", "op_write",
    "queues", "request")]
WORLD = ["tests/sim/tier.c", "tests/sim/world.c"]
RUNS = ["tests/sim/random_runs.c", "tests/sim/oracle.c"]
TESTS = ["tests/sim/test_engine.c", "tests/sim/test_lookups.c", "tests/sim/test_writes.c",
         "tests/sim/test_queues.c"]
CFLAGS = ["-std=gnu17", "-D_GNU_SOURCE", "-O1", "-w", "-Isrc", "-I."]
LIBRARIES = ["-lxxhash", "-llz4", "-lpthread"]

LOOKUP, WRITE, GET, QUEUES = (f"src/request/{n}.c" for n in ("lookup", "op_write", "op_get", "queues"))
NEWEST, LINE, MAKE, FLOORS = (f"src/request/{n}.c" for n in ("newest", "op_line", "op_make", "floors"))

# (rule, file, what stands there once, what stands there in the mutant)
MUTATIONS = [
    # looking up
    ("tomb_ends", LOOKUP, "if (e->meta.flags & ENTRY_TOMBSTONE) {", "if (0) {"),
    ("tomb_noted", LOOKUP, "newest_note(env, l->key, e->meta.version);", ";"),
    ("l2_floor", LOOKUP, "l->floor = e->meta.version;\n", ";\n"),
    ("l2_floor_newer_format", LOOKUP, "l->floor = get_u64(l->call.found->at);", ";"),
    ("newer_format_kept", LOOKUP, "l->keep_l2 = true;", ";"),
    ("unsent_first", LOOKUP, "if (queues_unsent(env, l->key, &l->unsent) &&",
     "if (queues_unsent(env, l->key, &l->unsent)) entry_release(&l->unsent); if (0 &&"),
    ("unsent_newer_only", LOOKUP, "e->meta.version >= mine->version &&\n", "0 &&\n"),
    ("unsent_mark", LOOKUP, "(e->meta.flags & ENTRY_IN_L3)))) {", "0))) {"),
    ("unsent_l3_newer", LOOKUP, "if (!(l->asked_l2 && e == NULL && mode_uses_l3(env, l->mode)) &&",
     "if ("),
    ("unsent_not_promoted", LOOKUP, "if (!answered) { /* nor", "if (0) { /* nor"),
    ("unsent_l3_alone", LOOKUP, "if (!mode_uses_l2(env, l->mode) && lookup_judge_unsent(l, env, env->l3, e))",
     "if (0)"),
    ("partition_max", LOOKUP, "if (env->mono_us - tier->heard_us <=", "if (1 || env->mono_us - tier->heard_us <="),
    ("l3_below_floor", LOOKUP, "if (e->meta.version < l->floor ||", "if ("),
    ("land_l2", LOOKUP, "e->meta.version < landing_newest(env->landing, l->key, NULL)) {", "0) {"),
    ("promo_stamp", LOOKUP, ".kind = WRITE_PROMOTED,", ".kind = WRITE_NEW,"),
    ("promo_refused", LOOKUP, "if (l->call.result == TIER_ANSWERED && l->call.outcome != WRITE_STORED) {", "if (0) {"),
    ("promo_refused_looks_again", GET, "else if (op->disputed)", "else if (0)"),
    ("promotes", LOOKUP, "if (!l->asked_l2 || l->keep_l2)", "if (1)"),
    ("promotes_mark", LOOKUP, "m.flags |= ENTRY_IN_L3;", "return NULL;"),
    ("promo_time", LOOKUP, "tier_extra_us(e->blob->len),", "0,"),
    ("large_follower_time", LOOKUP, "return l->found.blob != NULL ? l->found.blob->len : l->call.large_bytes;",
     "return l->call.large_bytes;"),
    ("l3_unverified", LOOKUP, "newest_land(env, l->key, &l->found, sure);", "newest_land(env, l->key, &l->found, true);"),
    ("l3_unverified_compared", LOOKUP, "l1_remove_exact(env->l1, l->key, m.version, m.origin);",
     "l1_confirm(env->l1, l->key, m.version);"),
    ("l3_unverified_is_compared", GET, "found.flags & L1_UNSURE ? OP_OPEN :", "0 ? OP_OPEN :"),
    ("replid_absent", LOOKUP, "if (e != NULL && l->mode == MODE_THROUGH && e->meta.replid", "if (0 && e->meta.replid"),
    ("absent_scripts", LOOKUP, ".replid_strict = l->mode == MODE_THROUGH,", ".replid_strict = false,"),
    ("replid_promoted", LOOKUP, "if (l->mode == MODE_THROUGH && l->found.meta.replid", "if (0 && l->found.meta.replid"),
    ("replid_written", WRITE, "if (mode == MODE_THROUGH && mode_uses_l2(env, mode) &&\n", "if (0 &&\n"),
    ("replid_queued", QUEUES, "return mark || item_is_foreign(it, env);", "return mark;"),
    ("replid_l3_first", QUEUES, "if (answered || !item_is_foreign(it, env)) {", "if (1) {"),
    ("want", LOOKUP, "l->want = e->meta.version;", ";"),
    ("complete", LOOKUP, "return l->asked_l2;\n", "return true;\n"),
    ("leave", "src/request/op.c", "if (env->mono_us < op->ends_us) /* woken", "if (1) /* woken"),
    # landing
    ("land_own", NEWEST, "landing_note(env->landing, key, version, env->mono_us);", ";"),
    ("land_l1", NEWEST, "if (e->meta.version < landing_newest(env->landing, key, NULL)) {", "if (0) {"),
    ("land_handover", GET, "m.version > op->entry.meta.version)", "0)"),
    ("request_floor", GET, "|| op->entry.meta.version < op->floor)", ")"),
    ("tomb_l1", NEWEST, "if (e->meta.flags & ENTRY_IN_L3)", "if (e->meta.flags & (ENTRY_IN_L3 | ENTRY_TOMBSTONE))"),
    ("l1_tomb_floor", GET, "if (!l1_get(env->l1, op->key, env->now_us, &found))\n                return false;",
     "if (!l1_get(env->l1, op->key, env->now_us, &found))\n                return false;\n"
     "        if (found.entry.meta.flags & ENTRY_TOMBSTONE) { op->state = OP_MISS; return true; }"),
    ("older_leaves_l1", NEWEST, "l1_remove_older(env->l1, key, version);", ";"),
    ("l2_keeps_expired", NEWEST, "least += L2_KEEP_MIN_US;", ";"),
    ("floor_judged", NEWEST, "&& m->version > floors_get(env->floors, key.text);", ";"),
    ("miss_in_l1_after_all", GET, "if (get_from_l1(op, env))\n                get_answer(op, env, op->state);\n        else if",
     "if"),
    ("timeout_in_l1_after_all", GET,
     "if (get_from_l1(op, env))\n                                get_answer(op, env, op->state);\n                        else\n",
     ""),
    # versions
    ("est_above_known", WRITE, "op->stamp > known ? op->stamp : known);", "op->stamp);"),
    ("est_gap", WRITE, "known += 1 + prng_below(&env->prng, ESTIMATE_GAP_US);", "known += 1;"),
    ("l1_above_known", WRITE, "op->stamp > known ? op->stamp : known + 1;", "op->stamp;"),
    ("write_inval_1", WRITE, "op->known = floor;", ";"),
    ("estimate_floor", WRITE, ".estimate_us = env->now_us,", ".estimate_us = 0,"),
    ("late_stamp", WRITE, ".until_us = env->now_us + left,", ".until_us = 0,"),
    ("late_refused", WRITE, "if (op->call.outcome == WRITE_LATE || op->call.outcome == WRITE_CONFLICT)\n"
     "                return write_again(op, env, \"l2\");",
     "if (op->call.outcome == WRITE_LATE) { write_unstamped(op, env, \"l2\"); return false; }\n"
     "        if (op->call.outcome == WRITE_CONFLICT)\n                return write_again(op, env, \"l2\");"),
    ("queue_stamp", QUEUES, ".kind = WRITE_STAMPED,", ".kind = WRITE_NEW,"),
    ("l3_alone_above_queue", WRITE, "op->known = newest_known(env, op->key);", ";"),
    ("l3_stamp", WRITE, "write_ask_l3(op, env, WRITE_STAMPED);", "write_ask_l3(op, env, WRITE_NEW);"),
    ("l3_lost_writes_again", WRITE, "op->known = op->call.found_version;", ";"),
    # the line of a key's writes
    ("line", LINE, "if (before == NULL || before->place == PLACE_STAMPED)", "if (1)"),
    ("line_alone", LINE, "if (!op->alone && !before->alone &&", "if (!before->alone &&"),
    ("line_behind_alone", LINE, "if (!op->alone && !before->alone &&", "if (!op->alone &&"),
    ("line_large", LINE, "before->large == op->large)", "1)"),
    ("line_pipelined", LINE, "if (!op->alone && !before->alone && before->place", "if (0 && before->place"),
    ("line_time", LINE, "op->ends_us = before->ends_us;", ";"),
    ("line_woken", LINE, "        task_ready(&env->ready, &op->task);", "        ;"),
    # who acknowledges
    ("tierdown", WRITE, "bool acknowledged = !write_deletes(op) && mode != MODE_THROUGH;",
     "bool acknowledged = mode != MODE_THROUGH;"),
    ("through_l2", WRITE, "bool acknowledged = !write_deletes(op) && mode != MODE_THROUGH;",
     "bool acknowledged = !write_deletes(op);"),
    ("del_also_l3", WRITE, "return write_mode(op, env) == MODE_BEHIND && !write_deletes(op) &&",
     "return write_mode(op, env) == MODE_BEHIND &&"),
    ("expired_is_del", WRITE, "return (op->made.meta.flags & ENTRY_TOMBSTONE) != 0;", "return op->kind == OP_DEL;"),
    ("big_l3_first", WRITE, "&& op->in_l3.blob == NULL;", ";"),
    ("through_l3", WRITE, "if (write_goes_behind(op, env) && !queues_l3_crowded(env)) {", "if (1) {"),
    ("behind_l3", WRITE, "queues_push_l3(env, op->key, &op->made);\n                op_finish(op, env, OP_DONE);",
     "op_finish(op, env, OP_DONE);"),
    ("l3_queued", WRITE, "queues_push_l3(env, op->key, &op->made);\n                if (write_goes", "if (write_goes"),
    ("l2_queued", WRITE, "queues_push_l2(env, op->key, &op->made);", ";"),
    ("delete_ack_l2", WRITE, "                acknowledged = true;", "                ;"),
    ("l3_marker", WRITE, "op->made.payload_len > option_number(env->options, O_l2_value_max);", "false;"),
    ("never_a_guess", WRITE, "if (write_is_conditional(op)) { /* never", "if (0) { /* never"),
    ("tomb", MAKE, "m->flags = ENTRY_TOMBSTONE;", ";"),
    # what depends on what is there
    ("nx_not_from_l1", WRITE, "if (!(shared && op->asked.condition == OP_IF_ABSENT) &&", "if ("),
    ("xx_restored", WRITE, "if (mode == MODE_THROUGH && mode_uses_l2(env, mode) && m->replid", "if (0 && m->replid"),
    ("nx_complete", WRITE, "if (!op->complete) {", "if (!op->complete && op->entry.blob == NULL) {"),
    ("nx_lost_copy", WRITE, "if (op->tier == OP_TIER_L1) {", "if (0) {"),
    ("ends_fresh", WRITE, "bool known = op->fresh && !op->disputed;", "bool known = true;"),
    ("stands", WRITE, "op->stands = op->call.found_version;", ";"),
    ("expect", WRITE, ".expect = kind == WRITE_NEW ? op->expect : EXPECT_ANY,", ".expect = EXPECT_ANY,"),
    ("conflict_l1", WRITE, "l1_remove_older(env->l1, op->key, UINT64_MAX);\n        if (++op->turns",
     ";\n        if (++op->turns"),
    ("l1_expect", WRITE, "if (write_is_conditional(op) && op->expect !=", "if (0 && op->expect !="),
    ("keep_ttl", MAKE, "if (op->entry.blob != NULL) {", "if (0) {"),
    # queues
    ("drain_first", WRITE, "if (queues_holds_l2(env, op->key)) {", "if (0) {"),
    ("l3_first", QUEUES, "} else if (!it->take && mode_uses_l3(env,", "} else if (0 && mode_uses_l3(env,"),
    ("l3_first_lost", QUEUES, "if (it->stage == ITEM_L3_FIRST && !it->dropped && !lost) {",
     "if (it->stage == ITEM_L3_FIRST && !it->dropped) {"),
    ("loser_l1", QUEUES, "l1_remove_exact(env->l1, it->key, it->version, it->origin);\n"
     "        newest_note(env, it->key, it->delivery->call.found_version);", ";"),
    ("loser_l1_tie", QUEUES, "l1_remove_exact(env->l1, it->key, it->version, it->origin);", ";"),
    ("loser_l2", QUEUES, "queues_push_take(env, it->key, it->version, it->origin);", ";"),
    ("overflow_half", QUEUES, "if (env->mono_us - it->since_us <= age_max)", "if (1)"),
    ("overflow_full", QUEUES, "(q->bytes > max ||", "(0 ||"),
    ("overflow_inval", QUEUES, "floors_spread(env, name, version);", ";"),
    ("overflow_told", QUEUES, "floors_sync(env, env->l2);", ";"),
    ("floors_told", FLOORS, "if (fine && record_next(", "if (0 && record_next("),
    ("floors_told_late", FLOORS, "bool late = sync->call.result == TIER_TIMED_OUT &&", "bool late = 0 &&"),
    ("floors_heard", FLOORS, "floors_spread(env, name, version);\n", ";\n"),
    ("floors_workers", FLOORS, "floors_raise(env->floors, name, news->version);", ";"),
    ("queue_mark_mode", QUEUES, "bool mark = !it->take && mode_uses_l3(env, newest_mode(newest_policy(env, it->key))) &&",
     "bool mark = !it->take && env->l3 != NULL &&"),
    ("queue_mark", QUEUES, "m->flags |= ENTRY_IN_L3;", ";"),
    ("superseded", QUEUES, "bytes_equal(it->key.text, key.text) && it->version < version)", "0)"),
    ("superseded_l3_alone", WRITE, "write_land(op, env, op->call.found_version);\n"
     "        queues_supersede_l3(env, op->key, op->version);", "write_land(op, env, op->call.found_version);"),
    ("queue_retry", QUEUES, "        item_retry(it, env);\n                return;\n        }\n        if (lost",
     "        item_free(it, env);\n                return;\n        }\n        if (lost"),
    ("queue_newest", QUEUES, "if (version < it->version)\n                        return;", ""),
]

# (rule, file, what stands there, what could stand there, why nobody can tell)
EQUIVALENT = [
    ("l3_same_as_floor", LOOKUP, "(e->meta.version == l->floor && l->want != l->floor))", "0)",
     "one version is one envelope: what is invalid in L2 is invalid in L3"),
    ("l3_unverified_confirmed", LOOKUP, "                l1_confirm(env->l1, l->key, m.version);", "                ;",
     "the same version is landed next, and that makes the copy sure"),
    ("queue_one_busy", QUEUES, "if (queue_find(q, item_of(node)->key, item_is_busy) == NULL)", "if (1)",
     "what is queued carries its stamp and is compared wherever it comes: the order saves a call, no more"),
]

# Rules of the simulated tier itself: without them the oracle must not be content.
BROKEN_TIER = ["above_stored", "compare"]


def run(command, **how):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", **how)


def compile_to(source, output, text=None):
    """A C file of the tree, or `text` in its place."""
    command = ["gcc", *CFLAGS, "-c", "-o", output]
    if text is None:
        done = run([*command, source])
    else:
        folder = os.path.join(ROOT, os.path.dirname(source))
        done = run([*command, "-I", folder, "-x", "c", "-"], input=text)
    if done.returncode != 0:
        sys.exit(f"mutations.py: {source} does not compile:\n{done.stderr[-2000:]}")
    return output


def link(output, objects, libraries):
    done = run(["gcc", "-o", output, *objects, *libraries])
    if done.returncode != 0:
        sys.exit(f"mutations.py: {output} does not link:\n{done.stderr[-2000:]}")
    return output


def fails(command):
    try:
        return run(command, timeout=60).returncode != 0
    except subprocess.TimeoutExpired:
        return True


class Bench:
    """What every mutant shares: the objects that it does not change."""

    def __init__(self, folder, jobs, seeds):
        self.folder, self.seeds = folder, seeds
        base = sorted(glob.glob("src/base/*.c", root_dir=ROOT) + glob.glob("src/cache/*.c", root_dir=ROOT))
        sources = base + ENGINE + WORLD + RUNS + TESTS
        objects = [os.path.join(folder, s.replace("/", "-") + ".o") for s in sources]
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            self.objects = dict(zip(sources, pool.map(compile_to, sources, objects)))
        self.library = [self.objects[s] for s in base]

    def programs(self, name, changed=None):
        """(directed tests, random runs), with `changed` objects in place of their sources'."""
        objects = {**self.objects, **(changed or {})}
        engine = [objects[s] for s in ENGINE + WORLD] + self.library
        tests = link(os.path.join(self.folder, name + "-tests"), [objects[s] for s in TESTS] + engine,
                     LIBRARIES + ["-lcriterion"])
        runs = link(os.path.join(self.folder, name + "-runs"), [objects[s] for s in RUNS] + engine, LIBRARIES)
        return tests, runs

    def caught_by(self, name, changed=None):
        tests, runs = self.programs(name, changed)
        try:
            if fails([tests, "--jobs", "1", "--fail-fast"]):
                return "tests"
            if fails([runs, "--seeds", str(self.seeds)]):
                return "runs"
            return None
        finally:
            os.unlink(tests)
            os.unlink(runs)

    def mutate(self, number, mutation):
        rule, source, old, new = mutation[:4]
        with open(os.path.join(ROOT, source)) as f:
            text = f.read()
        if text.count(old) != 1:
            return rule, f"does not fit: {text.count(old)} places in {source}"
        output = os.path.join(self.folder, f"m{number}.o")
        compile_to(source, output, text.replace(old, new))
        by = self.caught_by(f"m{number}", {source: output})
        os.unlink(output)
        return rule, f"caught by {by}" if by else "SURVIVED"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-k", metavar="TEXT", default="", help="only rules whose name contains TEXT")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--seeds", type=int, default=400, help="random runs of each mutant")
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="pannier-mutations-")
    try:
        bench = Bench(folder, arguments.jobs, arguments.seeds)
        if bench.caught_by("plain") is not None:
            sys.exit("mutations.py: the tests fail without any mutation")
        chosen = [m for m in MUTATIONS if arguments.k in m[0]]
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            results = list(pool.map(bench.mutate, range(len(chosen)), chosen))
        if arguments.k == "":
            _, runs = bench.programs("tier")
            for rule in BROKEN_TIER:
                caught = fails([runs, "--seeds", "3000", "--break", rule])
                results.append((f"tier: {rule}", "caught by runs" if caught else "SURVIVED"))
    finally:
        shutil.rmtree(folder)
    for rule, source, old, new, why in EQUIVALENT:
        with open(os.path.join(ROOT, source)) as f:
            if f.read().count(old) != 1:
                results.append((rule, f"does not fit {source}, where it was equivalent: {why}"))
    survived = [r for r in results if not r[1].startswith("caught")]
    for rule, what in results:
        if arguments.k or not what.startswith("caught"):
            print(f"{rule}: {what}")
    print(f"{len(results) - len(survived)} caught, {len(survived)} survived, {len(EQUIVALENT)} equivalent")
    sys.exit(1 if survived else 0)


if __name__ == "__main__":
    main()
