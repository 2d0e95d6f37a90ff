/* redis_link: one connection to Redis, from connect to closed. Owns: its stream, output, reader
 * and slots; itself, from redis_link_drop() until the loop has closed it. Borrows: the tier. What
 * comes is given to the slots as it comes; everything that needs the turn's time, closes or
 * reconnects is noted and done by the tier's task. Limits: those of redis_answer.c;
 * LIMIT_L2_INFLIGHT is kept by redis_calls.c. Deliberately RESP2: no HELLO, so nothing comes
 * unasked. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "io/redis_command.h"
#include "io/redis_state.h"

static struct redis_link *
link_of(struct stream *s)
{
        return container_of(s, struct redis_link, stream);
}

void
redis_link_break(struct redis_link *l, const char *why)
{
        if (l->broken || l->tier == NULL)
                return;
        l->broken = true;
        snprintf(l->why, sizeof l->why, "%s", why);
        redis_wake(l->tier);
}

struct redis_slot *
redis_link_ask(struct redis_link *l,
               void (*take)(struct redis_link *, struct redis_slot *, struct redis_answer *))
{
        struct redis_slot *slot = mem_zalloc(sizeof *slot);

        slot->take = take;
        slot->asked_us = l->tier->env->mono_us;
        list_push(&l->slots, &slot->link);
        l->slot_count++;
        stream_send(&l->stream);
        return slot;
}

static struct redis_slot *
slot_first(const struct redis_link *l)
{
        return list_empty(&l->slots) ? NULL : container_of(l->slots.next, struct redis_slot, link);
}

uint64_t
redis_link_silent_us(const struct redis_link *l, uint64_t now_us)
{
        const struct redis_slot *oldest = slot_first(l);
        uint64_t since_us;

        if (oldest == NULL)
                return 0;
        since_us = oldest->asked_us > l->heard_us ? oldest->asked_us : l->heard_us;
        return now_us > since_us ? now_us - since_us : 0;
}

/* ---- the handshake: one burst of questions ---- */

enum hello {
        HELLO_AUTH,
        HELLO_SELECT,
        HELLO_NAME,
        HELLO_REPLICATION,
        HELLO_SERVER,
        HELLO_POLICY,
        HELLO_SCRIPT, /* and one more for each script */
};

/* The value of a line "name:value" of INFO; empty if there is none. */
static struct bytes
info_line(struct bytes info, const char *name)
{
        size_t len = strlen(name);

        while (info.len > 0) {
                const uint8_t *end = memchr(info.at, '\n', info.len);
                size_t line = end != NULL ? (size_t)(end - info.at) : info.len;
                struct bytes l = bytes_of(info.at, line);

                if (l.len > 0 && l.at[l.len - 1] == '\r')
                        l.len--;
                if (l.len > len && memcmp(l.at, name, len) == 0 && l.at[len] == ':')
                        return bytes_from(l, len + 1);
                info = bytes_from(info, line + 1);
        }
        return (struct bytes){0};
}

/* A stranger's word for the log: what is not a letter, digit, dot or dash becomes '_'. */
static void
word_copy(struct bytes from, char *out, size_t room)
{
        size_t n = from.len < room - 1 ? from.len : room - 1;

        for (size_t i = 0; i < n; i++) {
                uint8_t c = from.at[i];
                bool fine = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
                            c == '.' || c == '-';

                out[i] = fine ? (char)c : '_';
        }
        out[n] = '\0';
}

const char *
redis_error_word(const struct redis_answer *a, char out[static 24])
{
        size_t n = 0;

        while (n < a->text.len && n < 23 && a->text.at[n] >= 'A' && a->text.at[n] <= 'Z')
                n++;
        if (n == 0 || (n < a->text.len && a->text.at[n] != ' '))
                return memcpy(out, "ERR", sizeof "ERR");
        memcpy(out, a->text.at, n);
        out[n] = '\0';
        return out;
}

