/* redis_answer: hiredis' reader with answers of our own making. Owns: the reader; each answer
 * until it is given out. Compiles with hiredis 0.14 and 1.x. Limits: BUFFER_MAX bytes of an answer
 * that is not yet complete, ITEMS_MAX elements of one array: beyond it the peer is no Redis of
 * ours. Not here: which answer belongs to which question (redis_link.c). */
#include "io/redis_answer.h"

#include <hiredis/hiredis.h>

#include "base/mem.h"

enum { BUFFER_MAX = 16 << 20, BUFFER_IDLE_MAX = 1 << 20, ITEMS_MAX = 1 << 16 };

struct answer_reader {
        redisReader *hiredis;
        struct answer_target (*target)(void *whose);
        void *whose;
};

#if HIREDIS_MAJOR >= 1
typedef size_t item_count;
#else
typedef int item_count;
#endif

/* Hangs a new answer into the array it belongs to. */
static struct redis_answer *
answer_new(const redisReadTask *task, enum answer_kind kind, size_t inline_len)
{
        struct redis_answer *a = mem_try_alloc(sizeof *a + inline_len);

        if (a == NULL)
                return NULL;
        *a = (struct redis_answer){.kind = kind};
        if (task->parent != NULL) {
                struct redis_answer *array = task->parent->obj;

                if (array->kind == ANSWER_ARRAY && (size_t)task->idx < array->count)
                        array->items[task->idx] = a;
        }
        return a;
}

static void *
string_inline(const redisReadTask *task, enum answer_kind kind, const char *text, size_t len)
{
        struct redis_answer *a = answer_new(task, kind, len);

        if (a == NULL)
                return NULL;
        if (len > 0)
                memcpy(a->at, text, len);
        a->text = bytes_of(a->at, len);
        return a;
}

static void *
make_string(const redisReadTask *task, char *text, size_t len)
{
        struct answer_reader *r = task->privdata;
        struct answer_target target;
        struct redis_answer *a;

        if (task->type == REDIS_REPLY_STATUS)
                return string_inline(task, ANSWER_STATUS, text, len);
        if (task->type == REDIS_REPLY_ERROR)
                return string_inline(task, ANSWER_ERROR, text, len);
        if (task->type != REDIS_REPLY_STRING)
                return answer_new(task, ANSWER_STRANGE, 0);
        if (task->parent != NULL)
                return string_inline(task, ANSWER_STRING, text, len);
        a = answer_new(task, ANSWER_STRING, 0);
        if (a == NULL)
                return NULL;
        target = r->target(r->whose);
        if (target.into != NULL && len <= target.room) {
                memcpy(target.into, text, len);
                a->text = bytes_of(target.into, len);
                return a;
        }
        a->blob = blob_copy(bytes_of(text, len));
        if (a->blob == NULL) {
                mem_free(a);
                return NULL;
        }
        a->text = blob_bytes(a->blob);
        return a;
}

static void *
make_array(const redisReadTask *task, item_count count)
{
        struct redis_answer *a;

        if (task->type != REDIS_REPLY_ARRAY || (size_t)count > ITEMS_MAX)
                return NULL;
        a = answer_new(task, ANSWER_ARRAY, 0);
        if (a == NULL)
                return NULL;
        a->count = (size_t)count;
        if (count > 0)
                a->items = mem_zalloc((size_t)count * sizeof(struct redis_answer *));
        return a;
}

static void *
make_integer(const redisReadTask *task, long long value)
{
        struct redis_answer *a = answer_new(task, ANSWER_INTEGER, 0);

        if (a != NULL)
                a->integer = value;
        return a;
}

static void *
make_nil(const redisReadTask *task)
{
        return answer_new(task, ANSWER_NIL, 0);
}

#if HIREDIS_MAJOR >= 1
static void *
make_double(const redisReadTask *task, double value, char *text, size_t len)
{
        (void)value;
        (void)text;
        (void)len;
        return answer_new(task, ANSWER_STRANGE, 0);
}

static void *
make_bool(const redisReadTask *task, int value)
{
        (void)value;
        return answer_new(task, ANSWER_STRANGE, 0);
}
#endif

static void
free_object(void *answer)
{
        answer_free(answer);
}

void
answer_free(struct redis_answer *a)
{
        if (a == NULL)
                return;
        for (size_t i = 0; i < a->count; i++)
                answer_free(a->items[i]);
        mem_free(a->items);
        blob_unref(a->blob);
        mem_free(a);
}

/* hiredis wants it writable and never writes to it. */
static const redisReplyObjectFunctions functions = {
        .createString = make_string,
        .createArray = make_array,
        .createInteger = make_integer,
        .createNil = make_nil,
#if HIREDIS_MAJOR >= 1
        .createDouble = make_double,
        .createBool = make_bool,
#endif
        .freeObject = free_object,
};

struct answer_reader *
answer_reader_create(struct answer_target (*target)(void *whose), void *whose)
{
        struct answer_reader *r = mem_zalloc(sizeof *r);

        r->target = target;
        r->whose = whose;
        r->hiredis = redisReaderCreateWithFunctions((redisReplyObjectFunctions *)&functions);
        must(r->hiredis != NULL);
        r->hiredis->privdata = r;
        r->hiredis->maxbuf = BUFFER_IDLE_MAX;
        return r;
}

void
answer_reader_destroy(struct answer_reader *r)
{
        redisReaderFree(r->hiredis);
        mem_free(r);
}

bool
answer_reader_feed(struct answer_reader *r, struct bytes in)
{
        if (r->hiredis->len - r->hiredis->pos > BUFFER_MAX)
                return false;
        return redisReaderFeed(r->hiredis, (const char *)in.at, in.len) == REDIS_OK;
}

bool
answer_reader_next(struct answer_reader *r, struct redis_answer **out)
{
        void *reply = NULL;

        if (redisReaderGetReply(r->hiredis, &reply) != REDIS_OK)
                return false;
        *out = reply;
        return true;
}

struct bytes
answer_item(const struct redis_answer *a, size_t i)
{
        if (a->kind != ANSWER_ARRAY || i >= a->count || a->items[i] == NULL ||
            a->items[i]->kind != ANSWER_STRING)
                return (struct bytes){0};
        return a->items[i]->text;
}

bool
answer_item_number(const struct redis_answer *a, size_t i, uint64_t *out)
{
        if (a->kind == ANSWER_ARRAY && i < a->count && a->items[i] != NULL &&
            a->items[i]->kind == ANSWER_INTEGER && a->items[i]->integer >= 0) {
                *out = (uint64_t)a->items[i]->integer;
                return true;
        }
        return bytes_to_u64(answer_item(a, i), out);
}
