/* libpannier's connection, against a server that is the test: order, deadlines, late replies, the
 * server's end at every byte, and what it must not say. */
#include "test_client_fake.h"

static const pn_opts usual = PN_OPTS_INIT;

Test(client_link, greets_and_answers)
{
        struct fake f;
        pn_reply r;
        uint64_t id;

        fake_begin(&f, usual);
        id = ask_get(&f, "k");
        expect_none(&f);
        fake_hit(&f, id, "v");
        expect_reply(&f, id, PN_HIT, &r);
        cr_expect(value_is(&r, "v"));
        cr_expect_eq(pn_pending(f.c), 0);
        pn_reply_free(&r);
        pn_reply_free(&r); /* twice is fine */
        fake_end(&f);
}

/* Requests may follow HELLO before it is answered. */
Test(client_link, requests_travel_right_behind_hello)
{
        struct fake f;
        uint64_t id;

        fake_pair(&f, usual);
        cr_assert_eq(pn_append_get(f.c, "k", 1, &id), PN_OK);
        fake_hello(&f, 0);
        cr_assert_eq(fake_expect(&f, NATIVE_OP_GET), id);
        fake_hit(&f, id, "v");
        expect_reply(&f, id, PN_HIT, NULL);
        fake_end(&f);
}

Test(client_link, replies_in_any_order)
{
        enum { N = 100 };
        uint64_t ids[N];
        struct fake f;
        char text[16];
        pn_reply r;

        fake_begin(&f, usual);
        for (int i = 0; i < N; i++)
                ids[i] = ask_get(&f, "k");
        for (int i = N; i-- > 0;) {
                snprintf(text, sizeof text, "%d", i);
                fake_hit(&f, ids[i], text);
        }
        for (int i = 0; i < N; i += 2) { /* by id */
                snprintf(text, sizeof text, "%d", i);
                cr_assert_eq(pn_wait(f.c, ids[i], &r), PN_HIT);
                cr_expect(value_is(&r, text) && r.id == ids[i]);
                pn_reply_free(&r);
        }
        for (int i = N - 1; i > 0; i -= 2) /* as they came */
                expect_reply(&f, ids[i], PN_HIT, NULL);
        expect_none(&f);
        fake_end(&f);
}

/* A GET that is answered in time by nobody: its id. */
static uint64_t
ask_in_vain(struct fake *f, const char *key)
{
        uint64_t id = ask_get(f, key);

        cr_assert_eq(pn_wait(f->c, id, NULL), PN_TIMEOUT);
        return id;
}

/* The connection outlives a deadline, and what comes late is nobody else's. */
Test(client_link, a_late_reply_is_dropped)
{
        pn_opts opts = usual;
        struct fake f;
        uint64_t late, next;
        pn_reply r;

        opts.deadline_us = 5 * MILLI;
        fake_begin(&f, opts);
        late = ask_get(&f, "slow");
        cr_assert_eq(pn_wait(f.c, late, &r), PN_TIMEOUT);
        cr_expect(strlen(r.error) > 0 && r.id == late);
        pn_reply_free(&r);
        pn_set_deadline(f.c, 60 * SECOND);
        next = ask_get(&f, "quick");
        fake_hit(&f, late, "late");
        expect_none(&f);
        fake_hit(&f, next, "right");
        expect_reply(&f, next, PN_HIT, &r);
        cr_expect(value_is(&r, "right"));
        pn_reply_free(&r);
        fake_hit(&f, late, "again"); /* an id that is over: dropped as well */
        expect_none(&f);
        cr_expect_geq(pn_fd(f.c), 0);
        fake_end(&f);
}

Test(client_link, a_late_large_value_is_cancelled)
{
        pn_opts opts = usual;
        struct native_block b;
        uint8_t room[16];
        struct fake f;
        uint64_t id;

        opts.deadline_us = 5 * MILLI;
        fake_begin(&f, opts);
        id = ask_in_vain(&f, "k");
        b = native_block_of(room, sizeof room);
        native_put_number(&b, NATIVE_F_LENGTH, 10 * MIB);
        fake_reply(&f, (struct native_head){id, NATIVE_HIT, NATIVE_OP_GET, NATIVE_MORE}, &b,
                   none());
        cr_assert_eq(fake_expect(&f, NATIVE_OP_CANCEL), id);
        fake_chunk(&f, id, 0, 0, bytes_str("dropped"), true);
        expect_none(&f);
        fake_end(&f);
}

