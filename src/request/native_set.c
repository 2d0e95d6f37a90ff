/* request/native_set.c: what a native request asks, judged and handed to ops: keys, fields, the
 * value of a SET. Owns nothing; what an op keeps is copied into its request. Every number here is a
 * stranger's.
 * Limits: LIMIT_KEY_BYTES, LIMIT_TAGS, LIMIT_TAG_BYTES, [server] value-max; times below. */
#include "base/limits.h"
#include "base/units.h"
#include "request/native_parts.h"

#define DEADLINE_MAX_US UINT64_C(60000000)         /* longer ones count as this */
#define LIFE_MAX_US     UINT64_C(3155760000000000) /* a century: sums do not wrap */

static const struct native_refusal fine = {OK, NULL};

static struct native_refusal
bad(const char *detail)
{
        return (struct native_refusal){ERR_BAD_ARGUMENT, detail};
}

bool
native_judge_fields(struct native_session *ns, const struct native_frame *f, struct bytes block,
                    uint64_t honoured, struct native_fields *fields, struct native_refusal *refusal)
{
        struct native_fault fault;
        enum err e = native_fields_read(block, honoured, fields, &fault);

        *refusal = fine;
        if (e == ERR_PROTOCOL) {
                native_malformed(ns, f, "fields", &fault);
                return false;
        }
        if (e != OK)
                *refusal = (struct native_refusal){e, fault.what};
        return true;
}

struct native_refusal
native_judge_key(struct bytes key)
{
        if (key.len == 0)
                return (struct native_refusal){ERR_KEY_EMPTY, NULL};
        if (key.len > LIMIT_KEY_BYTES)
                return (struct native_refusal){ERR_KEY_TOO_BIG, NULL};
        return fine;
}

struct native_refusal
native_judge_deadline(const struct native_fields *fields)
{
        if (native_number(fields, NATIVE_F_DEADLINE, 1) == 0)
                return bad("a DEADLINE is greater than 0");
        return fine;
}

uint64_t
native_deadline(const struct native_fields *fields)
{
        uint64_t asked = native_number(fields, NATIVE_F_DEADLINE, 0);

        return asked < DEADLINE_MAX_US ? asked : DEADLINE_MAX_US;
}

static struct native_refusal
judge_tags(const struct native_fields *fields)
{
        size_t at = 0;

        if (fields->tags > LIMIT_TAGS)
                return bad("an entry has at most 64 tags");
        for (unsigned i = 0; i < fields->tags; i++) {
                size_t len = native_tag(fields, &at).len;

                if (len == 0 || len > LIMIT_TAG_BYTES)
                        return bad("a TAG has 1 to 256 bytes");
        }
        return fine;
}

static struct native_refusal
judge_numbers(const struct native_fields *fields)
{
        uint64_t condition = native_number(fields, NATIVE_F_CONDITION, 0);
        uint64_t both = NATIVE_NX | NATIVE_XX;

        if (native_number(fields, NATIVE_F_COMPUTE, 0) > UINT32_MAX)
                return bad("COMPUTE is at most 4294967295");
        if (native_number(fields, NATIVE_F_CONFIDENCE, 0) > UINT16_MAX)
                return bad("CONFIDENCE is at most 65535");
        if (native_number(fields, NATIVE_F_CODEC, 0) > UINT8_MAX)
                return bad("CODEC is at most 255");
        if (condition > (NATIVE_NX | NATIVE_XX | NATIVE_KEEPTTL) || (condition & both) == both)
                return bad("CONDITION is 1 (NX) or 2 (XX), and 4 (KEEPTTL)");
        return fine;
}

struct native_refusal
native_judge_set(const struct env *env, uint8_t op, const struct native_fields *fields,
                 uint64_t value_len, char room[static 32])
{
        uint64_t value_max = option_number(env->options, O_value_max);
        struct native_refusal refusal;

        if (value_len > value_max) {
                size_format(value_max, room);
                return (struct native_refusal){ERR_VALUE_TOO_BIG, room};
        }
        if (native_number(fields, NATIVE_F_TTL, 1) == 0 ||
            native_number(fields, NATIVE_F_TTL, 1) > LIFE_MAX_US ||
            native_number(fields, NATIVE_F_GRACE, 0) > LIFE_MAX_US)
                return (struct native_refusal){ERR_BAD_EXPIRE, native_op_name(op)};
        refusal = native_judge_deadline(fields);
        if (refusal.error == OK)
                refusal = judge_numbers(fields);
        if (refusal.error == OK)
                refusal = judge_tags(fields);
        return refusal;
}

static void
ask_tags(struct op *op, struct request *rq, const struct native_fields *fields)
{
        struct bytes tags[LIMIT_TAGS];
        size_t at = 0;

        must(fields->tags <= LIMIT_TAGS);
        for (unsigned i = 0; i < fields->tags; i++)
                tags[i] = request_copy(rq, native_tag(fields, &at));
        op->asked.tag_count = (uint16_t)fields->tags;
        op->asked.tags = (const struct bytes *)(const void *)request_copy(
                                 rq, bytes_of(tags, fields->tags * sizeof tags[0]))
                                 .at;
}

void
native_ask_set(struct op *op, struct request *rq, const struct native_fields *fields)
{
        uint64_t condition = native_number(fields, NATIVE_F_CONDITION, 0);
        struct op_asked *asked = &op->asked;

        asked->life.ttl_us = native_number(fields, NATIVE_F_TTL, 0);
        asked->life.grace_us = native_number(fields, NATIVE_F_GRACE, 0);
        asked->life.grace_named = (fields->seen & NATIVE_BIT(GRACE)) != 0;
        asked->lifetime = (condition & NATIVE_KEEPTTL) != 0 ? LIFE_KEEP : LIFE_DECIDE;
        asked->condition = (condition & NATIVE_NX) != 0   ? OP_IF_ABSENT
                           : (condition & NATIVE_XX) != 0 ? OP_IF_PRESENT
                                                          : OP_ALWAYS;
        asked->deadline_us = native_deadline(fields);
        asked->cost = native_number(fields, NATIVE_F_COST, 0);
        asked->compute_us = (uint32_t)native_number(fields, NATIVE_F_COMPUTE, 0);
        asked->confidence = (uint16_t)native_number(fields, NATIVE_F_CONFIDENCE, 0);
        asked->codec = (uint8_t)native_number(fields, NATIVE_F_CODEC, 0);
        if (fields->tags > 0)
                ask_tags(op, rq, fields);
}
