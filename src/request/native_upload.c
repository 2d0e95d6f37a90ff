/* request/native_upload.c: values of native requests that come in chunks (proto/native.md, "Large
 * values"). The memory for all of a value is taken, and charged to [server] input-max, when its
 * length is declared.
 * Owns: its uploads: the request they belong to and the value so far.
 * Borrows: the native session.
 * Limits: LIMIT_UPLOADS at once, LIMIT_UPLOAD_IDLE_US without a chunk.
 * Not here: what is done with the value when it is whole (native_ops.c). */
#include "base/limits.h"
#include "base/mem.h"
#include "request/native_parts.h"

struct upload {
        struct list link; /* in native_session.uploads */
        uint64_t id, touched_us;
        struct blob *value;
        size_t got, allowed; /* bytes of the value: that came; that may come by now */
        size_t key_len, fields_len;
        uint8_t request[]; /* the fields, then the key */
};

static void
upload_free(struct native_session *ns, struct upload *up)
{
        *ns->session->env->input_bytes -= up->value->len;
        blob_unref(up->value);
        ns->uploads_open--;
        list_remove(&up->link);
        mem_free(up);
}

static struct upload *
upload_find(const struct native_session *ns, uint64_t id)
{
        list_each (node, &ns->uploads) {
                struct upload *up = container_of(node, struct upload, link);

                if (up->id == id)
                        return up;
        }
        return NULL;
}

/* Ends it with an answer other than the SET's own. */
static void
upload_refuse(struct native_session *ns, struct upload *up, struct native_refusal why)
{
        native_reply_error(&ns->session->out, NATIVE_OP_SET, up->id, why);
        upload_free(ns, up);
        native_settle(ns, &ns->session->out, ns->session->waiting);
        session_flush(ns->session);
}

/* All of the value is there. */
static void
upload_finish(struct native_session *ns, struct upload *up)
{
        struct bytes key = bytes_of(up->request + up->fields_len, up->key_len);
        struct blob *value = blob_ref(up->value);
        struct native_fields fields;
        struct native_fault fault;
        enum err e = native_fields_read(bytes_of(up->request, up->fields_len),
                                        NATIVE_SET_FIELDS | NATIVE_BIT(LENGTH), &fields, &fault);

        must(e == OK); /* they were read once before */
        /* The request is under way before the upload ends, so that a BYE waits for it. */
        native_set(ns, up->id, key, &fields, value);
        upload_free(ns, up);
        native_settle(ns, &ns->session->out, ns->session->waiting);
}

static struct native_refusal
upload_judge(const struct native_session *ns, uint64_t id, const struct native_item *item,
             uint64_t length)
{
        const struct env *env = ns->session->env;

        if (item->value.len > 0)
                return (struct native_refusal){ERR_BAD_ARGUMENT,
                                               "a value and a LENGTH do not go together"};
        if (upload_find(ns, id) != NULL)
                return (struct native_refusal){ERR_BAD_ARGUMENT, "an upload with this id is open"};
        if (ns->uploads_open >= LIMIT_UPLOADS)
                return (struct native_refusal){ERR_REFUSED,
                                               "two uploads are open on this connection already"};
        if (*env->input_bytes + length > option_number(env->options, O_input_max) / env->count)
                return (struct native_refusal){ERR_BUSY_MEMORY, NULL};
        return (struct native_refusal){OK, NULL};
}

void
native_upload_begin(struct native_session *ns, const struct native_frame *f,
                    const struct native_item *item, const struct native_fields *fields)
{
        uint64_t length = native_number(fields, NATIVE_F_LENGTH, 0);
        struct native_refusal refusal = upload_judge(ns, f->id, item, length);
        struct session *s = ns->session;
        struct blob *value = refusal.error == OK ? blob_new(length) : NULL;
        struct upload *up;

        session_flush(s);
        if (refusal.error == OK && value == NULL)
                refusal.error = ERR_BUSY_MEMORY;
        if (refusal.error != OK) {
                native_reply_error(&s->out, f->op, f->id, refusal);
                return;
        }
        up = mem_zalloc(sizeof *up + item->fields.len + item->key.len);
        up->id = f->id;
        up->value = value;
        up->touched_us = s->env->mono_us;
        up->fields_len = item->fields.len;
        up->key_len = item->key.len;
        memcpy(up->request, item->fields.at, item->fields.len);
        memcpy(up->request + item->fields.len, item->key.at, item->key.len);
        list_push(&ns->uploads, &up->link);
        ns->uploads_open++;
        *s->env->input_bytes += length;
        up->allowed = length;
        if (length > NATIVE_CREDIT_FIRST) /* the memory is there: it may all come */
                native_credit_write(
                        &s->out,
                        (struct native_head){.id = f->id, .flags = NATIVE_REPLY | NATIVE_MORE},
                        (uint32_t)(length - NATIVE_CREDIT_FIRST));
        if (length == 0)
                upload_finish(ns, up);
        else
                native_watch(ns);
}

void
native_upload_chunk(struct native_session *ns, const struct native_frame *f)
{
        struct upload *up = upload_find(ns, f->id);
        struct native_chunk chunk;
        struct native_fault fault;

        if (native_chunk_read(f, &chunk, &fault) != OK) {
                native_malformed(ns, f, "chunk", &fault);
                return;
        }
        if (up == NULL) /* of an upload that was refused or dropped meanwhile */
                return;
        if (chunk.index != 0 || chunk.offset != up->got) {
                upload_refuse(
                        ns, up,
                        (struct native_refusal){ERR_BAD_ARGUMENT, "a chunk is out of its order"});
                return;
        }
        if (chunk.data.len > up->allowed - up->got) {
                upload_refuse(ns, up,
                              (struct native_refusal){ERR_BAD_ARGUMENT,
                                                      "more bytes came than LENGTH said"});
                return;
        }
        memcpy(up->value->at + up->got, chunk.data.at, chunk.data.len);
        up->got += chunk.data.len;
        up->touched_us = ns->session->env->mono_us;
        if (up->got == up->value->len)
                upload_finish(ns, up);
}

void
native_upload_cancel(struct native_session *ns, uint64_t id)
{
        struct upload *up = upload_find(ns, id);
        struct session *s = ns->session;

        if (up == NULL)
                return;
        native_write(&s->out, native_reply_head(NATIVE_OP_SET, id, NATIVE_CANCELLED), NULL,
                     native_nothing(), NULL, native_nothing());
        upload_free(ns, up);
        native_settle(ns, &s->out, s->waiting);
        session_flush(s);
}

uint64_t
native_upload_sweep(struct native_session *ns)
{
        uint64_t now = ns->session->env->mono_us, next = UINT64_MAX;

        list_each_safe (node, &ns->uploads) {
                struct upload *up = container_of(node, struct upload, link);
                uint64_t ends = up->touched_us + LIMIT_UPLOAD_IDLE_US;

                if (now >= ends)
                        upload_refuse(ns, up, (struct native_refusal){ERR_TIMED_OUT, NULL});
                else if (ends < next)
                        next = ends;
        }
        return next;
}

void
native_upload_drop_all(struct native_session *ns)
{
        list_each_safe (node, &ns->uploads)
                upload_free(ns, container_of(node, struct upload, link));
}
