/* SPDX-License-Identifier: MIT */
/* Does what is forbidden; which, its argument says. The platform's report must name it. */
#include "guest.h"

static int in_data[4] = {0xc3c3c3c3};
static const int in_rodata[4] = {1};

/* Through a register, so that the compiler does not know what it is. */
static uintptr_t hide(uintptr_t address) {
    __asm__ volatile("" : "+r"(address));
    return address;
}
static void write_to(uintptr_t address) {
    *(volatile int *)hide(address) = 1;
}
static void execute(uintptr_t address) {
    ((void (*)(void))hide(address))();
}
__attribute__((noinline)) static int overflow(int depth) {
    volatile char space[512];
    space[0] = (char)depth;
    return depth < 0 ? 0 : overflow(depth + 1) + space[0];
}

int mirage_main(int argc, char **argv) {
    const char *what = argc == 1 ? argv[0] : "";
    void *heap, *dma;
    uint64_t phys_addr;
    size_t len_bytes;
    plat_heap(&heap, &len_bytes);
    plat_dma(&dma, &phys_addr, &len_bytes);
    if (strcmp(what, "write-text") == 0) {
        write_to((uintptr_t)&mirage_main);
    } else if (strcmp(what, "write-rodata") == 0) {
        write_to((uintptr_t)&in_rodata);
    } else if (strcmp(what, "execute-rodata") == 0) {
        execute((uintptr_t)&in_rodata);
    } else if (strcmp(what, "execute-data") == 0) {
        execute((uintptr_t)&in_data);
    } else if (strcmp(what, "execute-heap") == 0) {
        memset(heap, 0xc3, 16);
        execute((uintptr_t)heap);
    } else if (strcmp(what, "execute-dma") == 0) {
        execute((uintptr_t)dma);
    } else if (strcmp(what, "execute-stack") == 0) {
        volatile int code = 0xc3;
        execute((uintptr_t)&code);
    } else if (strcmp(what, "read-zero") == 0) {
        say("%d\n", *(volatile int *)hide(8));
    } else if (strcmp(what, "write-zero") == 0) {
        write_to(0);
    } else if (strcmp(what, "execute-zero") == 0) {
        execute(0);
    } else if (strcmp(what, "read-unmapped") == 0) {
        say("%d\n", *(volatile int *)hide(0x700000000000));
    } else if (strcmp(what, "overflow") == 0) {
        say("%d\n", overflow(0));
    } else if (strcmp(what, "divide") == 0) {
        volatile int none = 0;
        say("%d\n", argc / none);
    } else if (strcmp(what, "opcode") == 0) {
        __asm__ volatile("ud2");
    } else if (strcmp(what, "canonical") == 0) {
        write_to(0x8000000000000000);
    }
    say("still here\n");
    return 0;
}
