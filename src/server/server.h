/* server/server.h: the process: what is shared, the worker threads, signals. */
#ifndef PN_SERVER_SERVER_H
#define PN_SERVER_SERVER_H

#include "server/config.h"

/* Runs until it is told to end; the exit status. Takes the config over. `input` is read again on
 * SIGHUP. */
int server_run(struct config *config, const struct config_input *input);

#endif
