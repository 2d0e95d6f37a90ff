/* cli/main: the `pannier` command: which command it is, the connection, the exit status. Owns: the
 * connection. Not here: what a command does (keys.c, server.c). */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/cli.h"

enum { DEADLINE_US = 10000000 }; /* somebody at a terminal would rather wait than be told nothing */

const struct command commands[] = {
        {"get", "get KEY", "the value of KEY, as it is", 1, 1, cmd_get},
        {"mget", "mget KEY...", "the values of all of them", 1, -1, cmd_mget},
        {"set", "set KEY VALUE", "stores VALUE; \"-\" reads it from standard input", 1, 2, cmd_set},
        {"del", "del KEY...", "deletes them", 1, -1, cmd_del},
        {"ping", "ping", "whether a server is there, and how fast it answers", 0, 0, cmd_ping},
        {"info", "info [SECTION]", "everything that the server tells about itself", 0, 1, cmd_info},
        {"stats", "stats", "tiers, hits and memory in a few lines", 0, 0, cmd_stats},
        {NULL, NULL, NULL, 0, 0, NULL},
};

static const struct command *
find_command(const char *name)
{
        for (const struct command *c = commands; c->name != NULL; c++) {
                if (strcmp(c->name, name) == 0)
                        return c;
        }
        return NULL;
}

/* The command and whether it is used rightly; NULL after a sentence that says what is right. */
static const struct command *
judge(const struct arguments *a)
{
        const struct command *command;
        int words = a->count - 1;

        if (a->count == 0) {
                usage_error("a command is missing: get set del mget ping info stats help");
                return NULL;
        }
        command = find_command(a->words[0]);
        if (command == NULL) {
                usage_error("there is no command %s; there are: get set del mget ping info stats "
                            "help",
                            a->words[0]);
                return NULL;
        }
        if (words < command->words_min || (command->words_max >= 0 && words > command->words_max)) {
                usage_error("usage: pannier %s", command->syntax);
                return NULL;
        }
        if (a->of_set != NULL && command->run != cmd_set) {
                usage_error("%s is an option of set", a->of_set);
                return NULL;
        }
        if (command->run == cmd_set && (words == 2) == (a->file != NULL)) {
                usage_error("usage: pannier set KEY VALUE, set KEY -, or set KEY --file FILE");
                return NULL;
        }
        return command;
}

static int
run(const struct command *command, const struct arguments *a)
{
        pn_opts opts = PN_OPTS_INIT;
        pn_client *c;
        pn_status status;
        int result;

        opts.deadline_us = a->deadline_us != 0 ? a->deadline_us : DEADLINE_US;
        opts.tier_deadline_us = a->deadline_us != 0 ? 0 : PN_NEVER;
        opts.name = "pannier-cli/" PANNIER_VERSION;
        opts.value_max = UINT64_C(1) << 30;
        status = pn_connect(&c, a->server, &opts);
        if (status == PN_OK)
                result = command->run(c, a);
        else if (status == PN_USAGE)
                result = usage_error("--server %s: %s", a->server, pn_error(c));
        else
                result = show_failure(a, status, c != NULL ? pn_error(c) : pn_strerror(status));
        pn_close(c);
        return result;
}

int
main(int argc, char **argv)
{
        const char **words = mem_alloc((size_t)argc * sizeof *words);
        const struct command *command = NULL;
        struct arguments a;
        int result = EXIT_USAGE;

        if (!arguments_parse(argc, argv, words, &a)) {
                result = EXIT_USAGE;
        } else if (a.version) {
                printf("pannier %s\n", PANNIER_VERSION);
                result = EXIT_DONE;
        } else if (a.help || (a.count > 0 && strcmp(a.words[0], "help") == 0)) {
                usage_print(stdout);
                result = EXIT_DONE;
        } else {
                command = judge(&a);
                if (command != NULL)
                        result = run(command, &a);
        }
        mem_free(words);
        if (fflush(stdout) != 0 || ferror(stdout) != 0) {
                show_error("cannot write to standard output");
                result = result != EXIT_DONE ? result : EXIT_FAILED;
        }
        return result;
}
