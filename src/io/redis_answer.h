/* io/redis_answer.h: what Redis answered: hiredis' reader makes these instead of its redisReply, so
 * that a value is copied once, to where it stays. The only place that knows hiredis. */
#ifndef PN_IO_REDIS_ANSWER_H
#define PN_IO_REDIS_ANSWER_H

#include "base/blob.h"

enum answer_kind {
        ANSWER_NIL,
        ANSWER_STRING,
        ANSWER_STATUS,
        ANSWER_ERROR,
        ANSWER_INTEGER,
        ANSWER_ARRAY,
        ANSWER_STRANGE, /* nothing that RESP2 knows */
};

struct redis_answer {
        enum answer_kind kind;
        int64_t integer;
        struct bytes text; /* STRING, STATUS, ERROR */
        struct blob *blob; /* of a STRING that is not in an array and did not go into `into`: holds
                              `text`. Whoever keeps it sets it NULL here */
        size_t count;      /* ARRAY */
        struct redis_answer **items;
        uint8_t at[];
};

struct answer_reader;

/* A large string goes straight to `into` if it fits; it asks before each answer that is a
 * string. */
struct answer_target {
        uint8_t *into;
        size_t room;
};
struct answer_reader *
answer_reader_create(struct answer_target (*target)(void *whose), void *whose);
void answer_reader_destroy(struct answer_reader *r);
/* False: what came cannot be an answer (or memory is short); of no more use. */
must_use bool answer_reader_feed(struct answer_reader *r, struct bytes in);
/* The next complete answer in *out, or NULL when more bytes are needed; false as above. */
must_use bool answer_reader_next(struct answer_reader *r, struct redis_answer **out);

void answer_free(struct redis_answer *a); /* NULL is fine */
/* Item i of an array, if it is a string; else empty. */
struct bytes answer_item(const struct redis_answer *a, size_t i);
/* A decimal number in item i; false if there is none. */
must_use bool answer_item_number(const struct redis_answer *a, size_t i, uint64_t *out);

#endif
