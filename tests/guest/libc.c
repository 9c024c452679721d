/* SPDX-License-Identifier: MIT */
/* memmove, memset, memcmp against octet-by-octet twins for every small size and alignment, and the rest by example. */
#include "guest.h"

#define SPAN 160

static uint8_t subject[3 * SPAN], twin[3 * SPAN];

static void fill(void) {
    for (size_t i = 0; i < sizeof(subject); i++) {
        subject[i] = twin[i] = (uint8_t)(i * 7 + 3);
    }
}
static void compare(void) {
    for (size_t i = 0; i < sizeof(subject); i++) {
        CHECK(subject[i] == twin[i]);
    }
}
static void plain_move(uint8_t *to, const uint8_t *from, size_t n) {
    for (size_t i = 0; i < n; i++) {
        size_t at = to < from ? i : n - 1 - i;
        to[at] = from[at];
        __asm__ volatile("" : : : "memory");
    }
}

int mirage_main(int argc, char **argv) {
    (void)argc;
    (void)argv;
    for (size_t n = 0; n <= 140; n++) {
        for (size_t distance = 0; distance < 2 * SPAN - 16; distance += n < 40 || distance < 20 ? 1 : 13) {
            fill();
            memmove(subject + 9, subject + distance, n);
            plain_move(twin + 9, twin + distance, n);
            compare();
            memmove(subject + distance, subject + 5, n);
            plain_move(twin + distance, twin + 5, n);
            compare();
        }
        for (size_t start = 0; start < 17; start++) {
            fill();
            memset(subject + start, 0xa5, n);
            for (size_t i = 0; i < n; i++) {
                twin[start + i] = 0xa5;
            }
            compare();
            for (size_t at = 0; at < n; at++) {
                subject[start + at]++;
                CHECK(memcmp(subject + start, twin + start, n) > 0 && memcmp(twin + start, subject + start, n) < 0);
                CHECK(memcmp(subject + start, twin + start, at) == 0);
                subject[start + at]--;
            }
            CHECK(memcmp(subject + start, twin + start, n) == 0);
        }
    }
    /* Onto itself: nothing is written, so it may be where nobody can write. */
    static const char fixed[4096] = "fixed";
    CHECK(memmove((char *)(uintptr_t)fixed, fixed, sizeof(fixed)) == fixed);
    CHECK(strlen("") == 0 && strlen("four") == 4);
    CHECK(strcmp("a", "b") < 0 && strcmp("\xff", "a") > 0 && strncmp("abc", "abd", 2) == 0 && strcmp("a", "a") == 0);
    const char *text = "one two one";
    CHECK(strchr(text, 't') == text + 4 && strchr(text, 0) == text + 11 && strchr(text, 'z') == NULL);
    CHECK(strstr(text, "two") == text + 4 && strstr(text, "three") == NULL);
    say("SUCCESS\n");
    return 0;
}
