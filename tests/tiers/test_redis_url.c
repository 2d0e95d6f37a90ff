/* test_redis_url: what may stand in [l2] url. */
#include <string.h>

#include "redis_harness.h"

static const struct {
        const char *text, *host, *path, *user, *password;
        unsigned port, db;
} good[] = {
        {"redis://h", "h", NULL, NULL, NULL, 6379, 0},
        {"redis://10.0.0.1:7000/3", "10.0.0.1", NULL, NULL, NULL, 7000, 3},
        {"redis://h/", "h", NULL, NULL, NULL, 6379, 0},
        {"redis://[::1]:7000/1", "::1", NULL, NULL, NULL, 7000, 1},
        {"redis://[fe80::2]", "fe80::2", NULL, NULL, NULL, 6379, 0},
        {"redis://u:p%40%2f%3A@h:1", "h", NULL, "u", "p@/:", 1, 0},
        {"redis://:se@cret@h", "h", NULL, NULL, "se@cret", 6379, 0},
        {"redis+unix:///run/a%20b.sock?db=12", NULL, "/run/a b.sock", NULL, NULL, 0, 12},
        {"redis+unix://:pw@/s", NULL, "/s", NULL, "pw", 0, 0},
};
static const char *const bad[] = {
        "",
        "h:6379",
        "redis:/h",
        "redis://",
        "redis://:6379",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:x",
        "redis://::1:6379",
        "redis://[::1",
        "redis://[::1]x",
        "redis://h/x",
        "redis://h/-1",
        "redis://u@h",
        "redis://u:@h",
        "redis://a:%zz@h",
        "redis://a:%0@h",
        "redis://a:%00@h",
        "redis://a,b",
        "redis+unix://",
        "redis+unix://x",
        "redis+unix:///",
        "redis+unix:///s?x=1",
        "redis+unix:///s?db=",
        "rediss://h",
        "redis+cluster://h",
        "redis+sentinel://h/name",
        "postgresql://h",
};

int
main(void)
{
        case_begin("URLs", "-");
        for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
                char why[256] = "";
                struct redis_url u;

                if (!check(redis_url_parse(good[i].text, &u, why) == OK)) {
                        printf("# %s: %s\n", good[i].text, why);
                        continue;
                }
#define same(a, b) check(((a) == NULL) == ((b) == NULL) && ((a) == NULL || strcmp((a), (b)) == 0))
                same(u.host, good[i].host);
                same(u.path, good[i].path);
                same(u.user, good[i].user);
                same(u.password, good[i].password);
                check_is(u.db, good[i].db);
                if (u.host != NULL)
                        check_is(u.port, good[i].port);
                redis_url_free(&u);
        }
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                char why[256] = "";
                struct redis_url u;

                if (!check(redis_url_parse(bad[i], &u, why) == ERR_BAD_ARGUMENT))
                        printf("# %s\n", bad[i]);
                check(why[0] != '\0' && strstr(why, "%z") == NULL && strstr(why, "u@") == NULL);
        }
        case_end();
        return cases_end();
}
