/* log: lines on stderr. Owns: the level, set once before threads start. One write() a line, so that
 * lines of several threads never mix; a line longer than LINE_MAX_BYTES is cut. The clock read here
 * only dates the line: no decision depends on it. Not here: files and rotation (whoever started us
 * has stderr). */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1024 };

static enum log_level log_level = LOG_INFO;

void
log_setup(enum log_level level)
{
        log_level = level;
}

static size_t
put_time(char *line, size_t room)
{
        struct timespec now;
        struct tm tm;
        size_t n;

        clock_gettime(CLOCK_REALTIME, &now);
        gmtime_r(&now.tv_sec, &tm);
        n = strftime(line, room, "%Y-%m-%dT%H:%M:%S", &tm);
        return n + (size_t)snprintf(line + n, room - n, ".%03ldZ", now.tv_nsec / 1000000);
}

void
log_say(enum log_level level, const char *format, ...)
{
        static const char *const names[] = {"error", "warn", "info", "debug"};
        char line[LINE_MAX_BYTES];
        size_t n, words;
        va_list args;
        int wrote;

        if (level > log_level)
                return;
        n = put_time(line, sizeof line);
        n += (size_t)snprintf(line + n, sizeof line - n, " %s ", names[level]);
        words = n;
        va_start(args, format);
        wrote = vsnprintf(line + n, sizeof line - n, format, args);
        va_end(args);
        if (wrote < 0)
                return;
        n += (size_t)wrote;
        if (n > sizeof line - 1)
                n = sizeof line - 1;
        /* Texts of libraries bring line ends along; one message is one line. */
        for (size_t i = words; i < n; i++) {
                if ((unsigned char)line[i] < ' ')
                        line[i] = ' ';
        }
        while (n > words && line[n - 1] == ' ')
                n--;
        line[n++] = '\n';
        /* Where stderr is gone there is nobody to tell. */
        if (write(STDERR_FILENO, line, n) < 0)
                return;
}

bool
log_every(struct log_gate *gate, uint64_t now_us, uint64_t period_us, uint64_t *held)
{
        if (now_us < gate->next_us) {
                gate->held++;
                return false;
        }
        *held = gate->held;
        gate->held = 0;
        gate->next_us = now_us + period_us;
        return true;
}
