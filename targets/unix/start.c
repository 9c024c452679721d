/* SPDX-License-Identifier: MIT */
/* start.c: the process begins, and its signals. Nobody calls anything in here: it calls all others. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "unix.h"

#define STOP_PATIENCE_S 2 /* until what holds the event loop is interrupted */
#define STACK_BYTES_MAX ((size_t)1 << 20)
#define STACK_BYTES_SPARE ((size_t)128 << 10) /* arguments, environment, C functions below the check */

static void on_signal(int number) {
    int saved_errno = errno;
    if (number == SIGALRM) {
        mirage_stop_overdue();
    } else if (number == SIGINT) {
        mirage_interrupt(MIRAGE_EXIT_INTERRUPTED);
    } else {
        mirage_interrupt(MIRAGE_EXIT_TERMINATED);
        alarm(STOP_PATIENCE_S);
    }
    unix_wait_wake();
    errno = saved_errno;
}

static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    sigaction(SIGHUP, &action, NULL); /* the terminal is closed: as orderly as SIGTERM */
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

/* A closed standard descriptor's number would go to the next thing that is opened. */
static void fill_standard_descriptors(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) != fd) {
            _exit(MIRAGE_EXIT_NO_MEMORY);
        }
    }
}

int main(int argc, char **argv) {
    fill_standard_descriptors();
    struct rlimit limit;
    size_t stack_bytes = STACK_BYTES_MAX;
    if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur < STACK_BYTES_MAX + STACK_BYTES_SPARE) {
        stack_bytes = limit.rlim_cur > 2 * STACK_BYTES_SPARE ? limit.rlim_cur - STACK_BYTES_SPARE : STACK_BYTES_SPARE;
    }
    unix_memory_start(__builtin_frame_address(0), stack_bytes);
    unix_wait_start();
    catch_signals();
    plat_exit(mirage_main(argc - 1, argv + 1));
}
