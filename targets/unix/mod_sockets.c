/* SPDX-License-Identifier: MIT */
/* mod_sockets.c: the system's TCP and UDP for libos.hal.sockets: numeric addresses, IPv4 and IPv6, never blocking. */

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "modmirage.h"
#include "unix.h"

#define PROTO_TCP 6
#define PROTO_UDP 17

/* One call receives at most this much; what arrived is copied from here into a bytes object of its size. */
static uint8_t receive_buffer[65536];

typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} address_t;

static int check(int result) {
    if (result < 0) {
        mp_raise_OSError(errno);
    }
    return result;
}

static bool would_block(void) {
    return errno == EAGAIN || errno == EWOULDBLOCK;
}

/* The socket address of "10.0.0.1" or "fe80::1", "" being every IPv4 address of this machine. ValueError otherwise. */
static socklen_t parse_address(mp_obj_t ip_in, mp_obj_t port_in, address_t *address) {
    const char *ip = mp_obj_str_get_str(ip_in);
    mp_int_t port = mirage_int(port_in);
    if (port < 0 || port > 0xffff) {
        mp_raise_ValueError(MP_ERROR_TEXT("port"));
    }
    memset(address, 0, sizeof(*address));
    if (strchr(ip, ':') != NULL) {
        address->v6.sin6_family = AF_INET6;
        address->v6.sin6_port = htons((uint16_t)port);
        if (inet_pton(AF_INET6, ip, &address->v6.sin6_addr) == 1) {
            return sizeof(address->v6);
        }
    } else {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons((uint16_t)port);
        if (inet_pton(AF_INET, ip[0] == 0 ? "0.0.0.0" : ip, &address->v4.sin_addr) == 1) {
            return sizeof(address->v4);
        }
    }
    mp_raise_ValueError(MP_ERROR_TEXT("address"));
}

/* Puts (ip, port) into items[0] and items[1]. */
static void emit_address(const address_t *address, mp_obj_t *items) {
    char text[INET6_ADDRSTRLEN] = "";
    uint16_t port;
    if (address->any.sa_family == AF_INET6) {
        /* A peer over IPv4 at a socket of both families: its address behind ::ffff:0:0/96 (RFC 4291 section 2.5.5.2). */
        if (IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr)) {
            inet_ntop(AF_INET, &address->v6.sin6_addr.s6_addr[12], text, sizeof(text));
        } else {
            inet_ntop(AF_INET6, &address->v6.sin6_addr, text, sizeof(text));
        }
        port = ntohs(address->v6.sin6_port);
    } else {
        inet_ntop(AF_INET, &address->v4.sin_addr, text, sizeof(text));
        port = ntohs(address->v4.sin_port);
    }
    items[0] = mp_obj_new_str_from_cstr(text);
    items[1] = MP_OBJ_NEW_SMALL_INT(port);
}

static int fd_of(mp_obj_t fd) {
    return (int)mirage_int(fd);
}

/* A socket for every address of both families, or -1 where the system has no IPv6. */
static int both_families(int type, int proto, address_t *address, socklen_t *len_bytes) {
    int off = 0;
    int fd = socket(AF_INET6, type, proto);
    if (fd >= 0 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) != 0) {
        close(fd);
        fd = -1;
    }
    if (fd >= 0) {
        in_port_t port = address->v4.sin_port;
        memset(address, 0, sizeof(*address));
        address->v6.sin6_family = AF_INET6; /* and the address "::" */
        address->v6.sin6_port = port;
        *len_bytes = sizeof(address->v6);
    }
    return fd;
}

/* sock_listen(proto, ip, port, backlog) -> fd: proto 6 a listening TCP socket, 17 a bound UDP socket; ip "" for every
 * address, of IPv6 too where the system has it */