Test(client_link, a_cancelled_request_has_no_reply)
{
        struct fake f;
        uint64_t a, b;

        fake_begin(&f, usual);
        a = ask_get(&f, "a");
        b = ask_get(&f, "b");
        pn_cancel(f.c, a);
        pn_cancel(f.c, 12345);
        fake_hit(&f, a, "a");
        expect_none(&f);
        fake_hit(&f, b, "b");
        pn_cancel(f.c, b);
        expect_none(&f);
        cr_expect_eq(pn_pending(f.c), 0);
        fake_end(&f);
}

/* ---- bounds ---- */

Test(client_link, no_more_in_flight_than_allowed)
{
        pn_opts opts = usual;
        struct fake f;
        uint64_t id;

        opts.inflight_max = 2;
        fake_begin(&f, opts);
        id = ask_get(&f, "a");
        ask_get(&f, "b");
        cr_expect_eq(pn_append_get(f.c, "c", 1, NULL), PN_UNAVAILABLE);
        cr_expect_not_null(strstr(pn_error(f.c), "in flight"));
        fake_hit(&f, id, "v");
        cr_expect_eq(pn_append_get(f.c, "c", 1, NULL), PN_UNAVAILABLE, "a reply nobody took");
        expect_reply(&f, id, PN_HIT, NULL);
        cr_expect_eq(pn_append_get(f.c, "c", 1, NULL), PN_OK);
        fake_end(&f);
}

Test(client_link, what_a_frozen_server_does_not_read_is_bounded)
{
        pn_opts opts = usual;
        struct bytes value = noise(200000);
        struct fake f;
        unsigned n = 0;

        opts.inflight_max = 4096;
        fake_begin(&f, opts);
        while (n < 4096 && pn_append_set(f.c, "k", 1, value.at, value.len, NULL, NULL) == PN_OK)
                n++;
        cr_expect(n > 10 && n < 100, "%u", n);
        fake_end(&f);
        forget(value);
}

/* Requests timed out, and not a byte came: the next call does not trust the connection. */
Test(client_link, a_silent_connection_is_given_up)
{
        pn_opts opts = usual;
        struct fake f;

        opts.deadline_us = 2 * MILLI;
        opts.dead_us = 10 * MILLI;
        fake_begin(&f, opts);
        ask_in_vain(&f, "a");
        cr_expect_geq(pn_fd(f.c), 0);
        usleep(20 * MILLI);
        cr_expect_eq(pn_append_get(f.c, "b", 1, NULL), PN_UNAVAILABLE);
        cr_expect_eq(pn_fd(f.c), -1);
        fake_end(&f);
}

Test(client_link, an_idle_connection_is_not_silent)
{
        pn_opts opts = usual;
        struct fake f;

        opts.deadline_us = 2 * MILLI;
        opts.dead_us = 300 * MILLI;
        fake_begin(&f, opts);
        usleep(350 * MILLI);
        ask_in_vain(&f, "a");
        cr_expect_eq(pn_append_get(f.c, "b", 1, NULL), PN_OK); /* 2 ms are not 300 */
        fake_end(&f);
}

Test(client_link, bad_arguments_send_nothing)
{
        static const char *const long_tag[] = {""};
        const pn_meta metas[] = {
                {.confidence = 1.5F},
                {.confidence = -0.1F},
                {.flags = 8},
                {.tag_count = 65, .tags = long_tag},
                {.tag_count = 1, .tags = long_tag},
                {.ttl_ms = PN_NEVER},
                {.compute_us = UINT64_C(1) << 32},
        };
        const pn_bytes empty = {"", 0};
        struct bytes key = noise(65537);
        struct fake f;

        fake_begin(&f, usual);
        cr_expect_eq(pn_append_get(f.c, "", 0, NULL), PN_USAGE);
        cr_expect_eq(pn_append_get(f.c, key.at, key.len, NULL), PN_USAGE);
        cr_expect_eq(pn_append_expire(f.c, "k", 1, 0, NULL), PN_USAGE);
        cr_expect_eq(pn_append_mget(f.c, NULL, 0, NULL), PN_USAGE);
        cr_expect_eq(pn_append_mget(f.c, &empty, 1, NULL), PN_USAGE);
        for (size_t i = 0; i < sizeof metas / sizeof *metas; i++) {
                cr_expect_eq(pn_append_set(f.c, "k", 1, "v", 1, &metas[i], NULL), PN_USAGE, "%zu",
                             i);
                cr_expect_gt(strlen(pn_error(f.c)), 0);
        }
        cr_expect_eq(pn_wait(f.c, 77, NULL), PN_USAGE);
        cr_expect_eq(pn_wait(f.c, 0, NULL), PN_USAGE);
        fake_expect_nothing(&f);
        cr_expect_eq(pn_append_get(f.c, key.at, key.len - 1, NULL), PN_OK);
        fake_end(&f);
        forget(key);
}

