/* clients/c/address: where a server is, as people write it. Pure text: nothing is looked up.
 * Limits: host names of 255 bytes, paths as long as the system takes for a socket. */
#include <stdio.h>

#include "inner.h"

#define FORMS "an address is host:port, [ipv6]:port, pannier://host:port or unix:/path"

static bool
wrong(char why[static SENTENCE_MAX], const char *what)
{
        snprintf(why, SENTENCE_MAX, "%s; " FORMS, what);
        return false;
}

static bool
parse_path(const char *path, struct address *out, char why[static SENTENCE_MAX])
{
        size_t len = strlen(path);

        if (len == 0)
                return wrong(why, "the path of the socket is missing");
        if (len >= sizeof out->path) {
                snprintf(why, SENTENCE_MAX, "the path of the socket is longer than %zu bytes",
                         sizeof out->path - 1);
                return false;
        }
        memcpy(out->path, path, len + 1);
        out->kind = ADDRESS_UNIX;
        return true;
}

static bool
parse_port(const char *text, size_t len, struct address *out, char why[static SENTENCE_MAX])
{
        uint64_t port;

        if (!bytes_to_u64(bytes_of(text, len), &port) || port < 1 || port > 65535)
                return wrong(why, "the port is not a number from 1 to 65535");
        snprintf(out->port, sizeof out->port, "%u", (unsigned)port);
        return true;
}

/* The end of the host; *colon: where the port's colon is, or NULL. */
static bool
split_host(const char **host, size_t *host_len, const char **colon, char why[static SENTENCE_MAX])
{
        const char *text = *host, *bracket = strchr(text, ']');

        if (*text == '[') {
                if (bracket == NULL || (bracket[1] != '\0' && bracket[1] != ':'))
                        return wrong(why, "the brackets of an IPv6 address do not match");
                *host = text + 1;
                *host_len = (size_t)(bracket - *host);
                *colon = bracket[1] == ':' ? bracket + 1 : NULL;
                return true;
        }
        *colon = strchr(text, ':');
        if (*colon != NULL && strchr(*colon + 1, ':') != NULL)
                return wrong(why, "an IPv6 address stands in brackets");
        *host_len = *colon != NULL ? (size_t)(*colon - text) : strlen(text);
        return true;
}

static bool
parse_host(const char *text, struct address *out, char why[static SENTENCE_MAX])
{
        const char *host = text, *colon;
        size_t len;

        if (!split_host(&host, &len, &colon, why))
                return false;
        if (len == 0)
                return wrong(why, "the host is missing");
        if (len >= sizeof out->host)
                return wrong(why, "the host's name is too long");
        if (memchr(host, '/', len) != NULL || memchr(host, '@', len) != NULL)
                return wrong(why, "the host's name is none");
        memcpy(out->host, host, len);
        out->host[len] = '\0';
        out->kind = ADDRESS_TCP;
        if (colon == NULL) {
                snprintf(out->port, sizeof out->port, "%d", PORT_DEFAULT);
                return true;
        }
        return parse_port(colon + 1, strlen(colon + 1), out, why);
}

static bool
parse_url(const char *text, struct address *out, char why[static SENTENCE_MAX])
{
        char copy[300];
        size_t len = strlen(text);

        if (len > 0 && text[len - 1] == '/')
                len--;
        if (len >= sizeof copy)
                return wrong(why, "the address is too long");
        if (memchr(text, '/', len) != NULL)
                return wrong(why, "nothing follows the port");
        memcpy(copy, text, len);
        copy[len] = '\0';
        return parse_host(copy, out, why);
}

bool
address_parse(const char *text, struct address *out, char *shown, size_t shown_max,
              char why[static SENTENCE_MAX])
{
        bool fine;

        *out = (struct address){0};
        shown[0] = '\0';
        if (text == NULL || *text == '\0')
                return wrong(why, "the address is empty");
        if (strncmp(text, "unix://", 7) == 0)
                fine = parse_path(text + 7, out, why);
        else if (strncmp(text, "unix:", 5) == 0)
                fine = parse_path(text + 5, out, why);
        else if (*text == '/')
                fine = parse_path(text, out, why);
        else if (strncmp(text, "pannier://", 10) == 0)
                fine = parse_url(text + 10, out, why);
        else if (strstr(text, "://") != NULL)
                fine = wrong(why, "the address has an unknown scheme");
        else
                fine = parse_host(text, out, why);
        if (!fine)
                out->kind = ADDRESS_BAD;
        else if (out->kind == ADDRESS_UNIX)
                snprintf(shown, shown_max, "%s", out->path);
        else if (strchr(out->host, ':') != NULL)
                snprintf(shown, shown_max, "[%s]:%s", out->host, out->port);
        else
                snprintf(shown, shown_max, "%s:%s", out->host, out->port);
        return fine;
}
