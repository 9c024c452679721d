/* SPDX-License-Identifier: MIT */
/* unix.h: what the files of the unix platform share. One epoll set is behind everything that can be waited for. */
#ifndef MIRAGE_UNIX_H
#define MIRAGE_UNIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "port_abi.h"

/* The bit in plat_wait()'s result that says: unix_socket_ready() has something. */
#define UNIX_SOURCE_SOCKETS 1

/* Before anything else. Exits with a message where the system refuses. */
void unix_wait_start(void);

/* From a signal handler: plat_wait() and plat_sleep() return. */
void unix_wait_wake(void);

/* Edge-triggered: what a socket becomes ready for is queued once. events: PLAT_FD_*. 0, or -1 with errno. */
int unix_socket_watch(int fd, int events);
/* The next one: *fd and PLAT_FD_* events; 0 when none is queued. */
int unix_socket_ready(int *fd);
/* Before close(): whatever is queued for this number is not for its next owner. */
void unix_socket_forget(int fd);

void unix_console_flush(void);
void unix_console_end(void);
/* What has been typed; 0 when nothing, -1 at end of input. */
int unix_console_read(char *data, size_t len_bytes);

/* Before plat_heap(), plat_dma() and plat_stack(). Exits with a message where the system refuses. */
void unix_memory_start(void *stack_top, size_t stack_bytes);
__attribute__((noreturn)) void unix_fatal(const char *what);

#endif
