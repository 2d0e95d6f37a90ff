/* The client's end of a native conversation: see native_client.h. */
#include "tests/unit/native_client.h"

struct talk talk;

/* Memory in use before a test took any: a leak is a failure, whether or not a sanitizer looks. */
static uint64_t in_use_before;

static void
note_memory(void)
{
        if (in_use_before == 0)
                in_use_before = 1 + mem_in_use();
}

void
world(bool l2)
{
        note_memory();
        sim_create(&talk.w, (struct sim_config){.servers = 1,
                                                .l2 = l2,
                                                .mode = "",
                                                .l1_ttl_us = UINT64_C(300) * SECOND,
                                                .delay_max_us = MS,
                                                .seed = 1});
        talk.w.delays_off = 1;
        l1_destroy(talk.w.server[0].env.l1);
        talk.w.server[0].env.l1 =
                l1_create((struct l1_config){.bytes_max = 256 * MIB, .partitions = 1});
        session_init(&talk.s, &talk.w.server[0].env);
        talk.read_at = talk.need = 0;
        talk.step_max = SIZE_MAX;
}

/* What the loop would do: everything in `out` goes to the client. */
static void
drain(void)
{
        struct iovec iov[64];
        int n;

        while ((n = chain_iovecs(&talk.s.out, iov, 64)) > 0) {
                size_t sent = 0;

                for (int i = 0; i < n; i++) {
                        buf_append(&talk.output, bytes_of(iov[i].iov_base, iov[i].iov_len));
                        sent += iov[i].iov_len;
                }
                chain_sent(&talk.s.out, sent);
        }
}

/* What the loop would do with `part` just received. */
static void
receive(struct bytes part)
{
        buf_append(&talk.input, part);
        while (talk.input.len >= talk.need && !talk.s.closing) {
                struct intake r = session_consume(&talk.s, buf_bytes(&talk.input));

                cr_assert_leq(r.consumed, talk.input.len);
                buf_consume(&talk.input, r.consumed);
                talk.need = r.need;
                env_advance(talk.s.env);
                if (r.consumed == 0 && !r.again)
                        break;
        }
        if (talk.s.closing)
                talk.need = 0;
        drain();
}

void
say(struct bytes all)
{
        while (all.len > 0) {
                size_t n = all.len < talk.step_max ? all.len : talk.step_max;

                receive(bytes_of(all.at, n));
                all = bytes_from(all, n);
        }
}

void
say_chain(struct chain *c)
{
        struct buf flat = {0};
        struct iovec iov[64];
        int n;

        while ((n = chain_iovecs(c, iov, 64)) > 0) {
                size_t sent = 0;

                for (int i = 0; i < n; i++) {
                        buf_append(&flat, bytes_of(iov[i].iov_base, iov[i].iov_len));
                        sent += iov[i].iov_len;
                }
                chain_sent(c, sent);
        }
        chain_free(c);
        say(buf_bytes(&flat));
        buf_free(&flat);
}

void
run(uint64_t for_us)
{
        sim_run(&talk.w, for_us);
        drain();
}

void
end(void)
{
        session_end(&talk.s);
        sim_run(&talk.w, SECOND);
        cr_expect_eq(talk.w.server[0].input_bytes, 0, "nothing is charged when nothing is open");
        sim_destroy(&talk.w);
        buf_free(&talk.input);
        buf_free(&talk.output);
        cr_expect_eq(1 + mem_in_use(), in_use_before, "%" PRIi64 " bytes are left",
                     (int64_t)(1 + mem_in_use() - in_use_before));
}

bool
next(struct native_frame *f)
{
        struct native_fault fault;
        size_t n = 0;

        if (native_decode(bytes_from(buf_bytes(&talk.output), talk.read_at), NATIVE_CLIENT, f, &n,
                          &fault) != NATIVE_COMPLETE) {
                cr_assert_eq(talk.read_at, talk.output.len, "no part of a frame is left over");
                return false;
        }
        talk.read_at += n;
        return true;
}

struct reply
expect(uint64_t id, unsigned status)
{
        struct native_fault fault;
        struct reply r;

        cr_assert(next(&r.frame), "a reply to %" PRIu64, id);
        cr_assert_eq(r.frame.id, id, "the reply to %" PRIu64 " came, not to %" PRIu64, r.frame.id,
                     id);
        cr_assert_eq(native_body_read(r.frame.body, &r.item, &fault), OK);
        cr_assert_eq(native_fields_read(r.item.fields, UINT64_MAX, &r.fields, &fault), OK);
        cr_assert_eq(r.frame.status, status, "request %" PRIu64 ": status %u, not %u: %.*s", id,
                     r.frame.status, status, (int)native_text(&r.fields, NATIVE_F_ERROR).len,
                     (const char *)native_text(&r.fields, NATIVE_F_ERROR).at);
        cr_assert((r.frame.flags & NATIVE_REPLY) != 0);
        return r;
}

void
expect_nothing(void)
{
        struct native_frame f;

        cr_assert_not(next(&f), "no frame, but one of id %" PRIu64, f.id);
}

struct bytes
none(void)
{
        return bytes_of(NULL, 0);
}

