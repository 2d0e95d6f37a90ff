/* What threads hand to each other: mailboxes, the helper thread, and the listener's connections. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "harness.h"
#include "io/listener.h"
#include "io/mailbox.h"
#include "io/offload.h"

/* ---- a worker in miniature ---- */

struct desk {
        struct env env;
        struct mailbox mailbox;
        struct loop *loop;
};

static void
desk_post(struct env *to, struct task *task)
{
        mailbox_post(&container_of(to, struct desk, env)->mailbox, task);
}

static void
desk_init(struct desk *d, unsigned index)
{
        *d = (struct desk){.env = {.index = index, .count = 2, .post = desk_post}};
        list_init(&d->env.ready);
        d->loop = test_loop();
        check(mailbox_init(&d->mailbox, &d->env.ready) == OK);
        mailbox_listen(&d->mailbox, d->loop);
}

static void
desk_turn(struct desk *d)
{
        loop_wait(d->loop, 100000);
        d->env.mono_us += 100000;
        timers_fire(&d->env.timers, d->env.mono_us, &d->env.ready);
        env_advance(&d->env);
}

static void
desk_deinit(struct desk *d)
{
        mailbox_close(&d->mailbox);
        mailbox_deinit(&d->mailbox);
        timers_free(&d->env.timers);
        loop_destroy(d->loop);
}

/* ---- mailbox ---- */

struct letter {
        struct task task;
        unsigned *read;
};

static void
letter_read(struct task *task, struct env *env)
{
        (void)env;
        ++*container_of(task, struct letter, task)->read;
}

enum { SENDERS = 4, LETTERS = 5000 };

struct sender {
        pthread_t thread;
        struct mailbox *to;
        struct letter letters[LETTERS];
};

static void *
sender_main(void *argument)
{
        struct sender *s = argument;

        for (int i = 0; i < LETTERS; i++)
                mailbox_post(s->to, &s->letters[i].task);
        return NULL;
}

static void
mailbox_loses_nothing(void)
{
        static struct sender senders[SENDERS];
        struct desk d;
        unsigned read = 0;

        desk_init(&d, 0);
        for (int i = 0; i < SENDERS; i++) {
                senders[i].to = &d.mailbox;
                for (int j = 0; j < LETTERS; j++) {
                        task_init(&senders[i].letters[j].task, letter_read);
                        senders[i].letters[j].read = &read;
                }
                check(pthread_create(&senders[i].thread, NULL, sender_main, &senders[i]) == 0);
        }
        for (int turn = 0; read < SENDERS * LETTERS && turn < 100000; turn++)
                desk_turn(&d);
        check(read == SENDERS * LETTERS);
        check(mailbox_empty(&d.mailbox));
        for (int i = 0; i < SENDERS; i++)
                pthread_join(senders[i].thread, NULL);
        /* Posted twice before it is read: read once. */
        mailbox_post(&d.mailbox, &senders[0].letters[0].task);
        mailbox_post(&d.mailbox, &senders[0].letters[0].task);
        check(!mailbox_empty(&d.mailbox));
        for (int i = 0; i < 3; i++)
                desk_turn(&d);
        check(read == SENDERS * LETTERS + 1);
        desk_deinit(&d);
}

/* ---- offload ---- */

struct chore {
        struct task task;
        struct job job;
        pthread_t worked_on;
        struct env *told_to;
        unsigned *done;
};

static void
chore_work(struct job *job)
{
        container_of(job, struct chore, job)->worked_on = pthread_self();
}

static void
chore_done(struct task *task, struct env *env)
{
        struct chore *c = container_of(task, struct chore, task);

        c->told_to = env;
        ++*c->done;
}