Test(client_link, bad_options_are_named)
{
        pn_opts o = PN_OPTS_INIT;
        struct {
                pn_opts o;
                uint64_t later;
        } newer = {.o = PN_OPTS_INIT};
        pn_client *c;

        o.flags = 64;
        cr_expect_eq(pn_connect(&c, "127.0.0.1:1", &o), PN_USAGE);
        cr_expect_not_null(strstr(pn_error(c), "PN_LZ4"));
        cr_expect_eq(pn_ping(c), PN_USAGE);
        cr_expect_eq(pn_append_ping(c, NULL), PN_USAGE);
        pn_close(c);
        o = (pn_opts){.size = 8};
        cr_expect_eq(pn_connect(&c, "127.0.0.1:1", &o), PN_USAGE);
        pn_close(c);
        newer.o.size = sizeof newer;
        newer.o.flags = PN_LAZY;
        cr_expect_eq(pn_connect(&c, "127.0.0.1:1", &newer.o), PN_OK, "a newer program");
        pn_close(c);
        newer.later = 1;
        cr_expect_eq(pn_connect(&c, "127.0.0.1:1", &newer.o), PN_USAGE);
        pn_close(c);
        pn_close(NULL);
}

/* ---- the server's end, and its lies ---- */

/* A whole conversation's bytes from the server: HELLO, a hit, a value in chunks. */
static void
script(struct chain *out, uint64_t hello, uint64_t hit, uint64_t large)
{
        uint8_t room[64];
        struct native_block b = native_block_of(room, sizeof room);
        struct native_head chunk = {.id = large, .flags = NATIVE_REPLY | NATIVE_MORE};

        native_put_number(&b, NATIVE_F_PROTOCOL, 1);
        native_write(out, (struct native_head){hello, 0, NATIVE_OP_HELLO, NATIVE_REPLY}, &b, none(),
                     NULL, none());
        native_write(out, (struct native_head){hit, NATIVE_HIT, NATIVE_OP_GET, NATIVE_REPLY}, NULL,
                     none(), NULL, bytes_str("value"));
        b.len = 0;
        native_put_number(&b, NATIVE_F_LENGTH, 6);
        native_write(
                out,
                (struct native_head){large, NATIVE_HIT, NATIVE_OP_GET, NATIVE_REPLY | NATIVE_MORE},
                &b, none(), NULL, none());
        native_chunk_write(out, chunk, 0, 0, NULL, bytes_str("abc"));
        chunk.flags = NATIVE_REPLY;
        native_chunk_write(out, chunk, 0, 3, NULL, bytes_str("def"));
}

/* Appends two GETs to a new connection and takes what the client says. */
static struct chain
script_for(struct fake *f, uint64_t ids[2])
{
        struct chain out = {0};
        uint64_t hello;

        fake_pair(f, usual);
        cr_assert_eq(pn_append_get(f->c, "a", 1, &ids[0]), PN_OK);
        cr_assert_eq(pn_append_get(f->c, "b", 1, &ids[1]), PN_OK);
        fake_take_preface(f);
        hello = fake_expect(f, NATIVE_OP_HELLO);
        fake_expect(f, NATIVE_OP_GET);
        fake_expect(f, NATIVE_OP_GET);
        script(&out, hello, ids[0], ids[1]);
        return out;
}

Test(client_link, the_server_dies_at_every_byte)
{
        size_t total = SIZE_MAX;

        for (size_t cut = 0; cut <= total; cut++) {
                uint64_t ids[2];
                struct fake f;
                struct chain out = script_for(&f, ids);
                struct iovec iov;
                unsigned hits = 0, lost = 0;
                pn_reply r;

                cr_assert_eq(chain_iovecs(&out, &iov, 1), 1);
                total = iov.iov_len;
                f.step = cut % 7 + 1;
                fake_send(&f, bytes_of(iov.iov_base, cut));
                close(f.fd);
                f.fd = -1;
                pn_on_io(f.c, PN_READ);
                while (pn_next(f.c, &r) != PN_AGAIN) {
                        hits += r.status == PN_HIT;
                        lost += r.status == PN_UNAVAILABLE && strlen(r.error) > 0;
                        pn_reply_free(&r);
                }
                cr_assert_eq(hits + lost, 2, "cut at %zu: %u, %u", cut, hits, lost);
                cr_assert_eq(hits == 2, cut == total);
                cr_assert_eq(pn_fd(f.c), -1);
                cr_assert_eq(pn_pending(f.c), 0);
                cr_assert_eq(pn_want(f.c), 0);
                cr_assert_eq(pn_append_ping(f.c, NULL), PN_UNAVAILABLE);
                chain_free(&out);
                fake_end(&f);
        }
}