static void
learn_replication(struct redis_link *l, struct bytes info)
{
        struct bytes id = info_line(info, "master_replid");

        if (bytes_equal(info_line(info, "role"), bytes_str("slave"))) {
                redis_link_break(l, "it is a replica, which takes no writes");
                return;
        }
        if (id.len > 0)
                l->replid = hash64(id, 0);
}

static void
learn_server(struct redis_link *l, struct bytes info)
{
        struct bytes valkey = info_line(info, "valkey_version");
        char version[32];

        word_copy(valkey.len > 0 ? valkey : info_line(info, "redis_version"), version,
                  sizeof version);
        snprintf(l->what, sizeof l->what, "%s %s", valkey.len > 0 ? "valkey" : "redis", version);
}

/* Those without which nothing goes; the others are only of use. */
static bool
hello_required(enum hello step)
{
        return step == HELLO_AUTH || step == HELLO_SELECT || step >= HELLO_SCRIPT;
}

static void
hello_refused(struct redis_link *l, enum hello step, const struct redis_answer *a)
{
        static const char *const names[] = {"AUTH", "SELECT", "CLIENT",     "INFO",
                                            "INFO", "CONFIG", "SCRIPT LOAD"};
        char word[24], why[REDIS_WHY_BYTES];

        if (step > HELLO_SCRIPT)
                step = HELLO_SCRIPT;
        /* A password that is missing shows at whatever comes first. */
        snprintf(why, sizeof why, "it refuses %s (%s)", names[step], redis_error_word(a, word));
        redis_link_break(l, why);
}

static void
hello_take(struct redis_link *l, struct redis_slot *slot, struct redis_answer *a)
{
        enum hello step = slot->step;

        if (a == NULL)
                return;
        if (a->kind == ANSWER_ERROR) {
                if (hello_required(step))
                        hello_refused(l, step, a);
                return;
        }
        switch (step) {
        case HELLO_AUTH:
        case HELLO_SELECT:
        case HELLO_NAME:
                break;
        case HELLO_REPLICATION:
                learn_replication(l, a->text);
                break;
        case HELLO_SERVER:
                learn_server(l, a->text);
                break;
        case HELLO_POLICY:
                word_copy(answer_item(a, 1), l->policy, sizeof l->policy);
                break;
        default:
                if (a->kind != ANSWER_STRING || a->text.len != 40)
                        redis_link_break(l, "it does not know SCRIPT LOAD");
                else
                        memcpy(l->tier->sha[step - HELLO_SCRIPT], a->text.at, 40);
        }
}

static void
hello_ask(struct redis_link *l, unsigned step)
{
        redis_link_ask(l, hello_take)->step = step;
}

static void
hello_command(struct redis_link *l, unsigned step, const char *first, const char *second,
              const char *third)
{
        command_begin(&l->out, third != NULL ? 3 : 2);
        command_text(&l->out, first);
        command_text(&l->out, second);
        if (third != NULL)
                command_text(&l->out, third);
        hello_ask(l, step);
}

static void
hello_begin(struct redis_link *l)
{
        const struct redis_url *url = &l->tier->config.url;
        char text[64];

        if (url->password != NULL && url->user != NULL)
                hello_command(l, HELLO_AUTH, "AUTH", url->user, url->password);
        else if (url->password != NULL)
                hello_command(l, HELLO_AUTH, "AUTH", url->password, NULL);
        if (url->db != 0) {
                snprintf(text, sizeof text, "%u", url->db);
                hello_command(l, HELLO_SELECT, "SELECT", text, NULL);
        }
        snprintf(text, sizeof text, "pannierd-%d-%u%s", (int)getpid(), l->tier->env->index,
                 l->role == LINK_LARGE ? "-large" : "");
        hello_command(l, HELLO_NAME, "CLIENT", "SETNAME", text);
        hello_command(l, HELLO_REPLICATION, "INFO", "replication", NULL);
        if (l->role == LINK_LARGE)
                return;
        hello_command(l, HELLO_SERVER, "INFO", "server", NULL);
        hello_command(l, HELLO_POLICY, "CONFIG", "GET", "maxmemory-policy");
        for (unsigned i = 0; i < SCRIPT_COUNT; i++)
                hello_command(l, HELLO_SCRIPT + i, "SCRIPT", "LOAD", redis_scripts[i]);
}

