/* main: arguments in, exit status out. 0: fine; 1: failed while running; 2: a bad option or
 * configuration. */
#include <stdio.h>
#include <unistd.h>

#include "io/postgres_tier.h"
#include "server/config.h"
#include "server/server.h"

enum { STATUS_FAILED = 1, STATUS_BAD_CONFIG = 2 };

static void
schema_print(const struct options *options)
{
        struct buf text = {0};

        postgres_schema_print(option_text(options, O_l3_schema), &text);
        fwrite(text.at, 1, text.len, stdout);
        buf_free(&text);
}

int
main(int argc, char **argv)
{
        struct config_input input = {.argc = argc, .argv = argv, .environment = environ};
        char why[CONFIG_WHY_BYTES];
        struct config *config = config_read(&input, why);

        if (config == NULL) {
                fprintf(stderr, "pannierd: %s\n", why);
                return STATUS_BAD_CONFIG;
        }
        switch (config->action) {
        case CONFIG_RUN:
                return server_run(config, &input);
        case CONFIG_HELP:
                config_print_help();
                break;
        case CONFIG_VERSION:
                printf("pannierd %s\n", PANNIER_VERSION);
                break;
        case CONFIG_CHECK:
                printf("The configuration is fine.\n");
                break;
        case CONFIG_PRINT:
                config_print(config);
                break;
        case CONFIG_SCHEMA:
                schema_print(&config->options);
                break;
        }
        config_free(config);
        if (fflush(stdout) != 0 || ferror(stdout) != 0) {
                fprintf(stderr, "pannierd: cannot write to standard output\n");
                return STATUS_FAILED;
        }
        return 0;
}
