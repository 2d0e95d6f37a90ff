/* redis_url: where L2 is, as a user writes it. Owns nothing; what it makes is the caller's. Limits:
 * the lengths below, and a path that fits a socket address. Deliberately no word of the URL in an
 * error sentence: it may hold a password. Not here: names to addresses (redis_dial.c). */
#include <stdio.h>
#include <sys/un.h>

#include "base/mem.h"
#include "io/redis_tier.h"

enum { WHY_BYTES = 256, PORT_DEFAULT = 6379, DB_MAX = 1 << 20, HOST_MAX = 253, PREFIX_MAX = 64 };

static char *
text_copy(struct bytes b)
{
        char *out = mem_alloc(b.len + 1);

        if (b.len > 0)
                memcpy(out, b.at, b.len);
        out[b.len] = '\0';
        return out;
}

static int
hex_digit(uint8_t c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if ((c | 32) >= 'a' && (c | 32) <= 'f')
                return (c | 32) - 'a' + 10;
        return -1;
}

/* "%41" is "A". A new string, or NULL: a '%' without two digits, or an encoded NUL. */
static char *
percent_decode(struct bytes b)
{
        char *out = mem_alloc(b.len + 1);
        size_t n = 0;

        for (size_t i = 0; i < b.len; i++) {
                int high, low;

                if (b.at[i] != '%') {
                        out[n++] = (char)b.at[i];
                        continue;
                }
                high = i + 2 < b.len ? hex_digit(b.at[i + 1]) : -1;
                low = i + 2 < b.len ? hex_digit(b.at[i + 2]) : -1;
                if (high < 0 || low < 0 || high * 16 + low == 0) {
                        mem_free(out);
                        return NULL;
                }
                out[n++] = (char)(high * 16 + low);
                i += 2;
        }
        out[n] = '\0';
        return out;
}

static enum err
refuse(char why[static WHY_BYTES], const char *sentence)
{
        snprintf(why, WHY_BYTES, "%s", sentence);
        return ERR_BAD_ARGUMENT;
}

/* Cuts *rest at the first `mark`: what stands before it; false where there is none. */
static bool
cut(struct bytes *rest, char mark, struct bytes *before)
{
        const uint8_t *at = rest->len > 0 ? memchr(rest->at, mark, rest->len) : NULL;

        if (at == NULL)
                return false;
        *before = bytes_of(rest->at, (size_t)(at - rest->at));
        *rest = bytes_from(*rest, before->len + 1);
        return true;
}

static bool
number_parse(struct bytes text, uint64_t max, uint64_t *out)
{
        return text.len > 0 && text.at[0] >= '0' && text.at[0] <= '9' && bytes_to_u64(text, out) &&
               *out <= max;
}

static enum err
user_parse(struct bytes text, struct redis_url *out, char why[static WHY_BYTES])
{
        struct bytes user;

        if (!cut(&text, ':', &user))
                return refuse(why, "has a user without a password: write user:password@ or "
                                   ":password@");
        if (user.len > 0 && (out->user = percent_decode(user)) == NULL)
                return refuse(why, "has a '%' in its user that no two hex digits follow");
        if (text.len > 0 && (out->password = percent_decode(text)) == NULL)
                return refuse(why, "has a '%' in its password that no two hex digits follow");
        if (out->user != NULL && out->password == NULL)
                return refuse(why, "has a user without a password: write user:password@ or "
                                   ":password@");
        return OK;
}

/* host, host:port, [v6], [v6]:port */
static enum err
address_parse(struct bytes text, struct redis_url *out, char why[static WHY_BYTES])
{
        struct bytes host;
        uint64_t port = PORT_DEFAULT;
        bool has_port = false;

        if (text.len > 0 && text.at[0] == '[') {
                text = bytes_from(text, 1);
                if (!cut(&text, ']', &host))
                        return refuse(why, "has a '[' without a ']'");
                if (text.len > 0 && text.at[0] != ':')
                        return refuse(why, "has something other than :port behind the ']'");
                has_port = text.len > 0;
                text = bytes_from(text, 1);
        } else {
                if (text.len > 0 && memchr(text.at, ',', text.len) != NULL)
                        return refuse(why, "names several hosts, which is not supported yet: name "
                                           "one");
                has_port = cut(&text, ':', &host);
                if (!has_port)
                        host = text;
        }
        if (has_port && (!number_parse(text, UINT16_MAX, &port) || port == 0))
                return refuse(why, "has a port that is not a number from 1 to 65535 (an IPv6 "
                                   "address stands in brackets)");
        if (host.len == 0)
                return refuse(why, "names no host");
        if (host.len > HOST_MAX || memchr(host.at, '\0', host.len) != NULL)
                return refuse(why, "has a host name that is too long");
        out->host = text_copy(host);
        out->port = (uint16_t)port;
        return OK;
}

