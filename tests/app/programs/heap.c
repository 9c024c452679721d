/* SPDX-License-Identifier: MIT */
/* Linked with -Wl,--wrap: a heap as small as HEAP_BYTES in the environment says; each MemoryError is told. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

void __real_plat_heap(void **base, size_t *len_bytes);
_Noreturn void __real_m_malloc_fail(size_t num_bytes);

void __wrap_plat_heap(void **base, size_t *len_bytes) {
    __real_plat_heap(base, len_bytes);
    *len_bytes = strtoul(getenv("HEAP_BYTES"), NULL, 10);
}

_Noreturn void __wrap_m_malloc_fail(size_t num_bytes) {
    dprintf(1, "no memory for %zu\n", num_bytes);
    __real_m_malloc_fail(num_bytes);
}