/* ---- what the loop tells ---- */

static struct answer_target
link_target(void *whose)
{
        const struct redis_link *l = whose;
        const struct redis_slot *slot = slot_first(l);

        return slot != NULL ? slot->target : (struct answer_target){0};
}

static void
link_answered(struct redis_link *l, struct redis_answer *a)
{
        struct redis_slot *slot = slot_first(l);

        if (slot == NULL) {
                redis_link_break(l, "it answers what it was not asked");
                answer_free(a);
                return;
        }
        l->heard = true;
        list_remove(&slot->link);
        l->slot_count--;
        l->rtt_asked_us = slot->asked_us;
        slot->take(l, slot, a);
        answer_free(a);
        mem_free(slot);
}

static void
link_input(struct stream *s, struct bytes in)
{
        struct redis_link *l = link_of(s);
        struct redis_answer *a;

        if (l->broken)
                return;
        /* First, so that the clock is learnt before those who were answered go on. */
        redis_wake(l->tier);
        if (l->role == LINK_LARGE) /* parts of a long answer; elsewhere, only whole ones: one whose
                                    * length was wrong would swallow all that follow */
                l->heard = true;
        if (!answer_reader_feed(l->reader, in)) {
                redis_link_break(l, "its answer is too long");
                return;
        }
        while (!l->broken) {
                if (!answer_reader_next(l->reader, &a)) {
                        redis_link_break(l, "it does not speak RESP");
                        return;
                }
                if (a == NULL)
                        return;
                link_answered(l, a);
        }
}

static void
link_ended(struct stream *s, int error)
{
        redis_link_break(link_of(s), error == 0 ? "it closed the connection" : strerror(error));
}

static void
link_connected(struct stream *s)
{
        struct redis_link *l = link_of(s);

        l->stage = LINK_SHAKING;
        l->heard = true;
        redis_wake(l->tier);
        hello_begin(l);
}

static void
link_closed(struct stream *s)
{
        struct redis_link *l = link_of(s);

        chain_free(&l->out);
        answer_reader_destroy(l->reader);
        mem_free(l);
}

static const struct stream_owner link_owner = {
        .input = link_input,
        .ended = link_ended,
        .closed = link_closed,
        .connected = link_connected,
};

/* ---- life ---- */

struct redis_link *
redis_link_open(struct redis_tier *t, enum link_role role, const struct redis_address *address)
{
        struct redis_link *l = mem_zalloc(sizeof *l);
        enum err e;

        l->tier = t;
        l->role = role;
        l->opened_us = l->heard_us = t->env->mono_us;
        list_init(&l->slots);
        l->reader = answer_reader_create(link_target, l);
        l->stream.owner = &link_owner;
        l->stream.out = &l->out;
        l->stream.quiet = true;
        snprintf(l->what, sizeof l->what, "redis");
        e = stream_connect(t->loop, &l->stream, (const struct sockaddr *)&address->at,
                           address->len);
        if (e != OK) {
                snprintf(t->trouble, sizeof t->trouble, "%s", strerror(errno));
                link_closed(&l->stream);
                return NULL;
        }
        return l;
}

void
redis_link_drop(struct redis_link *l)
{
        struct redis_tier *t = l->tier;
        struct list *node;

        /* Nobody may put a new question to it. */
        if (t->main == l)
                t->main = NULL;
        if (t->fresh == l)
                t->fresh = NULL;
        if (t->large == l)
                t->large = NULL;
        l->broken = true;
        stream_close(&l->stream);
        while ((node = list_pop(&l->slots)) != NULL) {
                struct redis_slot *slot = container_of(node, struct redis_slot, link);

                l->slot_count--;
                slot->take(l, slot, NULL);
                mem_free(slot);
        }
        l->tier = NULL;
}
