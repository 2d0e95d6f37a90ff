/* request/cmd_flush.h: what FLUSHALL and PN.FLUSH share. */
#ifndef PN_REQUEST_CMD_FLUSH_H
#define PN_REQUEST_CMD_FLUSH_H

#include "request/command.h"

/* Empties the tiers (bits of enum flush_tier), of one namespace or (NULL) of everything: one op
 * for each worker. */
void flush_start(struct call *c, unsigned tiers, const struct bytes *name_space,
                 void (*finish)(struct request *));

#endif
