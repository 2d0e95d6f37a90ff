/* postgres_config: the connection string: judged at the start, by libpq's own parser, and turned
 * into what libpq is given at each attempt. Host names are taken out of libpq's hands, for it
 * would look them up while everybody waits: it gets an address for each, beside the name (which
 * TLS and .pgpass need). Owns: copies of all texts.
 * Not here: looking names up (postgres_resolve.c). What a service file names is left to libpq as
 * it is. libpq's complaints quote the string, and with it perhaps a password: they are shown up
 * to there. */
#include <stdio.h>

#include "base/mem.h"
#include "io/postgres_inner.h"

enum { WHY_BYTES = 256, SCHEMA_MAX = 63, SECONDS_MAX = 3600 };

char *
pg_text_part(const char *text, size_t len)
{
        char *copy = mem_alloc(len + 1);

        memcpy(copy, text, len);
        copy[len] = '\0';
        return copy;
}

char *
pg_text(const char *text)
{
        return pg_text_part(text, strlen(text));
}

char *
pg_text_fill(const char *text, const struct pg_config *c)
{
        struct buf out = {0};
        char *filled;

        for (const char *at = text; *at != '\0'; at++) {
                if (*at == '@')
                        buf_append(&out, bytes_str(c->schema));
                else if (*at == '~')
                        buf_append(&out, bytes_str(c->schema_literal));
                else
                        buf_append(&out, bytes_of(at, 1));
        }
        filled = pg_text_part((const char *)out.at, out.len);
        buf_free(&out);
        return filled;
}

static char *
quoted(const char *text, char quote)
{
        struct buf out = {0};
        char *result;

        buf_append(&out, bytes_of(&quote, 1));
        for (const char *at = text; *at != '\0'; at++) {
                if (*at == quote)
                        buf_append(&out, bytes_of(at, 1));
                buf_append(&out, bytes_of(at, 1));
        }
        buf_append(&out, bytes_of(&quote, 1));
        result = pg_text_part((const char *)out.at, out.len);
        buf_free(&out);
        return result;
}

void
pg_config_schema(struct pg_config *c, const char *schema)
{
        c->schema_plain = pg_text(schema);
        c->schema = quoted(schema, '"');
        c->schema_literal = quoted(c->schema, '\'');
}

static bool
schema_judge(const char *schema, char why[static 256])
{
        size_t len = strlen(schema);
        bool plain = len >= 1 && len <= SCHEMA_MAX && strncmp(schema, "pg_", 3) != 0;

        for (size_t i = 0; i < len; i++)
                plain &= (unsigned char)schema[i] >= ' ' && schema[i] != 0x7f && schema[i] != '$' &&
                         schema[i] != '\\';
        if (plain)
                return true;
        snprintf(why, WHY_BYTES,
                 "[l3] schema must be a name of 1 to %d bytes that does not begin with pg_, without"
                 " control characters, $ and backslash",
                 SCHEMA_MAX);
        return false;
}

/* What libpq complains of, up to where it begins to quote. */
static void
complaint(const char *message, char why[static 256])
{
        size_t len = message != NULL ? strcspn(message, "\"\n") : 0;

        while (len > 0 && (message[len - 1] == ' ' || message[len - 1] == ':'))
                len--;
        if (len > 0 && strncmp(message, "missing", len) == 0) /* "missing "=" after ..." */
                len = 0;
        snprintf(
                why, WHY_BYTES,
                "[l3] url must be a connection string of libpq, as host=/run/postgresql dbname=app,"
                " or postgresql://USER@HOST/DB%s%.*s",
                len > 0 ? "; libpq says: " : "", (int)(len < 80 ? len : 80),
                len > 0 ? message : "");
}

static const char *
option_of(const PQconninfoOption *options, const char *key)
{
        for (const PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++)
                if (strcmp(o->keyword, key) == 0)
                        return o->val != NULL && o->val[0] != '\0' ? o->val : NULL;
        return NULL;
}

/* Splits at commas; *count parts, each a copy. */
static char **
split(const char *text, unsigned *count)
{
        unsigned n = 1;
        char **parts;

        for (const char *at = text; *at != '\0'; at++)
                n += *at == ',';
        parts = mem_zalloc(n * sizeof *parts);
        for (unsigned i = 0; i < n; i++) {
                size_t len = strcspn(text, ",");

                parts[i] = pg_text_part(text, len);
                text += len + 1;
        }
        *count = n;
        return parts;
}

static void
parts_free(char **parts, unsigned count)
{
        for (unsigned i = 0; parts != NULL && i < count; i++)
                mem_free(parts[i]);
        mem_free(parts);
}

static bool
hosts_read(struct pg_config *c, const char *hosts, const char *ports, char why[static 256])
{
        unsigned count;
        char **port;

        c->host = split(hosts, &c->hosts);
        port = split(ports != NULL ? ports : "", &count);
        c->port = mem_zalloc(c->hosts * sizeof *c->port);
        for (unsigned i = 0; i < c->hosts; i++)
                c->port[i] = pg_text(port[count == 1 ? 0 : i < count ? i : count - 1]);
        parts_free(port, count);
        if (c->hosts <= PG_ADDRESSES_MAX && (count == 1 || count == c->hosts))
                return true;
        snprintf(why, WHY_BYTES,
                 "[l3] url names %u hosts and %u ports; at most %d hosts, and one port or as many",
                 c->hosts, count, PG_ADDRESSES_MAX);
        return false;
}

static void
add(struct pg_config *c, const char *key, const char *value)
{
        c->key[c->count] = pg_text(key);
        c->value[c->count++] = pg_text(value);
}

static bool
is_place(const char *key)
{
        return strcmp(key, "host") == 0 || strcmp(key, "hostaddr") == 0 || strcmp(key, "port") == 0;
}

