/* policy: the configured namespaces. Owns: their names and lines. A line that a namespace did not
 * set itself is the default's, whenever that changes. Limit: NAME_BYTES_MAX a name. Not here:
 * where lines come from (server/config.c), what a line means (its user). */
#include "cache/policy.h"

#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/table.h"

enum { WHY_BYTES = 256, NAME_BYTES_MAX = 128, NAMES_START = 8 };

struct space {
        struct table_node node;
        struct policy policy; /* as asked for: resolved */
        union option_value set[POLICY_COUNT_ALL];
        bool is_set[POLICY_COUNT_ALL];
        size_t len;
        char name[]; /* NUL-terminated */
};

struct policies {
        struct table by_name;
        struct space **all; /* in the order configured; [0] is the default */
        size_t count, cap;
        bool resolved, l2, l3; /* the tiers there are, once that is known */
};

static struct space *
space_find(const struct policies *p, struct bytes name)
{
        table_each_match (node, &p->by_name, hash64(name, 0)) {
                struct space *s = container_of(node, struct space, node);

                if (bytes_equal(name, bytes_of(s->name, s->len)))
                        return s;
        }
        return NULL;
}

static struct space *
space_new(struct policies *p, struct bytes name)
{
        struct space *s = mem_zalloc(sizeof *s + name.len + 1);

        if (name.len > 0)
                memcpy(s->name, name.at, name.len);
        s->len = name.len;
        if (p->count == p->cap) {
                p->cap = p->cap > 0 ? p->cap * 2 : NAMES_START;
                p->all = mem_realloc(p->all, p->cap * sizeof *p->all);
        }
        p->all[p->count++] = s;
        table_insert(&p->by_name, &s->node, hash64(name, 0));
        return s;
}

static enum write_mode
mode_auto(const struct policies *p)
{
        if (p->l3)
                return MODE_BEHIND;
        return p->l2 ? MODE_L2 : MODE_L1;
}

static void
space_resolve(const struct policies *p, struct space *s)
{
        for (size_t i = 0; i < POLICY_COUNT_ALL; i++)
                s->policy.value[i] = s->is_set[i] ? s->set[i] : p->all[0]->set[i];
        if (p->resolved && s->policy.value[P_mode].number == MODE_AUTO)
                s->policy.value[P_mode].number = mode_auto(p);
}

struct policies *
policies_create(void)
{
        struct policies *p = mem_zalloc(sizeof *p);
        struct space *s;
        char why[WHY_BYTES];

        table_init(&p->by_name, NAMES_START);
        s = space_new(p, bytes_str("default"));
        for (size_t i = 0; i < POLICY_COUNT_ALL; i++)
                must(option_parse(&policy_rows[i], bytes_str(policy_rows[i].fallback), &s->set[i],
                                  why));
        space_resolve(p, s);
        return p;
}

void
policies_destroy(struct policies *p)
{
        if (p == NULL)
                return;
        for (size_t i = 0; i < p->count; i++)
                mem_free(p->all[i]);
        mem_free(p->all);
        table_deinit(&p->by_name);
        mem_free(p);
}

static bool
name_judge(struct bytes name, char why[static WHY_BYTES])
{
        if (name.len > NAME_BYTES_MAX)
                snprintf(why, WHY_BYTES, "the name of a namespace must be at most %d bytes long",
                         NAME_BYTES_MAX);
        else if (name.len > 0 && (memchr(name.at, ':', name.len) || memchr(name.at, 0, name.len)))
                snprintf(why, WHY_BYTES,
                         "the name of a namespace must be without ':' and NUL: "
                         "it is what stands before the ':' of a key");
        else
                return true;
        return false;
}

static void
option_unknown(char why[static WHY_BYTES])
{
        int at = snprintf(why, WHY_BYTES, "must be one of:");

        for (size_t i = 0; i < POLICY_COUNT_ALL && at < WHY_BYTES; i++)
                at += snprintf(why + at, (size_t)(WHY_BYTES - at), " %s", policy_rows[i].name);
}

bool
policies_set(struct policies *p, struct bytes name_space, struct bytes option, struct bytes value,
             char why[static WHY_BYTES])
{
        union option_value parsed;
        struct space *s;
        size_t id = 0;

        if (!name_judge(name_space, why))
                return false;
        while (id < POLICY_COUNT_ALL && !bytes_equal(option, bytes_str(policy_rows[id].name)))
                id++;
        if (id == POLICY_COUNT_ALL) {
                option_unknown(why);
                return false;
        }
        if (!option_parse(&policy_rows[id], value, &parsed, why))
                return false;
        s = space_find(p, name_space);
        if (s == NULL)
                s = space_new(p, name_space);
        s->set[id] = parsed;
        s->is_set[id] = true;
        if (s != p->all[0])
                space_resolve(p, s);
        else
                for (size_t i = 0; i < p->count; i++)
                        space_resolve(p, p->all[i]);
        return true;
}

bool
policies_resolve(struct policies *p, bool l2, bool l3, char why[static WHY_BYTES])
{
        static const char *const mode_names[] = {"auto", "l1", "l2", "behind", "through"};

        p->resolved = true;
        p->l2 = l2;
        p->l3 = l3;
        for (size_t i = 0; i < p->count; i++) {
                struct space *s = p->all[i];
                uint64_t mode;

                space_resolve(p, s);
                mode = policy_number(&s->policy, P_mode);
                if ((mode == MODE_L2 && !l2) ||
                    ((mode == MODE_BEHIND || mode == MODE_THROUGH) && !l3)) {
                        snprintf(why, WHY_BYTES, "[namespace %s] mode = %s needs [%s] url", s->name,
                                 mode_names[mode], mode == MODE_L2 ? "l2" : "l3");
                        return false;
                }
        }
        return true;
}

const struct policy *
policies_find(const struct policies *p, struct bytes name_space)
{
        const struct space *s = p->count > 1 ? space_find(p, name_space) : NULL;

        return &(s != NULL ? s : p->all[0])->policy;
}

const char *
policies_name(const struct policies *p, size_t index)
{
        return index < p->count ? p->all[index]->name : NULL;
}
