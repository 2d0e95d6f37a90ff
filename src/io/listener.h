/* io/listener.h: a listening socket, TCP or Unix. Opened before the workers start, so that a taken
 * port is an error of the start; served by one worker, who is handed each connection. */
#ifndef PN_IO_LISTENER_H
#define PN_IO_LISTENER_H

#include <sys/types.h>

#include "base/log.h"
#include "io/loop.h"
#include "request/env.h"

enum { PEER_NAME_MAX = 64, LISTENER_NAME_MAX = 160 };

struct listener { /* embedded; fields belong to listener.c, `name` and `port` may be read */
        struct watch watch;
        struct env *env;
        struct loop *loop;
        struct timer timer; /* no descriptors left: tried again later */
        struct task task;
        struct log_gate complaint;
        void (*accepted)(struct listener *l, int fd, const char *peer);
        void *holder; /* the one who is handed connections */
        int fd;
        bool is_unix;
        uint16_t port; /* TCP: the real one, where 0 was asked for */
        dev_t device;  /* Unix: the file that is ours to remove */
        ino_t inode;
        char name[LISTENER_NAME_MAX]; /* "127.0.0.1:7171", or the path */
};

/* HOST:PORT or [IPV6]:PORT. `why` names the address. */
must_use enum err listener_open_tcp(struct listener *l, const char *address, char why[static 256]);
/* A socket file that nobody answers on is replaced. */
must_use enum err
listener_open_unix(struct listener *l, const char *path, unsigned mode, char why[static 256]);
/* On the worker's thread. `accepted` owns the descriptor, which is non-blocking. */
void listener_start(struct listener *l, struct loop *loop, struct env *env,
                    void (*accepted)(struct listener *l, int fd, const char *peer), void *holder);
/* No more connections; the socket file goes. Safe when never opened or stopped already. */
void listener_stop(struct listener *l);

/* Splits HOST:PORT or [IPV6]:PORT. False: it is none; *why is the sentence's end. */
bool address_split(const char *address, char host[static 128], char port[static 8],
                   char why[static 256]);

#endif
