/* request/info.h: the text of INFO. */
#ifndef PN_REQUEST_INFO_H
#define PN_REQUEST_INFO_H

#include "base/buf.h"
#include "request/env.h"

/* The Redis whose commands these are: clients compare it to decide what they may send. */
#define REDIS_VERSION "7.4.0"

/* Appends the sections asked for (names in any case; "all", "everything" and "default" are all
 * there are), each as "# Name" and its lines, with an empty line between two; none asked for: all.
 * Lines end in \r\n. What is not known is left out. */
void info_write(struct env *env, const struct bytes *sections, size_t count, struct buf *out);

#endif
