/* SPDX-License-Identifier: MIT */
/*
 * wait.c: plat_wait() on one epoll set: watched descriptors (level-triggered, a source each), sockets (edge-triggered,
 * queued, one source for all), console input (one-shot), and an eventfd that signal handlers write to, so that a signal
 * just before the sleep is not slept over.
 */

#include "unix.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_MAX 64
#define FIRST_FD_SOURCE 2

/* What an epoll event is for: a kind in the upper half of its data, and a number in the lower. */
enum { FOR_WAKE, FOR_CONSOLE, FOR_SOURCE, FOR_SOCKET };

static int epoll_fd;
static int wake_fd;
static int source_fd[PLAT_SOURCE_MAX + 1];

static bool console_registered;
static bool console_always_ready; /* a regular file, which epoll does not take */

/* Socket events that epoll reported and unix_socket_ready() has not. */
static struct {
    int fd; /* -1: forgotten */
    int events;
} queue[EVENTS_MAX];
static unsigned queue_first;
static unsigned queue_count;

static int control(int operation, int fd, uint32_t events, uint32_t kind, int number) {
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)kind << 32 | (uint32_t)number};
    return epoll_ctl(epoll_fd, operation, fd, &event);
}

void unix_wait_start(void) {
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (epoll_fd < 0 || wake_fd < 0 || control(EPOLL_CTL_ADD, wake_fd, EPOLLIN, FOR_WAKE, 0) != 0) {
        unix_fatal("epoll");
    }
    for (int source = 0; source <= PLAT_SOURCE_MAX; source++) {
        source_fd[source] = -1;
    }
}

void unix_wait_wake(void) {
    uint64_t one = 1;
    if (write(wake_fd, &one, sizeof(one)) < 0) {
        return; /* it is full: awake anyway */
    }
}

static void take_wake(void) {
    uint64_t count;
    if (read(wake_fd, &count, sizeof(count)) < 0) {
        return; /* nobody wrote in between */
    }
}

/* --- sources ------------------------------------------------------------------------------------------------------ */

static uint32_t epoll_events(int events) {
    return ((events & PLAT_FD_READ) ? EPOLLIN : 0) | ((events & PLAT_FD_WRITE) ? EPOLLOUT : 0);
}

int plat_fd_watch(int fd, int events) {
    int free_source = -1;
    for (int source = PLAT_SOURCE_MAX; source >= FIRST_FD_SOURCE; source--) {
        if (source_fd[source] == fd) {
            if (events != 0) {
                return control(EPOLL_CTL_MOD, fd, epoll_events(events), FOR_SOURCE, source) == 0 ? source : -1;
            }
            source_fd[source] = -1;
            control(EPOLL_CTL_DEL, fd, 0, FOR_SOURCE, source);
            return source;
        }
        if (source_fd[source] < 0) {
            free_source = source;
        }
    }
    if (events == 0) {
        return 0; /* it is out already */
    }
    if (free_source < 0) {
        errno = ENOSPC;
        return -1;
    }
    if (control(EPOLL_CTL_ADD, fd, epoll_events(events), FOR_SOURCE, free_source) != 0) {
        return -1;
    }
    source_fd[free_source] = fd;
    return free_source;
}

/* Console input becomes a source, once: it fires, and is silent until this is called again. */
static void wait_for_console(void) {
    int operation = console_registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (control(operation, STDIN_FILENO, EPOLLIN | EPOLLONESHOT, FOR_CONSOLE, 0) == 0) {
        console_registered = true;
    } else {
        console_always_ready = true;
    }
}

int plat_console_read(char *data, size_t len_bytes) {
    int n = unix_console_read(data, len_bytes);
    if (n == 0) {
        wait_for_console();
    }
    return n;
}

/* --- sockets ------------------------------------------------------------------------------------------------------ */

int unix_socket_watch(int fd, int events) {
    if (events == 0) {
        unix_socket_forget(fd);
        return control(EPOLL_CTL_DEL, fd, 0, FOR_SOCKET, fd);
    }
    uint32_t wanted = epoll_events(events) | EPOLLRDHUP | EPOLLET;
    if (control(EPOLL_CTL_ADD, fd, wanted, FOR_SOCKET, fd) == 0) {
        return 0;
    }
    return errno == EEXIST ? control(EPOLL_CTL_MOD, fd, wanted, FOR_SOCKET, fd) : -1;
}

