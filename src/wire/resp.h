/* wire/resp.h: the Redis protocol, versions 2 and 3, the server's side: bytes -> commands, replies
 * -> bytes. Pure.
 *
 * The parser is resumable: it remembers how far it came, so that any split of the bytes gives the
 * same commands and each byte is looked at once. Arguments are kept as places relative to the
 * command's start: the caller may move the bytes between two calls, but keeps everything from the
 * command's start on. */
#ifndef PN_WIRE_RESP_H
#define PN_WIRE_RESP_H

#include "base/blob.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/chain.h"

/* ---- reading ---- */

struct resp_span { /* of an argument: from the command's start, or in parser.text */
        uint32_t at, len;
};

enum resp_stage {
        RESP_AT_START,
        RESP_AT_HEADER,
        RESP_AT_BULK,
        RESP_AT_LINE,
        RESP_AT_END,
        RESP_AT_FAULT
};
enum { RESP_SPANS_FIRST = 16, RESP_FAULT_BYTES = 64 };

struct resp_parser { /* embedded or allocated by its owner; fields belong to resp_parse.c */
        enum resp_stage stage;
        bool is_inline;
        bool refused; /* a bulk above keep_max: the command is swallowed, nothing of it is kept */
        uint32_t args_left; /* of an array: arguments still to come */
        uint32_t argc, cap;
        size_t pos;       /* read up to here, from the command's start */
        size_t seen;      /* an end of line is not in the bytes before */
        size_t bulk_left; /* of the bulk that is being read, without its line end */
        uint64_t keep_max, swallow_max;
        const uint8_t *base; /* what the spans are relative to, as of the last call */
        struct resp_span *args, first[RESP_SPANS_FIRST];
        struct buf text; /* an inline command's arguments, quotes and escapes undone */
        char fault[RESP_FAULT_BYTES];
};

/* A bulk longer than value_max (or than a key may be, if that is more) is refused, one longer than
 * four times that is a protocol error. */
void resp_parser_init(struct resp_parser *p, uint64_t value_max);
void resp_parser_deinit(struct resp_parser *p);

enum resp_result {
        /* A command of resp_argc() arguments (0: an empty line), valid until resp_next(). Asked
         * again, it says so again. */
        RESP_COMPLETE,
        RESP_MORE,    /* `need` bytes must stand at the front for a new try to be worthwhile */
        RESP_REFUSED, /* the command has ended, but a bulk in it was too long */
        RESP_BAD,     /* resp_fault() says why; for good */
};
struct resp_parsed {
        enum resp_result result;
        size_t consumed; /* COMPLETE: once it is done with; else to be dropped now */
        size_t need;     /* MORE: counted from behind `consumed` */
};
/* `in` begins where the command begins, less what was consumed of it. */
struct resp_parsed resp_parse(struct resp_parser *p, struct bytes in);
/* The command is done with: the next one begins. After COMPLETE and REFUSED. */
void resp_next(struct resp_parser *p);

/* The end of the sentence that begins "Protocol error: ". */
const char *resp_fault(const struct resp_parser *p);

static inline unsigned
resp_argc(const struct resp_parser *p)
{
        return p->argc;
}
static inline struct bytes
resp_arg(const struct resp_parser *p, unsigned i)
{
        return (struct bytes){p->base + p->args[i].at, p->args[i].len};
}

/* A whole number as Redis takes it: no plus sign, no zeros in front, nothing around it. */
bool resp_number(struct bytes text, int64_t *out);

/* ---- writing ---- */

enum resp_version { RESP_2 = 2, RESP_3 = 3 };

void resp_simple(struct chain *out, const char *text);
/* `text` begins with its prefix ("ERR ..."). Control characters become
 * spaces. */
void resp_error(struct chain *out, const char *text);
void resp_integer(struct chain *out, int64_t n);
void resp_bulk(struct chain *out, struct bytes b);
void resp_bulk_text(struct chain *out, const char *text);
/* `part` lies in blob and is pinned where that pays. */
void resp_bulk_blob(struct chain *out, struct blob *blob, struct bytes part);
void resp_bulk_number(struct chain *out, uint64_t n);
void resp_null(struct chain *out, enum resp_version v);
/* n elements follow; map: n pairs. */
void resp_array(struct chain *out, size_t n);
void resp_map(struct chain *out, size_t n, enum resp_version v);
void resp_set(struct chain *out, size_t n, enum resp_version v);
void resp_double(struct chain *out, double d, enum resp_version v);
void resp_boolean(struct chain *out, bool b, enum resp_version v);
/* Text for people; RESP2: a bulk. */
void resp_verbatim(struct chain *out, struct bytes text, enum resp_version v);

#endif
