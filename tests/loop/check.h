/* tests/loop/check.h: what all programs of this folder share. */
#ifndef PN_TESTS_LOOP_CHECK_H
#define PN_TESTS_LOOP_CHECK_H

#include <stdio.h>
#include <stdlib.h>

enum { SKIPPED = 77 };

/* A failed check ends the program with status 1. */
#define check(x)                                                                        \
        do {                                                                            \
                if (!(x)) {                                                             \
                        fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x); \
                        exit(1);                                                        \
                }                                                                       \
        } while (0)

/* From here on io_uring_setup() fails with EPERM in this process and what it starts, as in most
 * containers. Ends the program, skipped, where that cannot be had. */
void block_uring(void);

#endif
