/* io/loop_kind.h: what a loop is to io/loop.c. Included by the loops alone. */
#ifndef PN_IO_LOOP_KIND_H
#define PN_IO_LOOP_KIND_H

#include "io/loop.h"

struct loop_kind {
        const char *name;
        void (*destroy)(struct loop *loop);
        unsigned (*busy)(const struct loop *loop);
        void (*wait)(struct loop *loop, uint64_t timeout_us);
        void (*open)(struct stream *s, int connect_error);
        void (*pause)(struct stream *s);
        void (*resume)(struct stream *s);
        void (*send)(struct stream *s);
        void (*close)(struct stream *s);
        void (*arm)(struct watch *w, unsigned events);
        void (*disarm)(struct watch *w);
};

struct loop { /* the head of each */
        const struct loop_kind *kind;
        struct metrics *metrics;
};

/* On failure `why` says what did not work. */
must_use enum err uring_create(struct loop_config config, struct loop **out, char why[static 256]);
must_use enum err
epoll_loop_create(struct loop_config config, struct loop **out, char why[static 256]);

/* What a finished connect() came to: an errno, 0 is success. */
int loop_connect_result(int fd);

#endif
