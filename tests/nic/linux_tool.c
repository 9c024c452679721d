// SPDX-License-Identifier: MIT
// What the tests ask Linux for and busybox has no command for; static, for the guest of linux_guest.py.
//
//   linux_tool datagrams ADDRESS PORT SIZE COUNT   one write of COUNT datagrams, cut by the card (UDP_SEGMENT)
//   linux_tool clock DEVICE                        a PTP clock's nanoseconds over a second of CLOCK_MONOTONIC
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SOL_UDP_LEVEL = 17, UDP_SEGMENT_OPTION = 103, MOST_BYTES = 65000 };

static int fail(const char *what)
{
    perror(what);
    return 1;
}

static int datagrams(char **words)
{
    static char data[MOST_BYTES];
    int size = atoi(words[2]), count = atoi(words[3]);
    int is_six = strchr(words[0], ':') != NULL;
    int sock = socket(is_six ? AF_INET6 : AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(atoi(words[1])) };
    struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(atoi(words[1])) };

    if (size < 1 || count < 1 || size * count > MOST_BYTES)
        return 2;
    inet_pton(AF_INET, words[0], &four.sin_addr);
    inet_pton(AF_INET6, words[0], &six.sin6_addr);
    if (connect(sock, is_six ? (void *)&six : (void *)&four, is_six ? sizeof six : sizeof four))
        return fail("connect");
    if (setsockopt(sock, SOL_UDP_LEVEL, UDP_SEGMENT_OPTION, &size, sizeof size))
        return fail("UDP_SEGMENT");
    // Each datagram is filled with its number.
    for (int i = 0; i < size * count; i++)
        data[i] = (char)(i / size);
    return send(sock, data, size * count, 0) == size * count ? 0 : fail("send");
}

static long long read_ns(clockid_t clock)
{
    struct timespec now;

    if (clock_gettime(clock, &now))
        exit(fail("clock_gettime"));
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int ptp_clock(const char *device)
{
    int fd = open(device, O_RDONLY);
    clockid_t clock = (~(clockid_t)fd << 3) | 3;
    long long monotonic, there;

    if (fd < 0)
        return fail(device);
    monotonic = read_ns(CLOCK_MONOTONIC);
    there = read_ns(clock);
    sleep(1);
    monotonic = read_ns(CLOCK_MONOTONIC) - monotonic;
    printf("clock %lld of %lld ns\n", read_ns(clock) - there, monotonic);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 6 && !strcmp(argv[1], "datagrams"))
        return datagrams(argv + 2);
    if (argc == 3 && !strcmp(argv[1], "clock"))
        return ptp_clock(argv[2]);
    return 2;
}
