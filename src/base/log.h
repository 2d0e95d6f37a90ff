/* base/log.h: one line a message on stderr: time, level, words. Keys and values never go here.
 * Repeated messages are for the caller to bound: log_every() says whether a site may speak now. */
#ifndef PN_BASE_LOG_H
#define PN_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/must.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_setup(enum log_level level); /* once, in main */
void log_say(enum log_level level, const char *format, ...) printf_like(2, 3);

#define log_error(...) log_say(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_say(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_say(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_say(LOG_DEBUG, __VA_ARGS__)

struct log_gate {
        uint64_t next_us;
        uint64_t held; /* how many were kept quiet since */
};
/* True at most once every period; *held then tells how many were held back. */
bool log_every(struct log_gate *gate, uint64_t now_us, uint64_t period_us, uint64_t *held);

#endif
