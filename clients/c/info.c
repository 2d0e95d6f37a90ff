/* clients/c/info: numbers out of the text that INFO answers with. Pure. */
#include "inner.h"

/* The line `name:...` without its name. */
static bool
find_line(struct bytes text, struct bytes name, struct bytes *out)
{
        while (text.len > 0) {
                const uint8_t *end = memchr(text.at, '\n', text.len);
                size_t len = end != NULL ? (size_t)(end - text.at) : text.len;

                if (len > name.len && text.at[name.len] == ':' &&
                    bytes_equal(bytes_of(text.at, name.len), name)) {
                        *out = bytes_of(text.at + name.len + 1, len - name.len - 1);
                        return true;
                }
                text = bytes_from(text, len + 1);
        }
        return false;
}

/* The part `name=...` of `a=1,b=2` without its name. */
static bool
find_part(struct bytes line, struct bytes name, struct bytes *out)
{
        while (line.len > 0) {
                const uint8_t *end = memchr(line.at, ',', line.len);
                size_t len = end != NULL ? (size_t)(end - line.at) : line.len;

                if (len > name.len && line.at[name.len] == '=' &&
                    bytes_equal(bytes_of(line.at, name.len), name)) {
                        *out = bytes_of(line.at + name.len + 1, len - name.len - 1);
                        return true;
                }
                line = bytes_from(line, len + 1);
        }
        return false;
}

int
pn_info_number(const pn_reply *info, const char *name, const char *part, uint64_t *number)
{
        struct bytes found;

        if (!find_line(bytes_of(info->data, info->len), bytes_str(name), &found))
                return 0;
        while (found.len > 0 && found.at[found.len - 1] == '\r')
                found.len--;
        if (part != NULL && !find_part(found, bytes_str(part), &found))
                return 0;
        return bytes_to_u64(found, number);
}
