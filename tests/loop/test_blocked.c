/* `test_blocked PANNIERD`: the server where io_uring is blocked, as container runtimes do by
 * default: `auto` serves with epoll and says why, `uring` is refused in one sentence. */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { OUTPUT_MAX = 8192 };

/* Runs it until a line is there, then tells it to end; what it said, and its status. */
static int
run(const char *program, const char *io, const char *dir, char said[OUTPUT_MAX])
{
        char path[128];
        int out[2], status;
        size_t len = 0;
        ssize_t n;
        pid_t pid;

        snprintf(path, sizeof path, "%s/s.sock", dir);
        check(pipe(out) == 0);
        pid = fork();
        check(pid >= 0);
        if (pid == 0) {
                dup2(out[1], STDERR_FILENO);
                block_uring();
                execl(program, program, "--io", io, "--listen", "none", "--admin", "none",
                      "--unix-socket", path, (char *)NULL);
                _exit(127);
        }
        close(out[1]);
        while ((n = read(out[0], said + len, OUTPUT_MAX - 1 - len)) > 0) {
                if (len == 0)
                        kill(pid, SIGTERM);
                len += (size_t)n;
        }
        said[len] = '\0';
        close(out[0]);
        check(waitpid(pid, &status, 0) == pid);
        check(WIFEXITED(status));
        return WEXITSTATUS(status);
}

int
main(int argc, char **argv)
{
        char dir[] = "/tmp/pn-blocked-XXXXXX", said[OUTPUT_MAX];
        int status;

        check(argc == 2);
        check(mkdtemp(dir) != NULL);
        status = run(argv[1], "auto", dir, said);
        if (status == SKIPPED)
                return SKIPPED;
        fputs(said, stderr);
        check(status == 0);
        check(strstr(said, "io epoll (") != NULL && strstr(said, "io_uring") != NULL);
        status = run(argv[1], "uring", dir, said);
        fputs(said, stderr);
        check(status == 1);
        check(strstr(said, "io_uring") != NULL);
        check(strchr(said, '\n') == said + strlen(said) - 1); /* one sentence */
        check(rmdir(dir) == 0);
        return 0;
}
