/* request/native_parts.h: what the files of the native session share (native_*.c); for nobody
 * else. */
#ifndef PN_REQUEST_NATIVE_PARTS_H
#define PN_REQUEST_NATIVE_PARTS_H

#include "request/native.h"
#include "request/request.h"
#include "wire/native.h"

enum { NATIVE_SENTENCE_MAX = 256 };

struct native_session { /* made at the first frame; native_session.c's, but where said */
        struct session *session;
        struct task task; /* the idle timer's */
        struct timer idle;
        struct list streams; /* native_stream.c: replies that wait for credit */
        struct list uploads; /* native_upload.c */
        unsigned uploads_open;
        uint64_t stream_bytes; /* native_stream.c: of values that are held for the streams */
        uint64_t features;     /* enum native_feature, agreed */
        uint64_t bye_id;
        bool greeted, leaving;
};

/* A refusal, as a request meets it: OK or why. `detail` fills the "%s" of its sentence. */
struct native_refusal {
        enum err error;
        const char *detail;
};

static inline struct native_head
native_reply_head(uint8_t op, uint64_t id, unsigned status)
{
        return (struct native_head){id, (uint16_t)status, op, NATIVE_REPLY};
}

static inline struct bytes
native_nothing(void)
{
        return (struct bytes){NULL, 0};
}

/* ---- native_session.c ---- */

/* The sentence with its detail; returns its length, at most max. */
size_t native_sentence(struct native_refusal why, char *out, size_t max);
void native_reply_error(struct chain *out, uint8_t op, uint64_t id, struct native_refusal why);
/* Bytes that break the protocol: the last answer of this session. */
void native_malformed(struct native_session *ns, const struct native_frame *f, const char *part,
                      const struct native_fault *fault);
/* Something ended: where the client said BYE, and nothing that it began is left (`waiting` requests
 * are), the BYE is answered into out. */
void native_settle(struct native_session *ns, struct chain *out, unsigned waiting);
/* Something was begun that must not idle. */
void native_watch(struct native_session *ns);

/* ---- native_set.c: judging and filling what ops are asked ---- */

/* Reads the fields of an item; a malformed block ends the session and is false. */
must_use bool native_judge_fields(struct native_session *ns, const struct native_frame *f,
                                  struct bytes block, uint64_t honoured,
                                  struct native_fields *fields, struct native_refusal *refusal);
struct native_refusal native_judge_key(struct bytes key);
/* Fields of a SET (or EXPIRE: the op), and its value's length; a detail may stand in `room`. */
struct native_refusal
native_judge_set(const struct env *env, uint8_t op, const struct native_fields *fields,
                 uint64_t value_len, char room[static 32]);
struct native_refusal native_judge_deadline(const struct native_fields *fields);
uint64_t native_deadline(const struct native_fields *fields);
/* What the fields ask, all but the value; they were judged. */
void native_ask_set(struct op *op, struct request *rq, const struct native_fields *fields);
#define NATIVE_SET_FIELDS                                                                       \
        (NATIVE_BIT(TTL) | NATIVE_BIT(GRACE) | NATIVE_BIT(COST) | NATIVE_BIT(COMPUTE) |         \
         NATIVE_BIT(CONFIDENCE) | NATIVE_BIT(TAG) | NATIVE_BIT(CODEC) | NATIVE_BIT(CONDITION) | \
         NATIVE_BIT(DEADLINE))

/* ---- native_reply.c: what became of an op, as an item ---- */

enum {
        NATIVE_REPLY_FIELDS_MAX = 240
}; /* room for the fields of any op's answer, in a batch or not */

struct native_answer {
        uint16_t status;
        struct native_block fields; /* in `room` */
        struct blob *blob; /* of the value: one reference, the holder's; NULL without a value */
        struct bytes value;
        uint8_t room[NATIVE_REPLY_FIELDS_MAX];
};
/* Fills `a`; an error's text is cut to text_max bytes. */
void native_answer_op(struct native_session *ns, const struct op *op, size_t text_max,
                      struct native_answer *a);
void native_answer_refusal(struct native_refusal why, size_t text_max, struct native_answer *a);
/* The reply with one answer, whose value is taken over: in place, or as a stream. */
void native_reply_answer(struct native_session *ns, struct chain *out, uint8_t opcode, uint64_t id,
                         struct native_answer *a);
/* The reply of one op; its value in place or as a stream. */
void native_reply_op(struct native_session *ns, struct chain *out, uint8_t opcode, uint64_t id,
                     const struct op *op);

/* ---- native_batch.c ---- */
void native_batch(struct native_session *ns, const struct native_frame *f,
                  const struct native_item *item);

/* ---- native_stream.c: values of replies that leave in chunks ---- */

struct native_stream;

/* A stream for up to `pieces` values. */
struct native_stream *native_stream_new(uint64_t id, unsigned pieces);
/* Takes over the reference of `blob`. */
void
native_stream_add(struct native_stream *st, uint32_t index, struct blob *blob, struct bytes value);
/* May so many more bytes be held for this connection's replies? */
bool
native_stream_fits(const struct native_session *ns, const struct native_stream *st, uint64_t bytes);
/* Its reply stands in out: the chunks follow as far as the first credit goes. */
void native_stream_start(struct native_session *ns, struct native_stream *st, struct chain *out);
void native_stream_credit(struct native_session *ns, uint64_t id, uint32_t bytes);
void native_stream_cancel(struct native_session *ns, uint64_t id);
/* Ends those that idle; UINT64_MAX, or when the next one might. */
uint64_t native_stream_sweep(struct native_session *ns);
void native_stream_drop_all(struct native_session *ns);

/* ---- native_upload.c: values of requests that come in chunks ---- */

void native_upload_begin(struct native_session *ns, const struct native_frame *f,
                         const struct native_item *item, const struct native_fields *fields);
void native_upload_chunk(struct native_session *ns, const struct native_frame *f);
void native_upload_cancel(struct native_session *ns, uint64_t id);
uint64_t native_upload_sweep(struct native_session *ns);
void native_upload_drop_all(struct native_session *ns);

/* ---- native_ops.c ---- */

/* An ordinary request: anything but HELLO, BYE, CHUNK, CREDIT and CANCEL. */
void native_execute(struct native_session *ns, const struct native_frame *f);
/* A SET that is complete: takes over the reference of `value` (NULL: empty). */
void native_set(struct native_session *ns, uint64_t id, struct bytes key,
                const struct native_fields *fields, struct blob *value);

#endif
