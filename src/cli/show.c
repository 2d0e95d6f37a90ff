/* cli/show: what people read: times, sizes, sentences. Owns nothing. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"

char *
show_time(uint64_t us, char out[static 32])
{
        static const struct {
                uint64_t us;
                const char *name;
        } units[] = {
                {UINT64_C(86400000000), "d"},
                {UINT64_C(3600000000), "h"},
                {60000000, "min"},
                {1000000, "s"},
                {1000, "ms"},
                {1, "us"},
        };
        size_t u = 0;

        while (us < units[u].us && units[u].us > 1)
                u++;
        if (us == PN_NEVER)
                snprintf(out, 32, "for ever");
        else if (us < 100 * units[u].us && us % units[u].us != 0)
                snprintf(out, 32, "%.1f %s", (double)us / (double)units[u].us, units[u].name);
        else
                snprintf(out, 32, "%" PRIu64 " %s", us / units[u].us, units[u].name);
        return out;
}

char *
show_size(uint64_t bytes, char out[static 32])
{
        static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
        double n = (double)bytes;
        size_t u = 0;

        for (; n >= 1024 && u + 1 < sizeof units / sizeof *units; u++)
                n /= 1024;
        snprintf(out, 32, u == 0 || n >= 100 ? "%.0f %s" : "%.1f %s", n, units[u]);
        return out;
}

/* Terminals obey control characters (also U+0080 to U+009F), and what a cache holds may come from
 * anywhere. */
static bool
is_harmless(struct bytes b, size_t i, bool utf8)
{
        uint8_t c = b.at[i];

        if (c < 0x80)
                return (c >= ' ' && c != 0x7F) || c == '\n' || c == '\t';
        return utf8 && !(c == 0xC2 && b.at[i + 1] < 0xA0) && !(c < 0xA0 && b.at[i - 1] == 0xC2);
}

void
show_bytes(struct bytes b)
{
        json_t *text;
        bool utf8;

        if (!isatty(STDOUT_FILENO)) {
                fwrite(b.at, 1, b.len, stdout);
                return;
        }
        text = json_stringn((const char *)b.at, b.len);
        utf8 = text != NULL;
        json_decref(text);
        for (size_t i = 0; i < b.len; i++) {
                if (is_harmless(b, i, utf8))
                        putchar(b.at[i]);
                else
                        printf("\\x%02x", b.at[i]);
        }
}

void
show_error(const char *format, ...)
{
        char text[768];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        for (char *p = text; *p != '\0'; p++) {
                if ((unsigned char)*p < ' ' || *p == 0x7F)
                        *p = '?';
        }
        fprintf(stderr, "pannier: %s\n", text);
}

const char *
status_name(pn_status status)
{
        switch (status) {
        case PN_OK:
                return "ok";
        case PN_HIT:
                return "hit";
        case PN_STALE:
                return "stale";
        case PN_MISS:
                return "miss";
        case PN_LEASE:
                return "lease";
        case PN_BUSY:
                return "busy";
        case PN_NEGATIVE:
                return "negative";
        case PN_SHED:
                return "shed";
        case PN_NOT_MET:
                return "not_met";
        case PN_CANCELLED:
                return "cancelled";
        case PN_TIER_DOWN:
                return "tier_down";
        case PN_TIMEOUT:
                return "timeout";
        case PN_UNAVAILABLE:
                return "unavailable";
        case PN_USAGE:
                return "usage";
        case PN_NO_MEMORY:
                return "no_memory";
        case PN_ERROR:
        case PN_AGAIN:
                break;
        }
        return "error";
}

int
show_failure(const struct arguments *a, pn_status status, const char *why)
{
        if (a->json) {
                json_t *j = json_object();

                json_object_set_new(j, "status", json_string(status_name(status)));
                json_put_bytes(j, "error", bytes_str(why));
                json_print(j);
        } else {
                show_error("%s", why);
        }
        return status == PN_USAGE ? EXIT_USAGE : EXIT_FAILED;
}