static void
offload_tells_the_owner(void)
{
        enum { CHORES = 1000 };
        static struct chore chores[2][CHORES];
        struct desk desks[2];
        struct offload *o;
        unsigned done = 0;

        desk_init(&desks[0], 0);
        desk_init(&desks[1], 1);
        check(offload_create(2, &o) == OK);
        check(offload_idle(o, &desks[0].env));
        for (int i = 0; i < 2 * CHORES; i++) {
                struct chore *c = &chores[i % 2][i / 2];

                task_init(&c->task, chore_done);
                c->job = (struct job){.owner = &c->task, .work = chore_work};
                c->done = &done;
                offload_run(o, &desks[i % 2].env, &c->job);
        }
        for (int turn = 0; done < 2 * CHORES && turn < 100000; turn++)
                desk_turn(&desks[turn % 2]);
        check(done == 2 * CHORES);
        for (int i = 0; i < 2 * CHORES; i++) {
                check(chores[i % 2][i / 2].told_to == &desks[i % 2].env);
                check(!pthread_equal(chores[i % 2][i / 2].worked_on, pthread_self()));
        }
        run_until(desks[0].loop, 100, offload_idle(o, &desks[0].env));
        offload_destroy(o);
        desk_deinit(&desks[0]);
        desk_deinit(&desks[1]);
}

/* What is queued when it ends is done all the same. */
static void
offload_ends_with_its_work_done(void)
{
        enum { CHORES = 100 };
        static struct chore chores[CHORES];
        struct desk d;
        struct offload *o;
        unsigned done = 0;

        desk_init(&d, 0);
        check(offload_create(1, &o) == OK);
        for (int i = 0; i < CHORES; i++) {
                task_init(&chores[i].task, chore_done);
                chores[i].job = (struct job){.owner = &chores[i].task, .work = chore_work};
                chores[i].done = &done;
                offload_run(o, &d.env, &chores[i].job);
        }
        offload_destroy(o);
        for (int turn = 0; done < CHORES && turn < 10; turn++)
                desk_turn(&d);
        check(done == CHORES);
        desk_deinit(&d);
}

/* ---- listener ---- */

static struct end *guest;
static char guest_peer[PEER_NAME_MAX];

static void
welcome(struct listener *l, int fd, const char *peer)
{
        guest = end_new();
        guest->echo = true;
        snprintf(guest_peer, sizeof guest_peer, "%s", peer);
        end_open(l->loop, guest, fd);
}

static void
visit(struct desk *d, struct listener *l, const struct sockaddr *to, socklen_t len)
{
        struct end *visitor = end_new();

        guest = NULL;
        check(stream_connect(d->loop, &visitor->stream, to, len) == OK);
        chain_append(&visitor->out, bytes_str("hello"));
        stream_send(&visitor->stream);
        for (int turn = 0; visitor->in.len < 5 && turn < 100; turn++)
                desk_turn(d);
        check(visitor->in.len == 5);
        check(l->fd >= 0);
        end_close(d->loop, visitor);
        end_close(d->loop, guest);
}

static void
listener_tcp(void)
{
        struct listener l, other;
        struct desk d;
        char why[256], taken[64];
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

        desk_init(&d, 0);
        check(listener_open_tcp(&l, "127.0.0.1:0", why) == OK);
        check(l.port != 0);
        snprintf(taken, sizeof taken, "127.0.0.1:%u", l.port);
        check(strcmp(l.name, taken) == 0);
        listener_start(&l, d.loop, &d.env, welcome, NULL);
        to.sin_port = htons(l.port);
        visit(&d, &l, (struct sockaddr *)&to, sizeof to);
        check(strncmp(guest_peer, "127.0.0.1:", 10) == 0);
        /* A port that is taken: the address is named. */
        check(listener_open_tcp(&other, taken, why) == ERR_SYSTEM);
        check(strstr(why, taken) != NULL && strstr(why, "in use") != NULL);
        check(listener_open_tcp(&other, "127.0.0.1", why) == ERR_SYSTEM);
        check(listener_open_tcp(&other, "127.0.0.1:70000", why) == ERR_SYSTEM);
        check(listener_open_tcp(&other, "::1:80", why) == ERR_SYSTEM);
        listener_stop(&l);
        listener_stop(&l);
        desk_deinit(&d);
}

