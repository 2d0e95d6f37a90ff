/* postgres_server: the servers of a test program (see postgres_harness.h), and a plain connection
 * to look behind the tier's back. Owns the processes it starts; with_postgres.py made the cluster
 * and ends what is left. */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "postgres_harness.h"

struct server server;
static PGconn *direct;
static PGresult *direct_result;

/* Two at once, or they might be the same. */
static void
free_ports(unsigned *one, unsigned *other)
{
        unsigned *ports[2] = {one, other};
        int fds[2];

        for (int i = 0; i < 2; i++) {
                struct sockaddr_in at = {.sin_family = AF_INET};
                socklen_t len = sizeof at;

                fds[i] = socket(AF_INET, SOCK_STREAM, 0);
                at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
                must(bind(fds[i], (struct sockaddr *)&at, sizeof at) == 0);
                must(getsockname(fds[i], (struct sockaddr *)&at, &len) == 0);
                *ports[i] = ntohs(at.sin_port);
        }
        close(fds[0]);
        close(fds[1]);
}

void
server_setup(void)
{
        must(getenv("PG_DIR") != NULL && getenv("PG_SERVER") != NULL);
        snprintf(server.dir, sizeof server.dir, "%s", getenv("PG_DIR"));
        free_ports(&server.port, &server.bouncer_port);
}

static int
run(const char *const *argv, const char *log)
{
        char path[192];
        int pid, fd;

        fflush(stdout);
        snprintf(path, sizeof path, "%s/%s", server.dir, log);
        pid = fork();
        must(pid >= 0);
        if (pid > 0)
                return pid;
        if (getuid() == 0) {
                gid_t gid = (gid_t)strtoul(getenv("PG_GID"), NULL, 10);

                must(setgroups(0, NULL) == 0 && setgid(gid) == 0);
                must(setuid((uid_t)strtoul(getenv("PG_UID"), NULL, 10)) == 0);
        }
        must(chdir(server.dir) == 0);
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        execv(argv[0], (char *const *)argv);
        _exit(127);
}

static void
direct_close(void)
{
        PQclear(direct_result);
        PQfinish(direct);
        direct_result = NULL;
        direct = NULL;
}

/* Waits until it answers, or has ended. */
static void
direct_open(void)
{
        char url[256];

        snprintf(url, sizeof url, "host=%s port=%u user=pannier dbname=postgres", server.dir,
                 server.port);
        for (int i = 0; direct == NULL && i < 2000; i++) {
                direct = PQconnectdb(url);
                if (PQstatus(direct) == CONNECTION_OK)
                        return;
                PQfinish(direct);
                direct = NULL;
                poll(NULL, 0, 10);
                if (waitpid(server.pid, NULL, WNOHANG) == server.pid)
                        return;
        }
}

void
server_start(void)
{
        char port[8], data[160];
        const char *argv[] = {getenv("PG_SERVER"),
                              "-D",
                              data,
                              "-k",
                              server.dir,
                              "-p",
                              port,
                              "-c",
                              "listen_addresses=127.0.0.1",
                              "-c",
                              "fsync=off",
                              "-c",
                              "shared_buffers=64MB",
                              "-c",
                              "max_connections=60",
                              "-c",
                              "autovacuum_naptime=1s",
                              "-c",
                              "client_min_messages=error",
                              NULL};

        snprintf(port, sizeof port, "%u", server.port);
        snprintf(data, sizeof data, "%s/data", server.dir);
        /* Of one that was killed some processes may take a moment to notice; until then there is
         * no other. */
        for (int i = 0; i < 100 && direct == NULL; i++) {
                server.pid = run(argv, "postgres.log");
                direct_open();
        }
        must(direct != NULL);
}

