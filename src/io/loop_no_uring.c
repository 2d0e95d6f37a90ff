/* loop_no_uring: stands in for loop_uring.c where Pannier was built without io_uring. */
#include <stdio.h>

#include "io/loop_kind.h"

must_use enum err
uring_create(struct loop_config config, struct loop **out, char why[static 256])
{
        (void)config;
        (void)out;
        snprintf(why, 256, "built without io_uring");
        return ERR_SYSTEM;
}
