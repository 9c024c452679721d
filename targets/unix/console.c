/* SPDX-License-Identifier: MIT */
/*
 * console.c: the console is standard output and standard input. Output is collected into lines (print() writes piece by
 * piece), and is out before the process waits, reads or ends. Input is left in its mode, the descriptor being shared
 * with whoever started us; only a REPL takes a terminal for itself, and gives it back at the end.
 */

#include "unix.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static char line[1024];
static size_t line_bytes;

static void write_all(const char *data, size_t len_bytes) {
    while (len_bytes > 0) {
        ssize_t n = write(STDOUT_FILENO, data, len_bytes);
        if (n >= 0) {
            data += n;
            len_bytes -= (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
            poll(&out, 1, -1);
        } else if (errno != EINTR) {
            return; /* nobody can be told that the console is gone */
        }
    }
}

void unix_console_flush(void) {
    size_t len_bytes = line_bytes;
    line_bytes = 0;
    write_all(line, len_bytes);
}

void plat_console_write(const char *data, size_t len_bytes) {
    if (len_bytes == 0) {
        return;
    }
    if (len_bytes > sizeof(line) - line_bytes) {
        unix_console_flush();
    }
    if (len_bytes > sizeof(line)) {
        write_all(data, len_bytes);
        return;
    }
    memcpy(line + line_bytes, data, len_bytes);
    line_bytes += len_bytes;
    if (memrchr(data, '\n', len_bytes) != NULL) {
        unix_console_flush();
    }
}

#if MIRAGE_FEATURE_REPL
static struct termios found_mode;
static bool is_raw;

static void take_terminal(void) {
    if (!is_raw && tcgetattr(STDIN_FILENO, &found_mode) == 0) {
        struct termios raw = found_mode;
        cfmakeraw(&raw);
        raw.c_lflag |= ISIG; /* Ctrl-C stays a signal */
        is_raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    }
}
#endif

void unix_console_end(void) {
    unix_console_flush();
    #if MIRAGE_FEATURE_REPL
    if (is_raw) {
        tcsetattr(STDIN_FILENO, TCSANOW, &found_mode);
    }
    #endif
}

int unix_console_read(char *data, size_t len_bytes) {
    unix_console_flush();
    #if MIRAGE_FEATURE_REPL
    take_terminal();
    #endif
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&in, 1, 0) <= 0) {
        return 0;
    }
    ssize_t n = read(STDIN_FILENO, data, len_bytes > 0x10000 ? 0x10000 : len_bytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return 0;
    }
    return n > 0 ? (int)n : -1;
}
