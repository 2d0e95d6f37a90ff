/* memory_limit: reads the cgroup's limit. The path in /proc/self/cgroup is as the host sees it, or
 * "/" inside a cgroup namespace: every directory from it up to the mount is looked at, as any of
 * them may limit. Owns nothing. Not here: what is done with it (config.c, server.c). */
#include "server/memory_limit.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096, LINE_BYTES = 4096, SHARE_PERCENT = 70 };

/* Version 1 writes a number near 2^63 for "none". */
#define NO_LIMIT (UINT64_C(1) << 60)

static uint64_t
file_number(const char *path)
{
        char text[64] = "";
        FILE *f = fopen(path, "re");
        uint64_t n = UINT64_MAX;
        char *end;

        if (f == NULL)
                return UINT64_MAX;
        if (fgets(text, sizeof text, f) != NULL) {
                n = strtoull(text, &end, 10);
                if (end == text || n >= NO_LIMIT) /* "max" */
                        n = UINT64_MAX;
        }
        fclose(f);
        return n;
}

static uint64_t
lowest_above(const char *mount, const char *file, const char *group)
{
        char at[PATH_BYTES], path[PATH_BYTES + 256];
        uint64_t low = UINT64_MAX;

        snprintf(at, sizeof at, "%s", strcmp(group, "/") != 0 ? group : "");
        for (;;) {
                char *slash;
                uint64_t n;

                snprintf(path, sizeof path, "%s%s/%s", mount, at, file);
                n = file_number(path);
                low = n < low ? n : low;
                slash = strrchr(at, '/');
                if (slash == NULL)
                        return low;
                *slash = '\0';
        }
}

/* Does the list of version 1 controllers hold "memory"? */
static bool
is_memory(const char *controllers, size_t len)
{
        static const char name[] = "memory";

        for (const char *p = controllers; p < controllers + len;) {
                size_t n = strcspn(p, ",:");

                if (n == strlen(name) && memcmp(p, name, n) == 0)
                        return true;
                p += n + 1;
        }
        return false;
}

uint64_t
memory_limit(void)
{
        char line[LINE_BYTES];
        uint64_t low = UINT64_MAX;
        FILE *f = fopen("/proc/self/cgroup", "re");

        if (f == NULL)
                return low;
        /* number:controllers:path; version 2 has no controllers. */
        while (fgets(line, sizeof line, f) != NULL) {
                char *controllers = strchr(line, ':'), *path;
                uint64_t n = UINT64_MAX;

                path = controllers ? strchr(controllers + 1, ':') : NULL;
                if (path == NULL)
                        continue;
                line[strcspn(line, "\n")] = '\0';
                if (path == controllers + 1)
                        n = lowest_above("/sys/fs/cgroup", "memory.max", path + 1);
                else if (is_memory(controllers + 1, (size_t)(path - controllers - 1)))
                        n = lowest_above("/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                         path + 1);
                low = n < low ? n : low;
        }
        fclose(f);
        return low;
}

uint64_t
memory_limit_share(uint64_t limit)
{
        return limit == UINT64_MAX ? UINT64_MAX : limit / 100 * SHARE_PERCENT;
}
