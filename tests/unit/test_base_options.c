/* Options: each type at its bounds and just past them, and the sentence a user gets. */
#include <criterion/criterion.h>

#include "base/mem.h"
#include "base/options.h"

static char why[256];

static const struct option_row size_row = {.type = OPTION_SIZE, .min = "1kb", .max = "1gb"};
static const struct option_row time_row = {.type = OPTION_TIME, .min = "1ms", .max = "60s"};
static const struct option_row count_row = {.type = OPTION_COUNT, .min = "1", .max = "64"};
static const struct option_row mode_row = {.type = OPTION_MODE, .min = "0", .max = "0777"};
static const struct option_row bool_row = {.type = OPTION_BOOL, .min = "", .max = ""};
static const struct option_row text_row = {.type = OPTION_TEXT, .min = "", .max = ""};
static const struct option_row choice_row = {
        .type = OPTION_CHOICE, .min = "", .max = "", .values = "auto uring epoll"};

static bool
takes(const struct option_row *row, const char *text, uint64_t number)
{
        union option_value v = {.number = 12345};

        return option_parse(row, bytes_str(text), &v, why) && v.number == number;
}

static const char *
refusal(const struct option_row *row, const char *text)
{
        union option_value v = {.number = 12345};

        why[0] = '\0';
        cr_expect_not(option_parse(row, bytes_str(text), &v, why), "'%s' was taken", text);
        cr_expect_eq(v.number, 12345, "a refusal leaves the value alone");
        return why;
}

Test(options, size)
{
        cr_expect(takes(&size_row, "1kb", 1024));
        cr_expect(takes(&size_row, "1024", 1024));
        cr_expect(takes(&size_row, "1gb", 1u << 30));
        cr_expect_str_eq(refusal(&size_row, "1023"), "must be from 1kb to 1gb");
        cr_expect_str_eq(refusal(&size_row, "1073741825"), "must be from 1kb to 1gb");
        cr_expect_str_eq(refusal(&size_row, "much"),
                         "must be a size (as 64kb, 512mb or 2gb) from 1kb to 1gb");
        refusal(&size_row, "");
        refusal(&size_row, "99999999999999999999gb");
}

Test(options, time)
{
        cr_expect(takes(&time_row, "1ms", 1000));
        cr_expect(takes(&time_row, "60", 60000000));
        cr_expect_str_eq(refusal(&time_row, "999us"), "must be from 1ms to 60s");
        cr_expect_str_eq(refusal(&time_row, "61s"), "must be from 1ms to 60s");
        cr_expect_str_eq(refusal(&time_row, "20 ms"),
                         "must be a time (as 250us, 20ms, 5m or 24h) from 1ms to 60s");
}

Test(options, count)
{
        cr_expect(takes(&count_row, "1", 1));
        cr_expect(takes(&count_row, "64", 64));
        cr_expect_str_eq(refusal(&count_row, "0"), "must be from 1 to 64");
        cr_expect_str_eq(refusal(&count_row, "65"), "must be from 1 to 64");
        cr_expect_str_eq(refusal(&count_row, "four"), "must be a whole number from 1 to 64");
        cr_expect_str_eq(refusal(&count_row, "1.5"), "must be a whole number from 1 to 64");
        refusal(&count_row, "-1");
}

Test(options, mode)
{
        cr_expect(takes(&mode_row, "0660", 0660));
        cr_expect(takes(&mode_row, "660", 0660));
        cr_expect(takes(&mode_row, "0", 0));
        cr_expect_str_eq(refusal(&mode_row, "1000"), "must be from 0 to 0777");
        cr_expect_str_eq(refusal(&mode_row, "0680"),
                         "must be permissions in octal digits from 0 to 0777");
        refusal(&mode_row, "");
        refusal(&mode_row, "777777777");
}

Test(options, yes_and_no)
{
        cr_expect(takes(&bool_row, "yes", 1));
        cr_expect(takes(&bool_row, "no", 0));
        cr_expect_str_eq(refusal(&bool_row, "maybe"), "must be one of: yes no");
        refusal(&bool_row, "");
        refusal(&bool_row, "yess");
}

Test(options, choice)
{
        cr_expect(takes(&choice_row, "auto", IO_AUTO));
        cr_expect(takes(&choice_row, "uring", IO_URING));
        cr_expect(takes(&choice_row, "epoll", IO_EPOLL));
        cr_expect_str_eq(refusal(&choice_row, "kqueue"), "must be one of: auto uring epoll");
        refusal(&choice_row, "");
        refusal(&choice_row, "aut");
        refusal(&choice_row, "auto uring");
}

