/* redis_command: RESP requests into a chain. Owns nothing. Limits: none of its own; the caller
 * bounds what waits. Not here: which commands (redis_calls.c and its kin). */
#include "io/redis_command.h"

#include <inttypes.h>
#include <stdio.h>

void
command_begin(struct chain *out, size_t parts)
{
        chain_printf(out, "*%zu\r\n", parts);
}

void
command_part(struct chain *out, struct bytes part)
{
        chain_printf(out, "$%zu\r\n", part.len);
        chain_append(out, part);
        chain_append(out, bytes_of("\r\n", 2));
}

void
command_text(struct chain *out, const char *text)
{
        command_part(out, bytes_str(text));
}

void
command_number(struct chain *out, uint64_t number)
{
        char text[24];
        int n = snprintf(text, sizeof text, "%" PRIu64, number);

        command_part(out, bytes_of(text, (size_t)n));
}

void
command_blob(struct chain *out, struct blob *blob, struct bytes part)
{
        chain_printf(out, "$%zu\r\n", part.len);
        chain_append_blob(out, blob, part);
        chain_append(out, bytes_of("\r\n", 2));
}