void unix_socket_forget(int fd) {
    for (unsigned i = 0; i < queue_count; i++) {
        if (queue[(queue_first + i) % EVENTS_MAX].fd == fd) {
            queue[(queue_first + i) % EVENTS_MAX].fd = -1;
        }
    }
}

static void queue_socket(int fd, uint32_t happened) {
    int events = 0;
    if (happened & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        events |= PLAT_FD_READ;
    }
    if (happened & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
        events |= PLAT_FD_WRITE;
    }
    unsigned last = (queue_first + queue_count++) % EVENTS_MAX;
    queue[last].fd = fd;
    queue[last].events = events;
}

int unix_socket_ready(int *fd) {
    while (queue_count > 0) {
        unsigned first = queue_first;
        queue_first = (queue_first + 1) % EVENTS_MAX;
        queue_count--;
        if (queue[first].fd >= 0) {
            *fd = queue[first].fd;
            return queue[first].events;
        }
    }
    return 0;
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

/* The time until deadline_ns; NULL for ever. */
static struct timespec *time_until(uint64_t deadline_ns, struct timespec *span) {
    if (deadline_ns >= (uint64_t)PLAT_NO_DEADLINE) {
        return NULL;
    }
    uint64_t now_ns = deadline_ns == 0 ? 0 : plat_monotonic_ns();
    uint64_t span_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    span->tv_sec = (time_t)(span_ns / 1000000000);
    span->tv_nsec = (long)(span_ns % 1000000000);
    return span;
}

static int wait_for_events(struct epoll_event *events, int max, const struct timespec *span) {
    #ifdef SYS_epoll_pwait2
    static bool too_old; /* before Linux 5.11 */
    if (!too_old) {
        int n = (int)syscall(SYS_epoll_pwait2, epoll_fd, events, max, span, NULL, 0);
        if (n >= 0 || errno != ENOSYS) {
            return n;
        }
        too_old = true;
    }
    #endif
    int timeout_ms = -1;
    if (span != NULL) {
        long span_ms = span->tv_sec * 1000 + (span->tv_nsec + 999999) / 1000000;
        timeout_ms = span->tv_sec > 1000000 ? 1000000000 : (int)span_ms;
    }
    return epoll_wait(epoll_fd, events, max, timeout_ms);
}

uint32_t plat_wait(uint64_t deadline_ns) {
    unix_console_flush();
    uint32_t fired = 0;
    if (console_always_ready) {
        console_always_ready = false;
        fired |= 1u << PLAT_SOURCE_CONSOLE;
    }
    /* Whoever left socket events in the queue is not kept waiting; and there must be room for what epoll reports. */
    if (fired != 0 || queue_count > 0) {
        deadline_ns = 0;
    }
    int room = (int)(EVENTS_MAX - queue_count);
    if (room > 0) {
        struct epoll_event events[EVENTS_MAX];
        struct timespec span;
        int n = wait_for_events(events, room, time_until(deadline_ns, &span));
        for (int i = 0; i < n; i++) {
            int number = (int)(uint32_t)events[i].data.u64;
            switch (events[i].data.u64 >> 32) {
                case FOR_WAKE:
                    take_wake();
                    break;
                case FOR_CONSOLE:
                    fired |= 1u << PLAT_SOURCE_CONSOLE;
                    break;
                case FOR_SOURCE:
                    fired |= 1u << number;
                    break;
                default:
                    queue_socket(number, events[i].events);
                    break;
            }
        }
    }
    if (queue_count > 0) {
        fired |= 1u << UNIX_SOURCE_SOCKETS;
    }
    return fired;
}

void plat_sleep(uint64_t deadline_ns) {
    unix_console_flush();
    struct pollfd wake = {.fd = wake_fd, .events = POLLIN};
    struct timespec span;
    if (ppoll(&wake, 1, time_until(deadline_ns, &span), NULL) > 0) {
        take_wake();
    }
}
