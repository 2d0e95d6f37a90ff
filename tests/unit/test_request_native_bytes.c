/* What strangers send to the native side of a session: every vector, whole and byte by byte, and
 * random conversations. */
#include "tests/unit/native_client.h"
#include "tests/unit/native_vectors.h"

/* The simulated tiers hold keys of at most 64 bytes: no longer frames reach them. */
enum { SIM_FRAME_MAX = NATIVE_HEADER_BYTES + NATIVE_ITEM_BYTES + 64 };

static bool
is_answered(const json_t *v)
{
        json_int_t op = json_integer_value(json_object_get(v, "op"));

        return op != NATIVE_OP_CHUNK && op != NATIVE_OP_CREDIT && op != NATIVE_OP_CANCEL &&
               json_object_get(v, "incomplete") == NULL && json_object_get(v, "continues") == NULL;
}

/* Every request of the vectors, behind a HELLO, whole or byte by byte: its answer is as named. */
static void
answers_vectors(size_t step)
{
        size_t count, i;
        json_t *all = vectors(&count), *v;

        json_array_foreach(all, i, v)
        {
                const char *name = json_string_value(json_object_get(v, "name"));
                json_t *refused = json_object_get(v, "refused");
                bool malformed = json_object_get(v, "malformed") != NULL;
                struct native_frame f;
                struct bytes in;

                if (strcmp(json_string_value(json_object_get(v, "direction")), "request") != 0)
                        continue;
                world(false);
                in = unhex(text_of(v, "hex"));
                hello(0);
                talk.step_max = in.len < 10000 ? step : SIZE_MAX;
                say(in);
                if (malformed || is_answered(v)) {
                        cr_assert(next(&f), "%s: an answer", name);
                        cr_expect_eq(f.flags, NATIVE_REPLY, "%s", name);
                        cr_expect(f.op != NATIVE_OP_CHUNK && f.op != NATIVE_OP_CREDIT, "%s", name);
                        if (malformed)
                                cr_expect_eq(f.status, 29, "%s: %u", name, f.status);
                        else if (refused != NULL)
                                cr_expect_eq(f.status, json_integer_value(refused), "%s: %u", name,
                                             f.status);
                        else if (f.op != NATIVE_OP_HELLO)
                                cr_expect_lt(f.status, NATIVE_ERROR_FIRST, "%s: %u", name,
                                             f.status);
                }
                cr_expect_not(next(&f), "%s: one answer", name);
                cr_expect_eq(talk.s.closing, malformed || strcmp(name, "bye") == 0, "%s", name);
                drop(in);
                end();
        }
        json_decref(all);
}

Test(native_session, answers_every_vector)
{
        answers_vectors(SIZE_MAX);
}

Test(native_session, answers_every_vector_byte_by_byte)
{
        answers_vectors(1);
}

Test(native_session, says_what_and_where_is_malformed)
{
        static const uint8_t bad[] = {14, 0, 0, 0, 16, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0,
                                      0,  1, 0, 0, 0,  0, 0, 0, 0, 1, 0, 0, 0, 0, 'a'};
        struct reply r;

        world(false);
        hello(0);
        say(bytes_of(bad, sizeof bad));
        r = expect(7, 29);
        cr_expect(says(&r, "GET frame, fields, byte 0: a field's head is cut short"), "%.*s",
                  (int)native_text(&r.fields, NATIVE_F_ERROR).len,
                  (const char *)native_text(&r.fields, NATIVE_F_ERROR).at);
        cr_expect(talk.s.closing);
        end();
}

/* A request for a random conversation: the bytes of a vector, now and then one of them changed. */
static struct bytes
random_request(const json_t *all, struct prng *prng, size_t max)
{
        const json_t *v = json_array_get(all, prng_below(prng, json_array_size(all)));
        bool hurt = prng_below(prng, 30) == 0;
        struct bytes b;
        uint8_t *at;

        while (!hurt && json_object_get(v, "malformed") != NULL)
                v = json_array_get(all, prng_below(prng, json_array_size(all)));
        b = unhex(text_of(v, "hex"));
        at = (uint8_t *)(uintptr_t)b.at;
        b.len = b.len < max ? b.len : 0;
        if (b.len < NATIVE_HEADER_BYTES) {
                b.len = 0;
                return b;
        }
        put_u32(at, (uint32_t)(b.len - NATIVE_HEADER_BYTES));
        at[5] &= (uint8_t)~NATIVE_REPLY;
        put_u16(at + 6, 0);
        at[8] = (uint8_t)prng_below(prng, 4);
        if (at[4] == NATIVE_OP_BYE)
                at[4] = NATIVE_OP_CANCEL;
        if (hurt && b.len > NATIVE_HEADER_BYTES)
                at[NATIVE_HEADER_BYTES + prng_below(prng, b.len - NATIVE_HEADER_BYTES)] =
                        (uint8_t)prng_next(prng);
        return b;
}

/* Conversations of vectors with bytes changed, on tiers that answer late: nothing leaks, nothing is
 * touched that is gone (the sanitizers see to that), nothing stays charged. */
Test(native_session, survives_random_conversations)
{
        size_t count;
        json_t *all = vectors(&count);
        struct prng prng = {7};
        unsigned closed = 0, lived = 0;

        for (unsigned round = 0; round < 400; round++) {
                world(round % 2 == 0);
                hello(round % 3 == 0 ? NATIVE_LZ4 : 0);
                talk.step_max = round % 5 == 0 ? 7 : SIZE_MAX;
                for (unsigned i = 0; i < 30 && !talk.s.closing; i++) {
                        struct bytes in =
                                random_request(all, &prng, round % 2 == 0 ? SIM_FRAME_MAX : 2000);

                        say(in);
                        drop(in);
                        if (prng_below(&prng, 3) == 0)
                                run(prng_below(&prng, 20 * MS));
                }
                if (prng_below(&prng, 2) == 0)
                        run(30 * SECOND);
                closed += talk.s.closing;
                lived += !talk.s.closing;
                end();
        }
        cr_expect_gt(closed, 50);
        cr_expect_gt(lived, 50);
        json_decref(all);
}
