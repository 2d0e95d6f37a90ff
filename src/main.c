/* main: arguments in, exit status out. 0: fine; 1: failed while running; 2: a bad option or
 * configuration. */
#include <stdio.h>
#include <unistd.h>

#include "server/config.h"
#include "server/server.h"

enum { STATUS_BAD_CONFIG = 2 };

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
        }
        config_free(config);
        return 0;
}
