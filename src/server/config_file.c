/* config_file: the lines of the configuration file (INI, read by inih): sections [server] [l1] [l2]
 * [l3] and [namespace NAME]. Owns nothing beyond the reading. The library is given the lines by us:
 * so their numbers are known, what is indented is an ordinary line, and a line longer than the
 * library's is passed on in pieces. Namespaces wait until the end, as [namespace default] is what
 * the others begin with. Limit: LINE_MAX_BYTES a line. */
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "server/config.h"

enum { LINE_MAX_BYTES = 8192 };

struct policy_line {
        struct policy_line *next;
        char *name_space, *option, *value;
        unsigned line;
};

struct reading {
        struct config *config;
        FILE *file;
        char line[LINE_MAX_BYTES], pending[LINE_MAX_BYTES];
        size_t passed; /* of line, to the library; 0: a new one is to be read */
        unsigned number;
        bool failed; /* why is set */
        char *why;
        char section[128], name[128]; /* of what is pending */
        unsigned pending_at;
        struct policy_line *policies, **policies_end;
};

static void
fail(struct reading *r, unsigned line, const char *what)
{
        if (r->failed)
                return;
        r->failed = true;
        if (line == 0)
                snprintf(r->why, CONFIG_WHY_BYTES, "%.160s: %.320s", r->config->file, what);
        else
                snprintf(r->why, CONFIG_WHY_BYTES, "%.160s:%u: %.320s", r->config->file, line,
                         what);
}

/* ---- a line that is complete ---- */

static void
unknown_section(struct reading *r)
{
        static const char are[] = "sections are [server] [l1] [l2] [l3] and [namespace NAME]";
        char what[256];

        if (r->section[0] == '\0')
                snprintf(what, sizeof what, "a line must stand below its section; %s", are);
        else
                snprintf(what, sizeof what, "there is no section [%.60s]; %s", r->section, are);
        fail(r, r->pending_at, what);
}

static void
option_line(struct reading *r)
{
        struct config_origin from = {FROM_FILE, r->pending_at};
        char shown[256], what[256], guess[128];
        bool section_known = false;

        for (int id = 0; id < OPTION_COUNT_ALL; id++) {
                const struct option_row *row = &option_rows[id];

                if (strcmp(row->section, r->section) != 0)
                        continue;
                section_known = true;
                if (strcmp(row->name, r->name) != 0)
                        continue;
                snprintf(shown, sizeof shown, "%.160s:%u: [%s] %s =", r->config->file,
                         r->pending_at, row->section, row->name);
                if (!r->failed &&
                    !config_set(r->config, (enum option_id)id, r->pending, from, shown, r->why))
                        r->failed = true;
                return;
        }
        if (!section_known) {
                unknown_section(r);
                return;
        }
        snprintf(what, sizeof what, "[%.30s] has no option %.60s%s", r->section, r->name,
                 config_suggest(r->name, "", guess));
        fail(r, r->pending_at, what);
}

static char *
text_copy(const char *text)
{
        size_t len = strlen(text) + 1;

        return memcpy(mem_alloc(len), text, len);
}

static void
policy_line_keep(struct reading *r, const char *name_space)
{
        struct policy_line *p = mem_alloc(sizeof *p);

        *p = (struct policy_line){NULL, text_copy(name_space), text_copy(r->name),
                                  text_copy(r->pending), r->pending_at};
        *r->policies_end = p;
        r->policies_end = &p->next;
}

static void
pending_done(struct reading *r)
{
        static const char prefix[] = "namespace ";

        if (r->pending_at == 0)
                return;
        if (strncmp(r->section, prefix, strlen(prefix)) == 0)
                policy_line_keep(r, r->section + strlen(prefix) +
                                            strspn(r->section + strlen(prefix), " \t"));
        else
                option_line(r);
        r->pending_at = 0;
}

/* ---- what the library calls ---- */

/* The library tells only the number of a piece that it could not read. */
static void
syntax_judge(struct reading *r, const char *text)
{
        static const char what[] = "must be [SECTION], NAME = VALUE, or a comment";

        if (text[0] == '[' ? strchr(text, ']') == NULL
                           : strchr(";#\r\n", text[0]) == NULL && strpbrk(text, "=:") == NULL)
                fail(r, r->number, what);
}

/* Where to cut a line that is longer than the library takes: the next piece must look like the
 * continuation of a value and nothing else, and blanks at the cut would be lost. */