static void
listener_unix(void)
{
        char dir[] = "/tmp/pn-loop-XXXXXX", path[64], why[256];
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        struct listener l, other;
        struct stat st;
        struct desk d;
        int fd;

        check(mkdtemp(dir) != NULL);
        snprintf(path, sizeof path, "%s/s.sock", dir);
        snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
        desk_init(&d, 0);
        check(listener_open_unix(&l, path, 0640, why) == OK);
        check(stat(path, &st) == 0 && (st.st_mode & 0777) == 0640);
        listener_start(&l, d.loop, &d.env, welcome, NULL);
        visit(&d, &l, (struct sockaddr *)&to, sizeof to);
        check(strstr(guest_peer, path) != NULL);
        /* Somebody answers there. */
        check(listener_open_unix(&other, path, 0600, why) == ERR_SYSTEM);
        check(strstr(why, path) != NULL && strstr(why, "another server") != NULL);
        listener_stop(&l);
        check(stat(path, &st) < 0 && errno == ENOENT);
        /* A file that nobody answers on is replaced; one that is no socket is not. */
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        check(bind(fd, (struct sockaddr *)&to, sizeof to) == 0);
        close(fd);
        check(listener_open_unix(&l, path, 0600, why) == OK);
        /* Replaced by another meanwhile: not ours to remove. */
        check(unlink(path) == 0);
        check(listener_open_unix(&other, path, 0600, why) == OK);
        listener_stop(&l);
        check(stat(path, &st) == 0);
        listener_stop(&other);
        check(symlink("/dev/null", path) == 0);
        check(listener_open_unix(&l, path, 0600, why) == ERR_SYSTEM);
        check(strstr(why, "no socket") != NULL);
        check(unlink(path) == 0 && rmdir(dir) == 0);
        check(listener_open_unix(&l,
                                 "/nonexistent/a-path-that-is-far-too-long-for-a-socket-0123456789-"
                                 "0123456789-0123456789-0123456789-0123456789-0123456789",
                                 0600, why) == ERR_SYSTEM);
        desk_deinit(&d);
}

/* No descriptor is left: the connection waits until there is one, and the loop does not spin. */
static void
listener_rests_without_descriptors(void)
{
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int visitor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), spare[4096], count = 0;
        const struct rlimit few = {256, 256};
        struct listener l;
        struct desk d;
        char why[256];

        desk_init(&d, 0);
        check(listener_open_tcp(&l, "127.0.0.1:0", why) == OK);
        listener_start(&l, d.loop, &d.env, welcome, NULL);
        to.sin_port = htons(l.port);
        guest = NULL;
        loop_wait(d.loop, 0);
        check(setrlimit(RLIMIT_NOFILE, &few) == 0);
        while (count < 4096 && (spare[count] = dup(visitor)) >= 0)
                count++;
        check(count < 4096);
        check(connect(visitor, (struct sockaddr *)&to, sizeof to) == 0);
        for (int turn = 0; turn < 3; turn++)
                loop_wait(d.loop, 1000);
        check(guest == NULL);
        check(!timer_idle(&l.timer) && !l.watch.armed);
        while (count > 0)
                close(spare[--count]);
        for (int turn = 0; guest == NULL && turn < 100; turn++)
                desk_turn(&d);
        check(guest != NULL);
        end_close(d.loop, guest);
        close(visitor);
        listener_stop(&l);
        desk_deinit(&d);
}

const struct test_case thread_cases[] = {
        {"mailbox_loses_nothing", mailbox_loses_nothing},
        {"offload_tells_the_owner", offload_tells_the_owner},
        {"offload_ends_with_its_work_done", offload_ends_with_its_work_done},
        {"listener_tcp", listener_tcp},
        {"listener_unix", listener_unix},
        {"listener_rests_without_descriptors", listener_rests_without_descriptors},
        {NULL, NULL},
};
