/* SPDX-License-Identifier: MIT */
/* platform.c: the process: start, memory, clocks, entropy, signals, end. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "unix_wait.h"

/* Both are address space; the kernel supplies a page when it is first written. */
#define HEAP_BYTES ((size_t)64 << 20)
#define DMA_BYTES ((size_t)16 << 20)
#define STACK_BYTES_MAX ((size_t)1 << 20)
#define STACK_BYTES_SPARE ((size_t)128 << 10) /* arguments, environment, C functions below the check */

const char plat_name[] = "unix";

static void *heap_base;
static void *dma_base;
static void *stack_top;
static size_t stack_bytes;

void unix_fatal(const char *what) {
    const char *reason = strerror(errno);
    plat_console_write("fatal: ", 7);
    plat_console_write(what, strlen(what));
    plat_console_write(": ", 2);
    plat_console_write(reason, strlen(reason));
    plat_console_write("\n", 1);
    plat_exit(MIRAGE_EXIT_NO_MEMORY);
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static void *map_memory(size_t len_bytes) {
    void *base = mmap(NULL, len_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        unix_fatal("mmap");
    }
    return base;
}

void plat_heap(void **base, size_t *len_bytes) {
    *base = heap_base;
    *len_bytes = HEAP_BYTES;
}

void plat_dma(void **base, uint64_t *phys_addr, size_t *len_bytes) {
    *base = dma_base;
    *phys_addr = (uintptr_t)dma_base; /* there is no device to tell it to */
    *len_bytes = DMA_BYTES;
}

size_t plat_ram_bytes(void) {
    return (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
}

void plat_stack(void **top, size_t *len_bytes) {
    *top = stack_top;
    *len_bytes = stack_bytes;
}

/* --- clocks and entropy ------------------------------------------------------------------------------------------- */

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t plat_monotonic_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t plat_wall_ns(void) {
    return clock_ns(CLOCK_REALTIME);
}

bool plat_entropy(uint8_t *data, size_t len_bytes) {
    while (len_bytes > 0) {
        ssize_t n = getrandom(data, len_bytes, 0);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return false;
        }
        data += n;
        len_bytes -= (size_t)n;
    }
    return true;
}

/* --- signals ------------------------------------------------------------------------------------------------------ */

static void on_signal(int number) {
    int saved_errno = errno;
    mirage_interrupt(number == SIGINT ? MIRAGE_EXIT_INTERRUPTED : MIRAGE_EXIT_TERMINATED);
    unix_wait_wake();
    errno = saved_errno;
}

static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL); /* the terminal is closed: as orderly as SIGTERM */
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

/* --- start and end ------------------------------------------------------------------------------------------------ */

void plat_exit(int code) {
    unix_console_end();
    _exit(code);
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
    stack_top = __builtin_frame_address(0);
    struct rlimit limit;
    stack_bytes = STACK_BYTES_MAX;
    if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur < STACK_BYTES_MAX + STACK_BYTES_SPARE) {
        stack_bytes = limit.rlim_cur > 2 * STACK_BYTES_SPARE ? limit.rlim_cur - STACK_BYTES_SPARE : STACK_BYTES_SPARE;
    }
    heap_base = map_memory(HEAP_BYTES);
    dma_base = map_memory(DMA_BYTES);
    unix_wait_start();
    catch_signals();
    plat_exit(mirage_main(argc - 1, argv + 1));
}