static enum err
db_parse(struct bytes text, struct redis_url *out, char why[static WHY_BYTES])
{
        uint64_t db;

        if (!number_parse(text, DB_MAX, &db))
                return refuse(why, "has a database that is not a number");
        out->db = (unsigned)db;
        return OK;
}

static enum err
tcp_parse(struct bytes rest, struct redis_url *out, char why[static WHY_BYTES])
{
        struct bytes authority, user = {0};
        enum err e = OK;

        if (!cut(&rest, '/', &authority)) {
                authority = rest;
                rest = (struct bytes){0};
        }
        if (rest.len > 0 && (e = db_parse(rest, out, why)) != OK)
                return e;
        /* The last '@' ends the user: a password may hold one. */
        for (size_t i = authority.len; i > 0; i--) {
                if (authority.at[i - 1] != '@')
                        continue;
                user = bytes_of(authority.at, i - 1);
                authority = bytes_from(authority, i);
                e = user_parse(user, out, why);
                break;
        }
        return e != OK ? e : address_parse(authority, out, why);
}

static enum err
unix_parse(struct bytes rest, struct redis_url *out, char why[static WHY_BYTES])
{
        struct bytes path;
        enum err e;

        if (!cut(&rest, '?', &path)) {
                path = rest;
                rest = (struct bytes){0};
        } else {
                if (rest.len < 3 || memcmp(rest.at, "db=", 3) != 0)
                        return refuse(why, "may end in ?db=N and nothing else");
                e = db_parse(bytes_from(rest, 3), out, why);
                if (e != OK)
                        return e;
        }
        /* redis+unix://user:password@/path */
        if (path.len > 0 && path.at[0] != '/') {
                struct bytes user;

                if (!cut(&path, '@', &user))
                        return refuse(why, "names no path: write redis+unix:///path");
                e = user_parse(user, out, why);
                if (e != OK)
                        return e;
        }
        if (path.len < 2 || path.at[0] != '/')
                return refuse(why, "names no path: write redis+unix:///path");
        out->path = percent_decode(path);
        if (out->path == NULL)
                return refuse(why, "has a '%' in its path that no two hex digits follow");
        if (strlen(out->path) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
                return refuse(why,
                              "has a path longer than 107 bytes, the most a socket's may have");
        return OK;
}

enum err
redis_url_parse(const char *text, struct redis_url *out, char why[static WHY_BYTES])
{
        static const struct {
                const char *scheme;
                enum err (*parse)(struct bytes, struct redis_url *, char *);
                const char *refusal;
        } kinds[] = {
                {"redis://", tcp_parse, NULL},
                {"redis+unix://", unix_parse, NULL},
                {"rediss://", NULL, "asks for TLS, which is not supported yet: use redis://"},
                {"redis+cluster://", NULL,
                 "asks for a cluster, which is not supported yet: use redis:// with one server"},
                {"redis+sentinel://", NULL,
                 "asks for Sentinel, which is not supported yet: use redis:// with one server"},
        };

        for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
                size_t len = strlen(kinds[i].scheme);
                struct redis_url url = {0};
                enum err e;

                if (strncmp(text, kinds[i].scheme, len) != 0)
                        continue;
                if (kinds[i].parse == NULL)
                        return refuse(why, kinds[i].refusal);
                e = kinds[i].parse(bytes_str(text + len), &url, why);
                if (e == OK)
                        *out = url;
                else
                        redis_url_free(&url);
                return e;
        }
        return refuse(why, "must begin with redis:// or redis+unix://");
}

void
redis_url_free(struct redis_url *url)
{
        if (url->password != NULL)
                explicit_bzero(url->password, strlen(url->password));
        mem_free(url->host);
        mem_free(url->path);
        mem_free(url->user);
        mem_free(url->password);
        *url = (struct redis_url){0};
}

/* It stands before the braces of every name: a brace in it would move the slot. */
static bool
prefix_fine(const char *prefix)
{
        size_t len = strlen(prefix);

        for (size_t i = 0; i < len; i++) {
                if (prefix[i] <= ' ' || prefix[i] == '{' || prefix[i] == '}' || prefix[i] == 127)
                        return false;
        }
        return len > 0 && len <= PREFIX_MAX;
}

enum err
redis_config_read(const struct options *options, struct redis_config *out,
                  char why[static WHY_BYTES])
{
        const char *prefix = option_text(options, O_l2_prefix);
        enum err e;

        if (!prefix_fine(prefix))
                return refuse(why, "[l2] prefix must be 1 to 64 printable characters other than "
                                   "space, { and }");
        e = redis_url_parse(option_text(options, O_l2_url), &out->url, why);
        if (e == OK)
                out->prefix = text_copy(bytes_str(prefix));
        return e;
}

void
redis_config_free(struct redis_config *config)
{
        redis_url_free(&config->url);
        mem_free(config->prefix);
        *config = (struct redis_config){0};
}