static size_t
cut_at(const char *text, size_t most)
{
        size_t n = most;

        while (n > most / 2 && (strchr(" \t;#[", text[n]) != NULL || strchr(" \t", text[n - 1])))
                n--;
        return n;
}

static char *
next_line(char *out, int size, void *stream)
{
        static const char mark[] = "\xef\xbb\xbf"; /* some editors begin a file so */
        struct reading *r = stream;
        size_t room = (size_t)size - 3, rest, blank = 0;
        bool again = r->passed > 0;

        if (!again) {
                if (fgets(r->line, sizeof r->line, r->file) == NULL)
                        return NULL;
                r->number++;
                rest = strlen(r->line);
                if (r->number == 1 && strncmp(r->line, mark, strlen(mark)) == 0)
                        memmove(r->line, r->line + strlen(mark), (rest -= strlen(mark)) + 1);
                if (rest == sizeof r->line - 1 && r->line[rest - 1] != '\n') {
                        fail(r, r->number, "the line is too long");
                        return NULL;
                }
                blank = strspn(r->line, " \t");
                syntax_judge(r, r->line + blank);
                /* What follows a comment or a section too long for one piece is not wanted. */
                if (strchr(";#[", r->line[blank]) != NULL && rest > room)
                        r->line[blank + room / 2] = '\0';
                r->passed = blank;
        }
        rest = strlen(r->line + r->passed);
        if (rest > room)
                rest = cut_at(r->line + r->passed, room);
        /* A blank before it makes it a continuation. */
        snprintf(out, (size_t)size, "%s%.*s", again ? " " : "", (int)rest, r->line + r->passed);
        r->passed += rest;
        if (r->line[r->passed] == '\0')
                r->passed = 0;
        return out;
}

static int
take_value(void *user, const char *section, const char *name, const char *value)
{
        struct reading *r = user;
        size_t have;

        if (r->pending_at != r->number) {
                pending_done(r);
                snprintf(r->section, sizeof r->section, "%s", section);
                snprintf(r->name, sizeof r->name, "%s", name);
                r->pending[0] = '\0';
                r->pending_at = r->number;
        }
        have = strlen(r->pending);
        snprintf(r->pending + have, sizeof r->pending - have, "%s", value);
        return 1;
}

/* ---- the file ---- */

static void
mode_keep(struct config *c, const struct policy_line *p)
{
        size_t len = strlen(p->name_space) + 1;
        struct config_mode *mode;

        if (strcmp(p->option, "mode") != 0)
                return;
        mode = mem_alloc(sizeof *mode + len);
        mode->next = c->modes;
        mode->line = p->line;
        memcpy(mode->name_space, p->name_space, len);
        c->modes = mode;
}

static void
policies_apply(struct reading *r, bool of_default)
{
        for (struct policy_line *p = r->policies; p != NULL; p = p->next) {
                char wrong[256], what[400];

                if ((strcmp(p->name_space, "default") == 0) != of_default)
                        continue;
                if (policies_set(r->config->policies, bytes_str(p->name_space),
                                 bytes_str(p->option), bytes_str(p->value), wrong)) {
                        mode_keep(r->config, p);
                        continue;
                }
                snprintf(what, sizeof what, "[namespace %.60s] %.40s = %.40s: %.200s",
                         p->name_space, p->option, p->value, wrong);
                fail(r, p->line, what);
                return;
        }
}

static void
policies_free(struct reading *r)
{
        struct policy_line *p;

        while ((p = r->policies) != NULL) {
                r->policies = p->next;
                mem_free(p->name_space);
                mem_free(p->option);
                mem_free(p->value);
                mem_free(p);
        }
}

bool
config_file_read(struct config *c, char why[static CONFIG_WHY_BYTES])
{
        struct reading *r = mem_zalloc(sizeof *r);
        int bad_line;
        bool ok;

        r->config = c;
        r->why = why;
        r->policies_end = &r->policies;
        r->file = fopen(c->file, "re");
        if (r->file == NULL) {
                snprintf(why, CONFIG_WHY_BYTES, "%.200s: %s", c->file, strerror(errno));
                mem_free(r);
                return false;
        }
        bad_line = ini_parse_stream(next_line, r, take_value, r);
        pending_done(r);
        if (bad_line != 0)
                fail(r, r->number, "the file cannot be read as INI");
        if (ferror(r->file) && !r->failed)
                fail(r, r->number, strerror(errno));
        policies_apply(r, true);
        policies_apply(r, false);
        fclose(r->file);
        policies_free(r);
        ok = !r->failed;
        mem_free(r);
        return ok;
}