/* The server's processes, the first one included. */
static unsigned
processes(int pids[static 256])
{
        DIR *proc = opendir("/proc");
        struct dirent *d;
        unsigned n = 0;

        pids[n++] = server.pid;
        while ((d = readdir(proc)) != NULL && n < 256) {
                char path[300], text[512];
                int parent = 0, fd;
                ssize_t len;
                char *at;

                if (d->d_name[0] < '0' || d->d_name[0] > '9')
                        continue;
                snprintf(path, sizeof path, "/proc/%s/stat", d->d_name);
                fd = open(path, O_RDONLY);
                if (fd < 0)
                        continue;
                len = read(fd, text, sizeof text - 1);
                close(fd);
                text[len > 0 ? len : 0] = '\0';
                at = strrchr(text, ')');
                if (at != NULL && sscanf(at + 1, " %*c %d", &parent) == 1 && parent == server.pid)
                        pids[n++] = (int)strtol(d->d_name, NULL, 10);
        }
        closedir(proc);
        return n;
}

static void
signal_all(int number)
{
        int pids[256];
        unsigned n = processes(pids);

        for (unsigned i = 0; i < n; i++)
                kill(pids[i], number);
}

void
server_stop(void)
{
        if (server.pid > 0) { /* before our own connection ends, and lets go of what it locked */
                signal_all(SIGKILL);
                waitpid(server.pid, NULL, 0);
        }
        server.pid = 0;
        direct_close();
}

void
server_freeze(void)
{
        signal_all(SIGSTOP);
}

void
server_continue(void)
{
        signal_all(SIGCONT);
}

bool
bouncer_start(void)
{
        char path[192], users[192];
        const char *argv[] = {getenv("PG_BOUNCER"), path, NULL};
        FILE *f;

        if (argv[0] == NULL || argv[0][0] == '\0')
                return false;
        snprintf(users, sizeof users, "%s/users.txt", server.dir);
        f = fopen(users, "w");
        fprintf(f, "\"pannier\" \"\"\n");
        fclose(f);
        snprintf(path, sizeof path, "%s/pgbouncer.ini", server.dir);
        f = fopen(path, "w");
        fprintf(f,
                "[databases]\n* = host=%s port=%u\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
                "listen_port = %u\n"
                "unix_socket_dir = %s\nauth_type = trust\nauth_file = %s\npool_mode = transaction\n"
                "default_pool_size = 3\nmax_client_conn = 100\npidfile = %s/pgbouncer.pid\n"
                "server_login_retry = 0.2\n",
                server.dir, server.port, server.bouncer_port, server.dir, users, server.dir);
        fclose(f);
        must(chmod(users, 0644) == 0 && chmod(path, 0644) == 0);
        server.bouncer_pid = run(argv, "pgbouncer.log");
        return true;
}

void
bouncer_stop(void)
{
        if (server.bouncer_pid <= 0)
                return;
        kill(server.bouncer_pid, SIGKILL);
        waitpid(server.bouncer_pid, NULL, 0);
        server.bouncer_pid = 0;
}

static const char *
sql_list(const char *format, va_list arguments)
{
        char text[8192];

        vsnprintf(text, sizeof text, format, arguments);
        PQclear(direct_result);
        direct_result = NULL;
        if (direct == NULL)
                direct_open();
        direct_result = PQexec(direct, text);
        if (PQresultStatus(direct_result) != PGRES_TUPLES_OK &&
            PQresultStatus(direct_result) != PGRES_COMMAND_OK) {
                fprintf(stderr, "# %s: %s", text, PQerrorMessage(direct));
                must(!"a statement of the test");
        }
        return PQntuples(direct_result) > 0 ? PQgetvalue(direct_result, 0, 0) : "";
}

const char *
sql(const char *format, ...)
{
        va_list arguments;
        const char *text;

        va_start(arguments, format);
        text = sql_list(format, arguments);
        va_end(arguments);
        return text;
}

long long
sql_number(const char *format, ...)
{
        va_list arguments;
        const char *text;

        va_start(arguments, format);
        text = sql_list(format, arguments);
        va_end(arguments);
        return strtoll(text, NULL, 10);
}
