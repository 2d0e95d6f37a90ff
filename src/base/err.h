/* base/err.h: expected failures. Rows: def/errors.def. A function that can fail in an expected way
 * is `must_use enum err`, 0 is OK, and writes its out pointers only on success. */
#ifndef PN_BASE_ERR_H
#define PN_BASE_ERR_H

enum err {
        OK = 0,
#define ERROR(id, prefix, status, text) ERR_##id,
#include "def/errors.def"
#undef ERROR
        ERR_COUNT
};

/* The RESP prefix ("ERR", "TIERDOWN", ...), the native status (1..255), and the sentence, which may
 * hold one "%s" for the detail. */
const char *err_prefix(enum err e);
unsigned err_status(enum err e);
const char *err_text(enum err e);

#endif