/* What libpq gets besides the hosts: what the user wrote, and a few defaults of ours that a
 * pooler does not mind. */
static void
keys_read(struct pg_config *c, const PQconninfoOption *given)
{
        static const char *const ours[][2] = {
                {"fallback_application_name", "pannierd"},
                {"gssencmode", "disable"}, /* asks the network for tickets, and waits */
                /* A host that vanished is noticed by the kernel; a frozen server answers. */
                {"keepalives_idle", "10"},
                {"keepalives_interval", "5"},
                {"keepalives_count", "3"},
                {"tcp_user_timeout", "30000"},
        };
        unsigned room = 4 + sizeof ours / sizeof ours[0];

        for (const PQconninfoOption *o = given; o->keyword != NULL; o++)
                room++;
        c->key = mem_zalloc(room * sizeof *c->key);
        c->value = mem_zalloc(room * sizeof *c->value);
        for (const PQconninfoOption *o = given; o->keyword != NULL; o++)
                if (o->val != NULL && o->val[0] != '\0' && (c->hosts == 0 || !is_place(o->keyword)))
                        add(c, o->keyword, o->val);
        for (unsigned i = 0; i < sizeof ours / sizeof ours[0]; i++)
                if (option_of(given, ours[i][0]) == NULL)
                        add(c, ours[i][0], ours[i][1]);
}

static const char *
either(const char *a, const char *b)
{
        return a != NULL ? a : b;
}

static bool
given_read(struct pg_config *c, const PQconninfoOption *given, const PQconninfoOption *defaults,
           char why[static 256])
{
        const char *timeout =
                either(option_of(given, "connect_timeout"), option_of(defaults, "connect_timeout"));
        const char *attributes = either(option_of(given, "target_session_attrs"),
                                        option_of(defaults, "target_session_attrs"));
        const char *host = either(option_of(given, "host"), option_of(defaults, "host"));
        uint64_t seconds;

        c->connect_timeout_us = PG_CONNECT_US;
        if (timeout != NULL && bytes_to_u64(bytes_str(timeout), &seconds) && seconds > 0 &&
            seconds <= SECONDS_MAX)
                c->connect_timeout_us = seconds * 1000000;
        c->wants_primary = attributes != NULL && (strcmp(attributes, "read-write") == 0 ||
                                                  strcmp(attributes, "primary") == 0);
        if (host != NULL && option_of(given, "hostaddr") == NULL &&
            option_of(defaults, "hostaddr") == NULL && option_of(given, "service") == NULL &&
            !hosts_read(c, host, either(option_of(given, "port"), option_of(defaults, "port")),
                        why))
                return false;
        keys_read(c, given);
        return true;
}

must_use bool
pg_config_read(struct pg_config *c, const struct options *options, char why[static 256])
{
        const char *schema = option_text(options, O_l3_schema);
        PQconninfoOption *given, *defaults;
        char *message = NULL;
        bool good;

        memset(c, 0, sizeof *c);
        if (!schema_judge(schema, why))
                return false;
        given = PQconninfoParse(option_text(options, O_l3_url), &message);
        if (given == NULL) {
                complaint(message, why);
                PQfreemem(message);
                return false;
        }
        defaults = PQconndefaults();
        good = given_read(c, given, defaults, why);
        PQconninfoFree(given);
        PQconninfoFree(defaults);
        pg_config_schema(c, schema);
        if (!good)
                pg_config_free(c);
        return good;
}

void
pg_config_free(struct pg_config *c)
{
        parts_free(c->host, c->hosts);
        parts_free(c->port, c->hosts);
        parts_free(c->key, c->count);
        parts_free(c->value, c->count); /* passwords too; libpq keeps copies of its own */
        mem_free(c->schema);
        mem_free(c->schema_literal);
        mem_free(c->schema_plain);
        memset(c, 0, sizeof *c);
}

must_use bool
postgres_tier_check(const struct options *options, char why[static 256])
{
        struct pg_config c;

        if (!pg_config_read(&c, options, why))
                return false;
        pg_config_free(&c);
        return true;
}

static void
join(struct buf *out, unsigned i, const char *text)
{
        if (i > 0)
                buf_append(out, bytes_str(","));
        buf_append(out, bytes_str(text));
}

PGconn *
pg_config_connect(const struct pg_config *c, const struct pg_resolve *r, unsigned first)
{
        const char **keys = mem_zalloc((c->count + 4) * sizeof *keys);
        const char **values = mem_zalloc((c->count + 4) * sizeof *values);
        struct buf host = {0}, address = {0}, port = {0};
        unsigned n = 0;
        bool numeric = false;
        PGconn *conn;

        for (; n < c->count; n++) {
                keys[n] = c->key[n];
                values[n] = c->value[n];
        }
        for (unsigned i = 0; r != NULL && i < r->count; i++) {
                const struct pg_address *a = &r->at[(first + i) % r->count];

                join(&host, i, a->host);
                join(&address, i, a->address);
                join(&port, i, a->port);
                numeric |= a->address[0] != '\0';
        }
        if (host.len > 0) {
                buf_append(&host, bytes_of("", 1));
                buf_append(&address, bytes_of("", 1));
                buf_append(&port, bytes_of("", 1));
                keys[n] = "host";
                values[n++] = (const char *)host.at;
                keys[n] = "port";
                values[n++] = (const char *)port.at;
                if (numeric) {
                        keys[n] = "hostaddr";
                        values[n++] = (const char *)address.at;
                }
        }
        conn = PQconnectStartParams(keys, values, 0);
        buf_free(&host);
        buf_free(&address);
        buf_free(&port);
        mem_free(keys);
        mem_free(values);
        return conn;
}
