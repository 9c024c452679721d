/* SPDX-License-Identifier: MIT */
/*
 * The client of every measurement: one connection, TCP_NODELAY, and every octet that comes back is compared.
 *
 *   client HOST PORT echoes COUNT SIZE     COUNT times: send SIZE octets, wait until they are back
 *   client HOST PORT bulk COUNT SIZE       send COUNT * SIZE octets as fast as they are taken, reading meanwhile
 *
 * Prints the seconds that it took, from the first octet sent to the last one received. Exits 1 with a line on standard
 * error when an octet is wrong, the connection ends early, or nothing comes for TIMEOUT_MS.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_MS 30000
#define PATTERN_BYTES 65536

static unsigned char pattern[2 * PATTERN_BYTES]; /* twice, so that a block may start anywhere */
static unsigned char received[PATTERN_BYTES];

static void fail(const char *what) {
    fprintf(stderr, "client: %s\n", what);
    exit(1);
}

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int open_connection(const char *host, const char *port) {
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int one = 1;
    struct timeval timeout = {.tv_sec = TIMEOUT_MS / 1000};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || inet_pton(AF_INET, host, &peer.sin_addr) != 1) {
        fail("no socket, or not an address");
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (struct sockaddr *)&peer, sizeof peer) != 0) {
        fail(strerror(errno));
    }
    return fd;
}

static void echoes(int fd, uint64_t count, size_t size) {
    for (uint64_t turn = 0; turn < count; turn++) {
        const unsigned char *sent = pattern + turn % PATTERN_BYTES;
        if (send(fd, sent, size, 0) != (ssize_t)size) {
            fail("cannot send");
        }
        for (size_t have = 0; have < size;) {
            ssize_t got = recv(fd, received, size - have, 0);
            if (got <= 0) {
                fail(got == 0 ? "the connection ended" : strerror(errno));
            }
            if (memcmp(received, sent + have, (size_t)got) != 0) {
                fail("what came back differs");
            }
            have += (size_t)got;
        }
    }
}

static void bulk(int fd, uint64_t total, size_t size) {
    uint64_t sent = 0, have = 0;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (have < total) {
        struct pollfd state = {.fd = fd, .events = (short)(POLLIN | (sent < total ? POLLOUT : 0))};
        if (poll(&state, 1, TIMEOUT_MS) <= 0) {
            fail("nothing came in time");
        }
        if (state.revents & POLLIN) {
            ssize_t got = recv(fd, received, sizeof received, 0);
            if (got <= 0) {
                fail(got == 0 ? "the connection ended" : strerror(errno));
            }
            if (have + (uint64_t)got > sent || memcmp(received, pattern + have % PATTERN_BYTES, (size_t)got) != 0) {
                fail("what came back differs");
            }
            have += (uint64_t)got;
        } else if (state.revents & POLLOUT) {
            size_t length = total - sent < size ? (size_t)(total - sent) : size;
            ssize_t put = send(fd, pattern + sent % PATTERN_BYTES, length, 0);
            if (put < 0) {
                fail(strerror(errno));
            }
            sent += (uint64_t)put;
        } else {
            fail("the connection broke");
        }
    }
}

int main(int argc, char **argv) {
    uint32_t random = 1;
    if (argc != 6) {
        fail("usage: client HOST PORT echoes|bulk COUNT SIZE");
    }
    uint64_t count = strtoull(argv[4], NULL, 10);
    size_t size = (size_t)strtoull(argv[5], NULL, 10);
    if (size == 0 || size > PATTERN_BYTES) {
        fail("SIZE is 1 to 65536");
    }
    for (size_t i = 0; i < PATTERN_BYTES; i++) {
        random = random * 1664525 + 1013904223;
        pattern[i] = pattern[i + PATTERN_BYTES] = (unsigned char)(random >> 24);
    }
    int fd = open_connection(argv[1], argv[2]);
    double start_s = now_s();
    if (strcmp(argv[3], "echoes") == 0) {
        echoes(fd, count, size);
    } else {
        bulk(fd, count * size, size);
    }
    printf("%.9f\n", now_s() - start_s);
    close(fd);
    return 0;
}