/* Any bytes of the script changed, anything appended: one reply for each request, no crash. */
Test(client_link, damaged_bytes_end_at_worst_the_connection)
{
        uint64_t x = 88172645463325252u;

        for (int round = 0; round < 4000; round++) {
                uint64_t ids[2];
                struct fake f;
                struct chain out = script_for(&f, ids);
                struct iovec iov;
                unsigned replies = 0;
                uint8_t *bytes;
                pn_reply r;

                cr_assert_eq(chain_iovecs(&out, &iov, 1), 1);
                bytes = mem_alloc(iov.iov_len);
                memcpy(bytes, iov.iov_base, iov.iov_len);
                for (int i = 0; i <= round % 3; i++) {
                        x ^= x << 13;
                        x ^= x >> 7;
                        x ^= x << 17;
                        bytes[x % iov.iov_len] =
                                (uint8_t)(round % 2 ? x >> 32 : 1U << (x >> 32 & 7));
                }
                fake_send(&f, bytes_of(bytes, iov.iov_len));
                close(f.fd);
                f.fd = -1;
                pn_on_io(f.c, PN_READ);
                while (pn_next(f.c, &r) != PN_AGAIN) {
                        replies++;
                        pn_reply_free(&r);
                }
                cr_assert_eq(replies, 2);
                cr_assert_eq(pn_fd(f.c), -1);
                mem_free(bytes);
                chain_free(&out);
                fake_end(&f);
        }
}

static void
expect_lost(struct fake *f, const char *words)
{
        cr_expect_eq(pn_fd(f->c), -1);
        cr_expect_not_null(strstr(pn_error(f->c), words), "%s", pn_error(f->c));
}

Test(client_link, another_protocol_is_recognised)
{
        static const char *const greetings[] = {
                "-ERR unknown command, with beginning...\r\n",
                "HTTP/1.1 400 Bad Request\r\n\r\n",
                "220 mail\r\n",
        };

        for (size_t i = 0; i < sizeof greetings / sizeof *greetings; i++) {
                struct fake f;

                fake_pair(&f, usual);
                cr_assert_eq(pn_append_ping(f.c, NULL), PN_OK);
                fake_listen(&f);
                fake_send(&f, bytes_str(greetings[i]));
                close(f.fd);
                f.fd = -1;
                pn_on_io(f.c, PN_READ);
                expect_lost(&f, "does not speak Pannier's native protocol");
                fake_end(&f);
        }
}

Test(client_link, a_refused_hello_is_told)
{
        struct chain out = {0};
        struct fake f;
        uint64_t id;

        fake_pair(&f, usual);
        cr_assert_eq(pn_append_ping(f.c, NULL), PN_OK);
        fake_take_preface(&f);
        id = fake_expect(&f, NATIVE_OP_HELLO);
        native_error_write(&out, (struct native_head){id, 33, NATIVE_OP_HELLO, NATIVE_REPLY},
                           bytes_str("max number of\033 clients reached"));
        fake_send_chain(&f, &out);
        expect_lost(&f, "max number of? clients reached");
        fake_end(&f);
}

static void
send_head(struct fake *f, struct native_head head, enum native_field type, uint64_t number)
{
        uint8_t room[16];
        struct native_block b = native_block_of(room, sizeof room);

        native_put_number(&b, type, number);
        fake_reply(f, head, &b, none());
}

