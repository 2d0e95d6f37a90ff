/* err: the texts of def/errors.def. Owns nothing. Not here: filling the "%s" in, and sending
 * (request/reply.c). */
#include "base/err.h"

#include "base/must.h"

struct err_row {
        const char *prefix;
        const char *text;
        unsigned status;
};

static const struct err_row err_rows[ERR_COUNT] = {
        [OK] = {"OK", "fine", 0},
#define ERROR(id, prefix, status, text) [ERR_##id] = {prefix, text, status},
#include "def/errors.def"
#undef ERROR
};

static const struct err_row *
err_row(enum err e)
{
        must((unsigned)e < ERR_COUNT);
        return &err_rows[e];
}

const char *
err_prefix(enum err e)
{
        return err_row(e)->prefix;
}

unsigned
err_status(enum err e)
{
        return err_row(e)->status;
}

const char *
err_text(enum err e)
{
        return err_row(e)->text;
}