static mp_obj_t mirage_sock_listen(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    mp_int_t proto = mirage_int(args[0]);
    if (proto != PROTO_TCP && proto != PROTO_UDP) {
        mp_raise_ValueError(MP_ERROR_TEXT("proto"));
    }
    address_t address;
    socklen_t len_bytes = parse_address(args[1], args[2], &address);
    int type = (proto == PROTO_TCP ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
    int fd = *mp_obj_str_get_str(args[1]) == 0 ? both_families(type, (int)proto, &address, &len_bytes) : -1;
    if (fd < 0) {
        fd = check(socket(address.any.sa_family, type, (int)proto));
    }
    int on = 1;
    if (proto == PROTO_TCP) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    }
    if (bind(fd, &address.any, len_bytes) != 0
        || (proto == PROTO_TCP && listen(fd, (int)mirage_int(args[3])) != 0)) {
        int error = errno;
        close(fd);
        mp_raise_OSError(error);
    }
    return MP_OBJ_NEW_SMALL_INT(fd);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(mirage_sock_listen_obj, 4, 4, mirage_sock_listen);

/* sock_accept(fd) -> (fd, ip, port), or None: nobody there */
static mp_obj_t mirage_sock_accept(mp_obj_t listener) {
    address_t address;
    int fd;
    do {
        socklen_t len_bytes = sizeof(address);
        fd = accept4(fd_of(listener), &address.any, &len_bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (fd < 0 && would_block()) {
        return mp_const_none;
    }
    check(fd);
    mp_obj_t items[3] = {MP_OBJ_NEW_SMALL_INT(fd)};
    emit_address(&address, &items[1]);
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
MP_DEFINE_CONST_FUN_OBJ_1(mirage_sock_accept_obj, mirage_sock_accept);

/* sock_connect(ip, port) -> fd: in progress; writable, or in error, when done */
static mp_obj_t mirage_sock_connect(mp_obj_t ip, mp_obj_t port) {
    address_t address;
    socklen_t len_bytes = parse_address(ip, port, &address);
    int fd = check(socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, PROTO_TCP));
    if (connect(fd, &address.any, len_bytes) != 0 && errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        mp_raise_OSError(error);
    }
    return MP_OBJ_NEW_SMALL_INT(fd);
}
MP_DEFINE_CONST_FUN_OBJ_2(mirage_sock_connect_obj, mirage_sock_connect);

static size_t receive_limit(mp_obj_t count) {
    mp_int_t n = mirage_int(count);
    if (n < 0) {
        mirage_raise_bounds();
    }
    return MIN((size_t)n, sizeof(receive_buffer));
}

/* sock_recv(fd, n) -> bytes, at most n (and 64 KiB); b"" at the end; None: would block */
static mp_obj_t mirage_sock_recv(mp_obj_t fd, mp_obj_t count) {
    size_t limit = receive_limit(count);
    ssize_t n;
    do {
        n = recv(fd_of(fd), receive_buffer, limit, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && would_block()) {
        return mp_const_none;
    }
    return mp_obj_new_bytes(receive_buffer, (size_t)check((int)n));
}
MP_DEFINE_CONST_FUN_OBJ_2(mirage_sock_recv_obj, mirage_sock_recv);

/* sock_send(fd, buf, start) -> octets taken; -1: would block */
static mp_obj_t mirage_sock_send(mp_obj_t fd, mp_obj_t buf, mp_obj_t start_in) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(buf, &info, MP_BUFFER_READ);
    mp_int_t start = mirage_int(start_in);
    if ((size_t)start > info.len) {
        mirage_raise_bounds();
    }
    ssize_t n;
    do {
        n = send(fd_of(fd), (uint8_t *)info.buf + start, info.len - (size_t)start, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && !would_block()) {
        mp_raise_OSError(errno);
    }
    return MP_OBJ_NEW_SMALL_INT(n);
}
MP_DEFINE_CONST_FUN_OBJ_3(mirage_sock_send_obj, mirage_sock_send);

/* sock_recvfrom(fd, n) -> (bytes, ip, port), or None: would block */
static mp_obj_t mirage_sock_recvfrom(mp_obj_t fd, mp_obj_t count) {
    size_t limit = receive_limit(count);
    address_t address;
    ssize_t n;
    do {
        socklen_t len_bytes = sizeof(address);
        n = recvfrom(fd_of(fd), receive_buffer, limit, 0, &address.any, &len_bytes);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && would_block()) {
        return mp_const_none;
    }
    mp_obj_t items[3] = {mp_obj_new_bytes(receive_buffer, (size_t)check((int)n))};
    emit_address(&address, &items[1]);
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
MP_DEFINE_CONST_FUN_OBJ_2(mirage_sock_recvfrom_obj, mirage_sock_recvfrom);

/* sock_sendto(fd, buf, ip, port) -> octets taken; -1: would block */
static mp_obj_t mirage_sock_sendto(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    mp_buffer_info_t info;
    mp_get_buffer_raise(args[1], &info, MP_BUFFER_READ);
    address_t address;
    socklen_t len_bytes = parse_address(args[2], args[3], &address);
    ssize_t n;
    do {
        n = sendto(fd_of(args[0]), info.buf, info.len, MSG_NOSIGNAL, &address.any, len_bytes);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && !would_block()) {
        mp_raise_OSError(errno);
    }
    return MP_OBJ_NEW_SMALL_INT(n);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(mirage_sock_sendto_obj, 4, 4, mirage_sock_sendto);

/* sock_names(fd) -> (ip, port, peer_ip, peer_port); "" and 0 where it has no peer */
static mp_obj_t mirage_sock_names(mp_obj_t fd) {
    address_t address;
    socklen_t len_bytes = sizeof(address);
    check(getsockname(fd_of(fd), &address.any, &len_bytes));
    mp_obj_t items[4] = {0, 0, MP_OBJ_NEW_QSTR(MP_QSTR_), MP_OBJ_NEW_SMALL_INT(0)};
    emit_address(&address, &items[0]);
    len_bytes = sizeof(address);
    if (getpeername(fd_of(fd), &address.any, &len_bytes) == 0) {
        emit_address(&address, &items[2]);
    }
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
MP_DEFINE_CONST_FUN_OBJ_1(mirage_sock_names_obj, mirage_sock_names);

/* sock_error(fd) -> errno, and clears it: how a connect ended */
static mp_obj_t mirage_sock_error(mp_obj_t fd) {
    int error = 0;
    socklen_t len_bytes = sizeof(error);
    check(getsockopt(fd_of(fd), SOL_SOCKET, SO_ERROR, &error, &len_bytes));
    return MP_OBJ_NEW_SMALL_INT(error);
}
MP_DEFINE_CONST_FUN_OBJ_1(mirage_sock_error_obj, mirage_sock_error);

/* sock_shutdown(fd, how): 0 reading, 1 writing, 2 both */
static mp_obj_t mirage_sock_shutdown(mp_obj_t fd, mp_obj_t how) {
    check(shutdown(fd_of(fd), (int)mirage_int(how)));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(mirage_sock_shutdown_obj, mirage_sock_shutdown);

/* sock_close(fd, abort): with abort a TCP connection is reset, and what was not sent is discarded */
static mp_obj_t mirage_sock_close(mp_obj_t fd_in, mp_obj_t abort) {
    int fd = fd_of(fd_in);
    if (mp_obj_is_true(abort)) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    }
    unix_socket_forget(fd);
    if (close(fd) != 0 && errno != EINTR) {
        mp_raise_OSError(errno);
    }
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(mirage_sock_close_obj, mirage_sock_close);

static void set_tcp(int fd, int option, int value) {
    check(setsockopt(fd, IPPROTO_TCP, option, &value, sizeof(value)));
}

/*
 * sock_option(fd, option, value)
 * 1 no delay (0, 1); 2 keepalive after so many ms of silence (0: off), 9 probes; 3 user timeout in ms
 */
static mp_obj_t mirage_sock_option(mp_obj_t fd_in, mp_obj_t option, mp_obj_t value_in) {
    int fd = fd_of(fd_in);
    int value = (int)mirage_int(value_in);
    switch (mirage_int(option)) {
        case 1:
            set_tcp(fd, TCP_NODELAY, value != 0);
            break;
        case 2: {
            int on = value > 0;
            check(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)));
            if (on) {
                int idle_s = value / 1000 + (value % 1000 != 0);
                set_tcp(fd, TCP_KEEPIDLE, idle_s);
                set_tcp(fd, TCP_KEEPINTVL, idle_s < 75 ? idle_s : 75);
                set_tcp(fd, TCP_KEEPCNT, 9);
            }
            break;
        }
        case 3:
            set_tcp(fd, TCP_USER_TIMEOUT, value);
            break;
        default:
            mp_raise_ValueError(MP_ERROR_TEXT("no such option"));
    }
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_3(mirage_sock_option_obj, mirage_sock_option);

/* sock_unacked(fd) -> octets that the peer has not acknowledged; the end counts as one */
static mp_obj_t mirage_sock_unacked(mp_obj_t fd) {
    int count = 0;
    check(ioctl(fd_of(fd), SIOCOUTQ, &count));
    return MP_OBJ_NEW_SMALL_INT(count);
}
MP_DEFINE_CONST_FUN_OBJ_1(mirage_sock_unacked_obj, mirage_sock_unacked);

/* sock_watch(fd, events): edge-triggered; once for the life of fd. events: 1 read, 2 write, 0 remove */
static mp_obj_t mirage_sock_watch(mp_obj_t fd, mp_obj_t events) {
    check(unix_socket_watch(fd_of(fd), (int)mirage_int(events) & (PLAT_FD_READ | PLAT_FD_WRITE)));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(mirage_sock_watch_obj, mirage_sock_watch);

/* sock_ready() -> fd << 2 | events of the next socket that is ready; -1: no more of what wait() found */
static mp_obj_t mirage_sock_ready(void) {
    int fd;
    int events = unix_socket_ready(&fd);
    return MP_OBJ_NEW_SMALL_INT(events == 0 ? -1 : (mp_int_t)fd << 2 | events);
}
MP_DEFINE_CONST_FUN_OBJ_0(mirage_sock_ready_obj, mirage_sock_ready);