void
hello(uint64_t features)
{
        struct chain c = {0};
        uint8_t room[64];
        struct native_block b = native_block_of(room, sizeof room);

        chain_append(&c, bytes_of(native_preface, NATIVE_PREFACE_BYTES));
        native_put_number(&b, NATIVE_F_PROTOCOL, 1);
        native_put_number(&b, NATIVE_F_FEATURES, features);
        native_put_text(&b, NATIVE_F_NAME, bytes_str("a test"));
        native_write(&c, (struct native_head){.op = NATIVE_OP_HELLO}, &b, none(), NULL, none());
        say_chain(&c);
        expect(0, NATIVE_OK);
}

void
ask(uint8_t op, uint64_t id, const struct native_block *fields, const char *key, struct bytes value)
{
        struct chain c = {0};

        native_write(&c, (struct native_head){.op = op, .id = id}, fields, bytes_str(key), NULL,
                     value);
        say_chain(&c);
}

void
ask_set(uint64_t id, const char *key, struct bytes value)
{
        ask(NATIVE_OP_SET, id, NULL, key, value);
}

void
ask_get(uint64_t id, const char *key)
{
        ask(NATIVE_OP_GET, id, NULL, key, none());
}

struct blob *
noise(size_t len, uint64_t seed)
{
        struct blob *b;
        struct prng prng = {seed};

        note_memory();
        b = blob_new(len);
        cr_assert_not_null(b);
        for (size_t i = 0; i < len; i++)
                b->at[i] = (uint8_t)prng_next(&prng);
        return b;
}

void
declare(uint64_t id, const char *key, uint64_t length)
{
        uint8_t room[32];
        struct native_block b = native_block_of(room, sizeof room);

        native_put_number(&b, NATIVE_F_LENGTH, length);
        ask(NATIVE_OP_SET, id, &b, key, none());
}

void
send_chunk(uint64_t id, uint64_t offset, struct bytes data)
{
        struct chain c = {0};

        native_chunk_write(&c, (struct native_head){.id = id}, 0, offset, NULL, data);
        say_chain(&c);
}

void
upload(uint64_t id, const char *key, struct blob *value)
{
        declare(id, key, value->len);
        for (size_t at = 0; at < value->len; at += NATIVE_CHUNK_MAX) {
                struct bytes rest = bytes_from(blob_bytes(value), at);

                rest.len = rest.len < NATIVE_CHUNK_MAX ? rest.len : NATIVE_CHUNK_MAX;
                send_chunk(id, at, rest);
        }
}

void
give_credit(uint64_t id, uint32_t bytes)
{
        struct chain c = {0};

        native_credit_write(&c, (struct native_head){.id = id}, bytes);
        say_chain(&c);
}

void
cancel(uint64_t id)
{
        ask(NATIVE_OP_CANCEL, id, NULL, "", none());
}

bool
take_chunks(uint64_t id, uint32_t index, struct buf *got)
{
        struct native_frame f;

        while (talk.read_at < talk.output.len) {
                struct native_fault fault;
                struct native_chunk chunk;

                cr_assert(next(&f));
                cr_assert_eq(f.id, id);
                cr_assert_eq(f.op, NATIVE_OP_CHUNK);
                cr_assert_eq(f.status, NATIVE_OK);
                cr_assert_eq(native_chunk_read(&f, &chunk, &fault), OK);
                cr_assert_eq(chunk.index, index);
                cr_assert_eq(chunk.offset, got->len);
                buf_append(got, chunk.data);
                if ((f.flags & NATIVE_MORE) == 0)
                        return true;
        }
        return false;
}

uint64_t
number(const struct reply *r, enum native_field field)
{
        return native_number(&r->fields, field, UINT64_MAX);
}

bool
says(const struct reply *r, const char *words)
{
        struct bytes text = native_text(&r->fields, NATIVE_F_ERROR);

        return memmem(text.at, text.len, words, strlen(words)) != NULL;
}

struct native_item
take_item(struct bytes *items, struct native_fields *fields, unsigned status)
{
        struct native_fault fault;
        struct native_item item;

        cr_assert_eq(native_item_read(items, &item, &fault), OK);
        cr_assert_eq(native_fields_read(item.fields, UINT64_MAX, fields, &fault), OK);
        cr_assert_eq(item.status, status);
        cr_assert_eq(item.key.len, 0);
        return item;
}

struct bytes
expect_batch(const struct reply *r, uint32_t count)
{
        struct native_fault fault;
        struct bytes items;
        uint32_t n;

        cr_assert_eq(native_batch_read(r->item.value, &n, &items, &fault), OK);
        cr_assert_eq(n, count);
        return items;
}

void
put_item(struct chain *items, const struct native_block *fields, const char *key,
         struct bytes value)
{
        native_item_write(items, 0, fields, bytes_str(key), NULL, value);
}

void
ask_batch(uint8_t op, uint64_t id, uint32_t count, struct chain *items)
{
        struct chain c = {0};

        native_batch_write(&c, (struct native_head){.op = op, .id = id}, NULL, count, items);
        chain_free(items);
        say_chain(&c);
}