/* Each of these ends the connection and nothing else. */
Test(client_link, what_breaks_the_protocol)
{
        for (int lie = 0; lie < 12; lie++) {
                struct native_head head = {.status = NATIVE_HIT, .op = NATIVE_OP_GET};
                struct native_head more = {
                        .status = NATIVE_HIT, .op = NATIVE_OP_GET, .flags = NATIVE_MORE};
                struct fake f;
                uint64_t id;

                fake_begin(&f, usual);
                id = head.id = more.id = ask_get(&f, "k");
                switch (lie) {
                case 0: /* another operation's reply */
                        head.op = NATIVE_OP_SET;
                        fake_reply(&f, head, NULL, none());
                        break;
                case 1: /* a value is announced, and nothing follows */
                        send_head(&f, head, NATIVE_F_LENGTH, 5);
                        break;
                case 2: /* nothing is announced, and more is to follow */
                        fake_reply(&f, more, NULL, bytes_str("v"));
                        break;
                case 3: /* an empty value is announced */
                        send_head(&f, more, NATIVE_F_LENGTH, 0);
                        break;
                case 4: /* chunks of nothing */
                        fake_chunk(&f, id, 0, 0, bytes_str("v"), false);
                        break;
                case 5: /* a gap */
                        send_head(&f, more, NATIVE_F_LENGTH, 5);
                        fake_chunk(&f, id, 0, 1, bytes_str("v"), true);
                        break;
                case 6: /* more than was announced */
                        send_head(&f, more, NATIVE_F_LENGTH, 5);
                        fake_chunk(&f, id, 0, 0, bytes_str("longer"), true);
                        break;
                case 7: /* another item's */
                        send_head(&f, more, NATIVE_F_LENGTH, 5);
                        fake_chunk(&f, id, 1, 0, bytes_str("v"), true);
                        break;
                case 8: /* the last one, too early */
                        send_head(&f, more, NATIVE_F_LENGTH, 5);
                        fake_chunk(&f, id, 0, 0, bytes_str("v"), false);
                        break;
                case 9: /* all of it, and yet not the last */
                        send_head(&f, more, NATIVE_F_LENGTH, 5);
                        fake_chunk(&f, id, 0, 0, bytes_str("value"), true);
                        break;
                case 10: /* two heads */
                        send_head(&f, more, NATIVE_F_LENGTH, 5);
                        send_head(&f, more, NATIVE_F_LENGTH, 5);
                        break;
                default: /* HELLO again */
                        head.op = NATIVE_OP_HELLO;
                        fake_reply(&f, head, NULL, none());
                        break;
                }
                cr_expect_eq(pn_fd(f.c), -1, "lie %d", lie);
                expect_reply(&f, id, PN_UNAVAILABLE, NULL);
                expect_none(&f);
                fake_end(&f);
        }
}

/* Each of these fails one request, or none; the connection stays. */
Test(client_link, what_only_one_request_suffers_from)
{
        struct native_head head = {.status = NATIVE_HIT, .op = NATIVE_OP_GET};
        struct native_head more = {.status = NATIVE_HIT, .op = NATIVE_OP_GET, .flags = NATIVE_MORE};
        uint8_t critical[] = {200, 1, 1, 0, 7};
        struct native_block unknown = {critical, sizeof critical, sizeof critical, false};
        pn_opts opts = usual;
        struct fake f;
        uint64_t id;
        pn_reply r;

        opts.value_max = 100;
        fake_begin(&f, opts);
        head.id = id = ask_get(&f, "k"); /* a critical field of a later version */
        fake_reply(&f, head, &unknown, bytes_str("v"));
        expect_reply(&f, id, PN_ERROR, NULL);
        more.id = id = ask_get(&f, "k"); /* longer than we take */
        send_head(&f, more, NATIVE_F_LENGTH, 101);
        expect_reply(&f, id, PN_ERROR, &r);
        cr_expect_not_null(strstr(r.error, "value_max"));
        pn_reply_free(&r);
        cr_assert_eq(fake_expect(&f, NATIVE_OP_CANCEL), id);
        more.id = id = ask_get(&f, "k"); /* longer than there is memory in the world */
        send_head(&f, more, NATIVE_F_LENGTH, UINT64_MAX);
        expect_reply(&f, id, PN_ERROR, NULL);
        cr_assert_eq(fake_expect(&f, NATIVE_OP_CANCEL), id);
        head.id = id = ask_get(&f, "k"); /* packed, though we did not ask for it */
        send_head(&f, head, NATIVE_F_RAW_LENGTH, 5);
        expect_reply(&f, id, PN_ERROR, NULL);
        head.id = id = ask_get(&f, "k"); /* a state of a later version */
        head.status = 15;
        fake_reply(&f, head, NULL, none());
        expect_reply(&f, id, PN_MISS, NULL);
        head.id = id = ask_get(&f, "k"); /* another caller computes: a notice, then the reply */
        head.status = NATIVE_WAITING;
        head.flags = NATIVE_MORE;
        fake_reply(&f, head, NULL, none());
        expect_none(&f);
        fake_hit(&f, id, "computed");
        expect_reply(&f, id, PN_HIT, NULL);
        fake_hit(&f, 999, "of nobody");
        expect_none(&f);
        cr_expect_geq(pn_fd(f.c), 0);
        fake_end(&f);
}
