/* io/redis_command.h: commands, appended to a connection's output in RESP. Not by hiredis'
 * formatter: that makes a new string of the whole command, and a large value would be copied three
 * times. */
#ifndef PN_IO_REDIS_COMMAND_H
#define PN_IO_REDIS_COMMAND_H

#include "base/chain.h"

/* Exactly `parts` of the following must come. */
void command_begin(struct chain *out, size_t parts);
void command_part(struct chain *out, struct bytes part);
void command_text(struct chain *out, const char *text);
void command_number(struct chain *out, uint64_t number);
/* A large part is pinned, not copied. */
void command_blob(struct chain *out, struct blob *blob, struct bytes part);

#endif