Test(options, text)
{
        union option_value v;
        char *longest = mem_zalloc(4098);

        cr_assert(option_parse(&text_row, bytes_str(""), &v, why));
        cr_expect_str_eq(v.text, "");
        mem_free(v.text);
        memset(longest, 'a', 4097);
        cr_assert(option_parse(&text_row, bytes_of(longest, 4096), &v, why));
        cr_expect_eq(strlen(v.text), 4096);
        mem_free(v.text);
        cr_expect_str_eq(refusal(&text_row, longest), "must be at most 4096 bytes long");
        cr_expect_str_eq(refusal(&text_row, "a\nb"), "must not contain control characters");
        cr_expect_not(option_parse(&text_row, bytes_of("a\0b", 3), &v, why));
        mem_free(longest);
}

/* What option_format() prints is what a user may write back. */
static void
expect_same_after_format(const struct option_row *row, union option_value v)
{
        union option_value again;
        char out[256];

        cr_assert(option_parse(row, bytes_str(option_format(row, v, out)), &again, why), "%s",
                  row->name);
        if (row->type == OPTION_TEXT) {
                cr_expect_str_eq(again.text, v.text);
                mem_free(again.text);
                return;
        }
        cr_expect_eq(again.number, v.number, "%s became %s", row->name, out);
}

Test(options, defaults_are_as_the_table_says)
{
        struct options o;
        uint64_t before = mem_in_use();

        options_init(&o);
        for (int i = 0; i < OPTION_COUNT_ALL; i++)
                expect_same_after_format(&option_rows[i], o.value[i]);
        cr_expect_eq(option_number(&o, O_memory), 256u << 20);
        cr_expect_eq(option_number(&o, O_l2_timeout), 20000);
        cr_expect_str_eq(option_text(&o, O_listen), "127.0.0.1:7171");
        options_deinit(&o);
        cr_expect_eq(mem_in_use(), before);
}

Test(options, policy_defaults_are_legal_too)
{
        union option_value v;

        for (int i = 0; i < POLICY_COUNT_ALL; i++) {
                const struct option_row *row = &policy_rows[i];

                cr_assert_neq(row->type, OPTION_TEXT, "policies are all numbers");
                cr_assert(option_parse(row, bytes_str(row->fallback), &v, why), "%s", row->name);
                expect_same_after_format(row, v);
        }
}

/* The enums in options.h speak of the table's words by their place. */
Test(options, choices_stand_in_the_order_of_their_enums)
{
        cr_expect(takes(&option_rows[O_io], "uring", IO_URING));
        cr_expect(takes(&option_rows[O_io], "epoll", IO_EPOLL));
        cr_expect(takes(&option_rows[O_l3_migrate], "check", MIGRATE_CHECK));
        cr_expect(takes(&option_rows[O_l3_prepare], "on", PREPARE_ON));
        cr_expect(takes(&option_rows[O_l3_prepare], "off", PREPARE_OFF));
        cr_expect(takes(&policy_rows[P_mode], "l1", MODE_L1));
        cr_expect(takes(&policy_rows[P_mode], "l2", MODE_L2));
        cr_expect(takes(&policy_rows[P_mode], "behind", MODE_BEHIND));
        cr_expect(takes(&policy_rows[P_mode], "through", MODE_THROUGH));
        cr_expect(takes(&policy_rows[P_delete_ack], "local", DELETE_ACK_LOCAL));
}

Test(options, set_replaces_what_stood_there)
{
        struct options o;
        uint64_t before = mem_in_use();

        options_init(&o);
        cr_expect(options_set(&o, O_l2_url, bytes_str("redis://a"), why));
        cr_expect(options_set(&o, O_l2_url, bytes_str("redis://b"), why));
        cr_expect_str_eq(option_text(&o, O_l2_url), "redis://b");
        cr_expect_not(options_set(&o, O_l2_url, bytes_str("a\tb"), why));
        cr_expect_str_eq(option_text(&o, O_l2_url), "redis://b", "a refusal changes nothing");
        cr_expect(options_set(&o, O_threads, bytes_str("4"), why));
        cr_expect_not(options_set(&o, O_threads, bytes_str("65"), why));
        cr_expect_eq(option_number(&o, O_threads), 4);
        options_deinit(&o);
        cr_expect_eq(mem_in_use(), before);
}

Test(options, names_on_the_command_line)
{
        char out[64];

        cr_expect_str_eq(option_argv_name(&option_rows[O_memory], out), "memory");
        cr_expect_str_eq(option_argv_name(&option_rows[O_l1_ttl], out), "l1-ttl");
        cr_expect_str_eq(option_argv_name(&option_rows[O_l2_url], out), "l2");
        cr_expect_str_eq(option_argv_name(&option_rows[O_l2_timeout], out), "l2-timeout");
        cr_expect_str_eq(option_argv_name(&option_rows[O_l3_url], out), "l3");
        cr_expect_str_eq(option_argv_name(&policy_rows[P_grace], out), "grace");
}

Test(options, long_text_is_cut_when_shown)
{
        char text[400], out[256];

        memset(text, 'a', 399);
        text[399] = '\0';
        option_format(&text_row, (union option_value){.text = text}, out);
        cr_expect_eq(strlen(out), 255);
}
