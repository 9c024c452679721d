/* SPDX-License-Identifier: MIT */
/* platform.c: what the process has of the system: memory, clocks, entropy; and its end. */

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "unix.h"

/* Both are address space; the kernel supplies a page when it is first written. */
#define HEAP_BYTES ((size_t)64 << 20)
#define DMA_BYTES ((size_t)16 << 20)

const char plat_name[] = "unix";

static void *heap_base;
static void *dma_base;
static void *stack_base;
static size_t stack_size;

void plat_exit(int code) {
    unix_console_end();
    _exit(code);
}

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

void unix_memory_start(void *stack_top, size_t stack_bytes) {
    stack_base = stack_top;
    stack_size = stack_bytes;
    heap_base = map_memory(HEAP_BYTES);
    dma_base = map_memory(DMA_BYTES);
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
    *top = stack_base;
    *len_bytes = stack_size;
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
