/* SPDX-License-Identifier: MIT */
/*
 * The client of every measurement: one connection, TCP_NODELAY, and every octet that comes back is compared.
 *
 *   client HOST PORT echoes COUNT SIZE     COUNT times: send SIZE octets, wait until they are back
 *   client HOST PORT bulk COUNT SIZE       send COUNT * SIZE octets as fast as they are taken, reading meanwhile
 *   client HOST PORT send COUNT SIZE       send COUNT * SIZE octets to a sink that says at the end how many they were
 *   client HOST PORT receive COUNT SIZE    ask a source for COUNT * SIZE octets of 0, 1, ... 255, 0, ...
 *   client HOST PORT hold COUNT SIZE       open COUNT connections, print "held", and for each number N on standard input
 *                                          send SIZE octets and wait until they are back, N times, on one after the other;
 *                                          print the seconds
 *   client HOST PORT ask 1 1               print what the server says until it closes
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_MS 30000
#define PATTERN_BYTES 65536
#define SINK_CHUNK_BYTES (1 << 18)

static unsigned char pattern[2 * PATTERN_BYTES]; /* twice, so that a block may start anywhere */
static unsigned char received[PATTERN_BYTES];
/* An acknowledgement for each echo, whether or not the next one is about to be sent: so that echoes on one connection and on
 * many are the same segments. */
static int quick_ack;
static unsigned char ramp[SINK_CHUNK_BYTES + 256]; /* 0, 1, ... 255, 0, ... */

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

static void echo_once(int fd, const unsigned char *sent, size_t size) {
    if (send(fd, sent, size, 0) != (ssize_t)size) {
        fail("cannot send");
    }
    for (size_t have = 0; have < size;) {
        ssize_t got;
        if (quick_ack) {
            setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &quick_ack, sizeof quick_ack);
        }
        got = recv(fd, received, size - have, 0);
        if (got <= 0) {
            fail(got == 0 ? "the connection ended" : strerror(errno));
        }
        if (memcmp(received, sent + have, (size_t)got) != 0) {
            fail("what came back differs");
        }
        have += (size_t)got;
    }
}

static void echoes(int fd, uint64_t count, size_t size) {
    for (uint64_t turn = 0; turn < count; turn++) {
        echo_once(fd, pattern + turn % PATTERN_BYTES, size);
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

static void send_only(int fd, uint64_t total) {
    char answer[32] = "";
    for (uint64_t sent = 0; sent < total;) {
        size_t length = total - sent < SINK_CHUNK_BYTES ? (size_t)(total - sent) : SINK_CHUNK_BYTES;
        ssize_t put = send(fd, ramp, length, 0);
        if (put <= 0) {
            fail(strerror(errno));
        }
        sent += (uint64_t)put;
    }
    shutdown(fd, SHUT_WR);
    for (size_t have = 0; have < sizeof answer - 1;) {
        ssize_t got = recv(fd, answer + have, sizeof answer - 1 - have, 0);
        if (got < 0) {
            fail(strerror(errno));
        }
        if (got == 0) {
            break;
        }
        have += (size_t)got;
    }
    if (strtoull(answer, NULL, 10) != total) {
        fail("the sink did not get all of it");
    }
}

static void receive_only(int fd, uint64_t total) {
    static unsigned char chunk[SINK_CHUNK_BYTES];
    char request[32];
    int length = snprintf(request, sizeof request, "%llu", (unsigned long long)total);
    if (send(fd, request, (size_t)length, 0) != length) {
        fail("cannot send");
    }
    for (uint64_t have = 0; have < total;) {
        ssize_t got = recv(fd, chunk, sizeof chunk, 0);
        if (got <= 0) {
            fail(got == 0 ? "the connection ended" : strerror(errno));
        }
        if (have + (uint64_t)got > total || memcmp(chunk, ramp + have % 256, (size_t)got) != 0) {
            fail("what came differs");
        }
        have += (uint64_t)got;
    }
}

static void hold(const char *host, const char *port, uint64_t count, size_t size) {
    struct rlimit files = {.rlim_cur = count + 64, .rlim_max = count + 64};
    int *fds = calloc(count, sizeof *fds);
    char line[32];
    uint64_t turn = 0;
    if (fds == NULL || setrlimit(RLIMIT_NOFILE, &files) != 0) {
        fail("so many connections need more open files than are allowed");
    }
    quick_ack = 1;
    for (uint64_t i = 0; i < count; i++) {
        fds[i] = open_connection(host, port);
        /* Complete on both sides: the server may not fall behind by more than its backlog. */
        echo_once(fds[i], pattern + i % PATTERN_BYTES, size);
    }
    puts("held");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        double start_s = now_s();
        for (uint64_t left = strtoull(line, NULL, 10); left > 0; left--, turn++) {
            echo_once(fds[turn % count], pattern + turn % PATTERN_BYTES, size);
        }
        printf("%.9f\n", now_s() - start_s);
        fflush(stdout);
    }
}

static void ask(int fd) {
    for (;;) {
        ssize_t got = recv(fd, received, sizeof received, 0);
        if (got <= 0) {
            return;
        }
        fwrite(received, 1, (size_t)got, stdout);
    }
}

int main(int argc, char **argv) {
    uint32_t random = 1;
    if (argc != 6) {
        fail("usage: client HOST PORT echoes|bulk|send|receive|hold|ask COUNT SIZE");
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
    for (size_t i = 0; i < sizeof ramp; i++) {
        ramp[i] = (unsigned char)i;
    }
    if (strcmp(argv[3], "hold") == 0) {
        hold(argv[1], argv[2], count, size);
        return 0;
    }
    int fd = open_connection(argv[1], argv[2]);
    double start_s = now_s();
    if (strcmp(argv[3], "ask") == 0) {
        ask(fd);
        return 0;
    }
    if (strcmp(argv[3], "echoes") == 0) {
        echoes(fd, count, size);
    } else if (strcmp(argv[3], "bulk") == 0) {
        bulk(fd, count * size, size);
    } else if (strcmp(argv[3], "send") == 0) {
        send_only(fd, count * size);
    } else if (strcmp(argv[3], "receive") == 0) {
        receive_only(fd, count * size);
    } else {
        fail("no such measurement");
    }
    printf("%.9f\n", now_s() - start_s);
    close(fd);
    return 0;
}
