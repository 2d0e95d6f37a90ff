/* The client's end of a native conversation with the real engine, for tests of request/native_*.c:
 * simulated tiers and time, requests written and replies read with wire/native.h. One conversation
 * at a time, in `talk`. What does not happen as expected fails the test. */
#ifndef PN_TESTS_UNIT_NATIVE_CLIENT_H
#define PN_TESTS_UNIT_NATIVE_CLIENT_H

#include <criterion/criterion.h>
#include <inttypes.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/prng.h"
#include "tests/sim/world.h"
#include "wire/native.h"

enum { MS = 1000, SECOND = 1000000, MIB = 1 << 20 };

struct talk {
        struct sim_world w;
        struct session s;
        struct buf input;  /* sent to the server, not consumed yet */
        struct buf output; /* came from the server */
        size_t read_at;    /* of it was looked at */
        size_t need;       /* what the session waits for */
        size_t step_max;   /* so many bytes reach the server at once */
};
extern struct talk talk;

/* One server, with or without L2, and a session that has not got a byte. */
void world(bool l2);
void run(uint64_t for_us);
/* The client goes; nothing may be left of it. */
void end(void);

void say(struct bytes all);
void hello(uint64_t features); /* and takes the answer */
void ask(uint8_t op, uint64_t id, const struct native_block *fields, const char *key,
         struct bytes value);
void ask_set(uint64_t id, const char *key, struct bytes value);
void ask_get(uint64_t id, const char *key);
void put_item(struct chain *items, const struct native_block *fields, const char *key,
              struct bytes value);
void ask_batch(uint8_t op, uint64_t id, uint32_t count, struct chain *items);
void say_chain(struct chain *c);
/* A SET whose value follows. */
void declare(uint64_t id, const char *key, uint64_t length);
void send_chunk(uint64_t id, uint64_t offset, struct bytes data);
/* The SET and all of its value. */
void upload(uint64_t id, const char *key, struct blob *value);
void give_credit(uint64_t id, uint32_t bytes);
void cancel(uint64_t id);

struct reply {
        struct native_frame frame;
        struct native_item item;
        struct native_fields fields;
};
/* The next frame from the server; false: there is none. */
bool next(struct native_frame *f);
/* It is there, is about this request, and has this status. */
struct reply expect(uint64_t id, unsigned status);
void expect_nothing(void);
/* Takes the chunks of an id that are there; the bytes go behind *got. True: the last was there. */
bool take_chunks(uint64_t id, uint32_t index, struct buf *got);
/* A number among the reply's fields; UINT64_MAX: it is not there. */
uint64_t number(const struct reply *r, enum native_field field);
/* Is this a part of the reply's error? */
bool says(const struct reply *r, const char *words);
struct bytes expect_batch(const struct reply *r, uint32_t count);
struct native_item take_item(struct bytes *items, struct native_fields *fields, unsigned status);

struct bytes none(void);
/* Bytes that do not compress, the same for the same seed. */
struct blob *noise(size_t len, uint64_t seed);

#endif
