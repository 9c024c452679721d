/* SPDX-License-Identifier: MIT */
/* mphalport.c: console, clocks and waiting for MicroPython, over port_abi.h. */

#include <string.h>

#include "py/mphal.h"
#include "py/runtime.h"
#include "py/stream.h"

uint8_t mirage_member_names[MIRAGE_NAMES / 8];
uint8_t mirage_table_names[MIRAGE_NAMES / 8];

#if MIRAGE_FEATURE_REPL
bool mirage_repl_speaks;
#endif
static uint32_t kept_sources;

static char console_buffer[64];
static size_t console_first;
static size_t console_count;

/* --- waiting ------------------------------------------------------------------------------------------------------ */

/* Who interrupted it in the meantime did not interrupt a program that spins, however long it lasted. */
static void it_waited(void) {
    mirage_idle_ticks = __builtin_ia32_rdtsc();
    mirage_was_spinning = false;
}

uint32_t mirage_plat_wait(uint64_t deadline_ns) {
    uint32_t fired = plat_wait(deadline_ns);
    it_waited();
    if (fired >> PLAT_SOURCE_STOP) {
        fired &= ~(1u << PLAT_SOURCE_STOP);
        mirage_interrupt(MIRAGE_EXIT_TERMINATED);
    }
    return fired;
}

void mirage_wait_until(uint64_t deadline_ns) {
    kept_sources |= mirage_plat_wait(deadline_ns);
    mp_handle_pending(true);
}

uint32_t mirage_take_kept_sources(void) {
    uint32_t sources = kept_sources;
    kept_sources = 0;
    return sources;
}

void mirage_keep_sources(uint32_t sources) {
    kept_sources |= sources;
}

void mirage_idle(long timeout_ms) {
    mirage_wait_until(timeout_ms < 0 ? PLAT_NO_DEADLINE : plat_monotonic_ns() + (uint64_t)timeout_ms * 1000000);
}

static void delay_ns(uint64_t duration_ns) {
    uint64_t deadline_ns = plat_monotonic_ns() + duration_ns;
    do {
        #if MIRAGE_TARGET_UNIX
        /* Its sources are level-triggered: plat_wait() would not sleep beside a readable one. */
        plat_sleep(deadline_ns);
        it_waited();
        mp_handle_pending(true);
        #else
        mirage_wait_until(deadline_ns);
        #endif
    } while (plat_monotonic_ns() < deadline_ns);
}

void mp_hal_delay_ms(mp_uint_t ms) {
    delay_ns((uint64_t)ms * 1000000);
}

void mp_hal_delay_us(mp_uint_t us) {
    delay_ns((uint64_t)us * 1000);
}

/* --- clocks ------------------------------------------------------------------------------------------------------- */

mp_uint_t mp_hal_ticks_ms(void) {
    return plat_monotonic_ns() / 1000000;
}

mp_uint_t mp_hal_ticks_us(void) {
    return plat_monotonic_ns() / 1000;
}

mp_uint_t mp_hal_ticks_cpu(void) {
    return __builtin_ia32_rdtsc();
}

uint64_t mp_hal_time_ns(void) {
    return plat_wall_ns();
}

uint32_t mirage_random_seed(void) {
    uint32_t seed;
    if (!plat_entropy((uint8_t *)&seed, sizeof(seed))) {
        seed = (uint32_t)(plat_monotonic_ns() ^ plat_wall_ns());
    }
    return seed;
}

/* --- console ------------------------------------------------------------------------------------------------------ */

static void write_out(const char *str, size_t len) {
    #if MIRAGE_FEATURE_REPL
    if (mirage_repl_speaks) {
        plat_repl_write(str, len);
        return;
    }
    #endif
    plat_console_write(str, len);
}

mp_uint_t mp_hal_stdout_tx_strn(const char *str, size_t len) {
    write_out(str, len);
    return len;
}

void mp_hal_stdout_tx_strn_cooked(const char *str, size_t len) {
    #if MIRAGE_FEATURE_REPL
    size_t first = 0;
    for (size_t i = 0; i < len && mirage_repl_speaks; i++) {
        if (str[i] == '\n') {
            plat_repl_write(str + first, i - first);
            plat_repl_write("\r\n", 2);
            first = i + 1;
        }
    }
    str += first;
    len -= first;
    #endif
    write_out(str, len);
}

void mp_hal_stdout_tx_str(const char *str) {
    write_out(str, strlen(str));
}

int mirage_console_peek(void) {
    if (console_count == 0) {
        int n = plat_console_read(console_buffer, sizeof(console_buffer));
        if (n <= 0) {
            return n;
        }
        console_first = 0;
        console_count = (size_t)n;
    }
    return (int)console_count;
}

int mirage_console_read(char *data, size_t len_bytes) {
    if (len_bytes == 0) {
        return 0;
    }
    int n = mirage_console_peek();
    if (n <= 0) {
        return n;
    }
    size_t count = MIN(len_bytes, console_count);
    memcpy(data, console_buffer + console_first, count);
    console_first += count;
    console_count -= count;
    return (int)count;
}

int mp_hal_stdin_rx_chr(void) {
    for (;;) {
        char c;
        int n = mirage_console_read(&c, 1);
        if (n > 0) {
            return (unsigned char)c;
        }
        if (n < 0) {
            mp_raise_type(&mp_type_EOFError);
        }
        mirage_wait_until(PLAT_NO_DEADLINE);
    }
}

uintptr_t mp_hal_stdio_poll(uintptr_t poll_flags) {
    uintptr_t ready = poll_flags & MP_STREAM_POLL_WR;
    if ((poll_flags & MP_STREAM_POLL_RD) && mirage_console_peek() != 0) {
        ready |= MP_STREAM_POLL_RD;
    }
    return ready;
}

void mirage_set_interrupt_char(int c) {
    (void)c; /* an interrupt arrives as a signal, through mirage_interrupt() */
}
