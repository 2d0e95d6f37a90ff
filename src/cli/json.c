/* cli/json: what scripts read. JSON has no byte strings: bytes that are not UTF-8 go into a member
 * called NAME_base64 instead. Times are microseconds, as their names say. Owns nothing: an object
 * belongs to its caller. */
#include <stdio.h>

#include "base/mem.h"
#include "cli/cli.h"

void
json_print(json_t *j)
{
        json_dumpf(j, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(j);
}

static char *
base64(struct bytes b)
{
        static const char digits[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        char *out = mem_alloc((b.len + 2) / 3 * 4 + 1), *p = out;

        for (size_t i = 0; i < b.len; i += 3) {
                size_t left = b.len - i;
                unsigned n = (unsigned)b.at[i] << 16 | (left > 1 ? (unsigned)b.at[i + 1] << 8 : 0) |
                             (left > 2 ? b.at[i + 2] : 0U);

                *p++ = digits[n >> 18];
                *p++ = digits[n >> 12 & 63];
                *p++ = left > 1 ? digits[n >> 6 & 63] : '=';
                *p++ = left > 2 ? digits[n & 63] : '=';
        }
        *p = '\0';
        return out;
}

void
json_put_bytes(json_t *object, const char *name, struct bytes b)
{
        json_t *text = json_stringn((const char *)b.at, b.len);
        char other[64], *encoded;

        if (text != NULL) {
                json_object_set_new(object, name, text);
                return;
        }
        encoded = base64(b);
        snprintf(other, sizeof other, "%s_base64", name);
        json_object_set_new(object, other, json_string(encoded));
        mem_free(encoded);
}

static void
put_number(json_t *object, const char *name, uint64_t number, uint64_t absent)
{
        if (number != absent && number <= INT64_MAX)
                json_object_set_new(object, name, json_integer((json_int_t)number));
}

json_t *
json_of_reply(struct bytes key, const pn_reply *r)
{
        json_t *j = json_object();
        bool has_value = r->status == PN_HIT || r->status == PN_STALE || r->status == PN_NEGATIVE;

        json_put_bytes(j, "key", key);
        json_object_set_new(j, "status", json_string(status_name(r->status)));
        if (has_value)
                json_put_bytes(j, "value", bytes_of(r->data, r->len));
        if (r->tier != 0)
                json_object_set_new(j, "tier", json_sprintf("l%d", r->tier));
        put_number(j, "age_us", r->age_us, PN_NEVER);
        put_number(j, "soft_us", r->soft_us, PN_NEVER);
        put_number(j, "hard_us", r->hard_us, PN_NEVER);
        put_number(j, "version", r->version, 0);
        put_number(j, "cost", r->cost, 0);
        put_number(j, "compute_us", r->compute_us, 0);
        put_number(j, "retry_us", r->retry_us, 0);
        put_number(j, "codec", r->codec, 0);
        if (r->confidence > 0)
                json_object_set_new(j, "confidence", json_real((double)r->confidence));
        if (r->reached != 0) {
                json_t *tiers = json_array();

                for (int i = 0; i < 3; i++) {
                        if ((r->reached >> i & 1) != 0)
                                json_array_append_new(tiers, json_sprintf("l%d", i + 1));
                }
                json_object_set_new(j, "reached", tiers);
        }
        if (r->error[0] != '\0')
                json_put_bytes(j, "error", bytes_str(r->error));
        put_number(j, "code", r->code, 0);
        return j;
}

/* ---- INFO ---- */

static json_t *
scalar(struct bytes text)
{
        int64_t number;
        json_t *j;

        if (bytes_to_i64(text, &number))
                return json_integer((json_int_t)number);
        j = json_stringn((const char *)text.at, text.len);
        return j != NULL ? j : json_string("?");
}

static void
put_scalar(json_t *object, struct bytes name, struct bytes text)
{
        char key[128];

        snprintf(key, sizeof key, "%.*s", (int)(name.len < 127 ? name.len : 127),
                 (const char *)name.at);
        json_object_set_new(object, key, scalar(text)); /* not UTF-8: jansson refuses the name */
}

/* Where the value at the front of `value=...,name=value` ends: at the last comma before the next
 * "=". */
static size_t
value_end(struct bytes rest)
{
        const uint8_t *equals = memchr(rest.at, '=', rest.len);
        const uint8_t *comma =
                equals != NULL ? memrchr(rest.at, ',', (size_t)(equals - rest.at)) : NULL;

        return comma != NULL ? (size_t)(comma - rest.at) : rest.len;
}

/* `a=1,b=2`. The words of `trouble`, the last one, may hold anything. */
static json_t *
parts(struct bytes line)
{
        json_t *j = json_object();
        const uint8_t *equals;

        while ((equals = memchr(line.at, '=', line.len)) != NULL) {
                struct bytes name = bytes_of(line.at, (size_t)(equals - line.at));
                struct bytes rest = bytes_from(line, name.len + 1);
                bool last = bytes_equal(name, bytes_str("trouble"));
                size_t len = last ? rest.len : value_end(rest);

                put_scalar(j, name, bytes_of(rest.at, len));
                line = bytes_from(rest, len + 1);
        }
        return j;
}

static void
put_line(json_t *section, struct bytes line, bool in_parts)
{
        const uint8_t *colon = memchr(line.at, ':', line.len);
        struct bytes name, rest;

        if (colon == NULL)
                return;
        name = bytes_of(line.at, (size_t)(colon - line.at));
        rest = bytes_from(line, name.len + 1);
        if (in_parts && memchr(rest.at, '=', rest.len) != NULL) {
                char key[128];

                snprintf(key, sizeof key, "%.*s", (int)(name.len < 127 ? name.len : 127),
                         (const char *)name.at);
                json_object_set_new(section, key, parts(rest));
                return;
        }
        put_scalar(section, name, rest);
}

static void
lower(char *text)
{
        for (; *text != '\0'; text++) {
                if (*text >= 'A' && *text <= 'Z')
                        *text = (char)(*text - 'A' + 'a');
        }
}

json_t *
json_of_info(struct bytes text)
{
        json_t *all = json_object(), *section = all;
        char name[64] = "";

        while (text.len > 0) {
                const uint8_t *end = memchr(text.at, '\n', text.len);
                size_t len = end != NULL ? (size_t)(end - text.at) : text.len;
                struct bytes line = bytes_of(text.at, len);

                text = bytes_from(text, len + 1);
                while (line.len > 0 && line.at[line.len - 1] == '\r')
                        line.len--;
                if (line.len > 2 && line.at[0] == '#') {
                        snprintf(name, sizeof name, "%.*s", (int)(line.len - 2),
                                 (const char *)line.at + 2);
                        lower(name);
                        section = json_object();
                        if (json_object_set_new(all, name, section) != 0)
                                section = all;
                } else if (line.len > 0) {
                        put_line(section, line,
                                 strcmp(name, "tiers") == 0 || strcmp(name, "namespaces") == 0 ||
                                         strcmp(name, "keyspace") == 0);
                }
        }
        return all;
}
