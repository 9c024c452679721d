/* SPDX-License-Identifier: MIT */
/* mod_tap.c: TAP interfaces and descriptors for libos.driver.tap. */

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "modmirage.h"

#define FEATURE_CSUM 1
#define FEATURE_TSO4 2
#define FEATURE_TSO6 4

/* What the kernel may leave to us in received frames, best first. */
static const struct {
    unsigned offload;
    int features;
} OFFLOADS[] = {
    {TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN, FEATURE_CSUM | FEATURE_TSO4 | FEATURE_TSO6},
    {TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6, FEATURE_CSUM | FEATURE_TSO4 | FEATURE_TSO6},
    {TUN_F_CSUM, FEATURE_CSUM},
    {0, 0},
};

static __attribute__((noreturn)) void raise_and_close(int fd, int error) {
    close(fd);
    mp_raise_OSError(error);
}

/* The interface's MTU. OSError(ENODEV) where there is none of that name: opening would silently create one. */
static int interface_mtu(const char *name) {
    struct ifreq request = {0};
    strcpy(request.ifr_name, name);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        mp_raise_OSError(errno);
    }
    if (ioctl(fd, SIOCGIFMTU, &request) != 0) {
        raise_and_close(fd, errno);
    }
    close(fd);
    return request.ifr_mtu;
}

/* Opens /dev/net/tun on the interface `name`, which TUNSETIFF makes where there is none of that name. */
static int attach(const char *name, int header_bytes) {
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        mp_raise_OSError(errno);
    }
    strcpy(request.ifr_name, name);
    if (ioctl(fd, TUNSETIFF, &request) != 0 || ioctl(fd, TUNSETVNETHDRSZ, &header_bytes) != 0) {
        raise_and_close(fd, errno);
    }
    return fd;
}

/* Asks for what the kernel may leave to us; the result of tap_open() and tap_create(). */
static mp_obj_t attached(int fd, int mtu) {
    size_t i = 0;
    while (ioctl(fd, TUNSETOFFLOAD, (unsigned long)OFFLOADS[i].offload) != 0) {
        if (++i == MP_ARRAY_SIZE(OFFLOADS)) {
            raise_and_close(fd, errno);
        }
    }
    mp_obj_t items[] = {
        MP_OBJ_NEW_SMALL_INT(fd),
        MP_OBJ_NEW_SMALL_INT(mtu),
        MP_OBJ_NEW_SMALL_INT(OFFLOADS[i].features),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}

static const char *interface_name(mp_obj_t name_in) {
    const char *name = mp_obj_str_get_str(name_in);
    if (name[0] == 0 || strlen(name) >= IFNAMSIZ) {
        mp_raise_OSError(ENODEV);
    }
    return name;
}

/*
 * tap_open(name, vnet_header_bytes) -> (fd, mtu, features). OSError(ENODEV) where there is no interface of that name.
 */
static mp_obj_t mirage_tap_open(mp_obj_t name_in, mp_obj_t header_in) {
    const char *name = interface_name(name_in);
    int mtu = interface_mtu(name);
    return attached(attach(name, (int)mirage_int(header_in)), mtu);
}
MP_DEFINE_CONST_FUN_OBJ_2(mirage_tap_open_obj, mirage_tap_open);

/* Gives the host's side an IPv4 address and brings it up. false: errno says why not. */
static bool bring_up(const char *name, uint32_t address, uint32_t netmask) {
    struct ifreq request = {0};
    struct sockaddr_in *value = (struct sockaddr_in *)&request.ifr_addr;
    strcpy(request.ifr_name, name);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    value->sin_family = AF_INET;
    value->sin_addr.s_addr = htonl(address);
    bool ok = ioctl(fd, SIOCSIFADDR, &request) == 0;
    value->sin_addr.s_addr = htonl(netmask);
    ok = ok && ioctl(fd, SIOCSIFNETMASK, &request) == 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0;
    request.ifr_flags |= IFF_UP;
    ok = ok && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    int error = errno;
    close(fd);
    errno = error;
    return ok;
}

/*
 * tap_create(name, vnet_header_bytes, host_address, host_netmask) -> (fd, mtu, features): makes the interface, which
 * goes with the descriptor, and gives the host's side that address (32-bit integers). OSError(EPERM) without
 * CAP_NET_ADMIN.
 */
static mp_obj_t mirage_tap_create(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    const char *name = interface_name(args[0]);
    int fd = attach(name, (int)mirage_int(args[1]));
    if (!bring_up(name, (uint32_t)mirage_int(args[2]), (uint32_t)mirage_int(args[3]))) {
        raise_and_close(fd, errno);
    }
    return attached(fd, interface_mtu(name));
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(mirage_tap_create_obj, 4, 4, mirage_tap_create);

static mp_obj_t transferred(ssize_t n) {
    if (n < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK) {
            mp_raise_OSError(errno);
        }
    }
    return MP_OBJ_NEW_SMALL_INT(n);
}

/* fd_read(fd, buf, start, len) -> n; -1 would block, 0 end */
static mp_obj_t mirage_fd_read(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    uint8_t *data = mirage_range(args[1], args[2], args[3], MP_BUFFER_WRITE);
    ssize_t n;
    do {
        n = read((int)mirage_int(args[0]), data, (size_t)mirage_int(args[3]));
    } while (n < 0 && errno == EINTR);
    return transferred(n);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(mirage_fd_read_obj, 4, 4, mirage_fd_read);

/* fd_write(fd, buf, start, len) -> n; -1 would block */
static mp_obj_t mirage_fd_write(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    const uint8_t *data = mirage_range(args[1], args[2], args[3], MP_BUFFER_READ);
    ssize_t n;
    do {
        n = write((int)mirage_int(args[0]), data, (size_t)mirage_int(args[3]));
    } while (n < 0 && errno == EINTR);
    return transferred(n);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(mirage_fd_write_obj, 4, 4, mirage_fd_write);

/* fd_close(fd) */
static mp_obj_t mirage_fd_close(mp_obj_t fd_in) {
    int fd = (int)mirage_int(fd_in);
    plat_fd_watch(fd, 0);
    if (close(fd) != 0 && errno != EINTR) {
        mp_raise_OSError(errno);
    }
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_1(mirage_fd_close_obj, mirage_fd_close);

/* fd_watch(fd, events) -> source. events: 1 read, 2 write, 0 remove */
static mp_obj_t mirage_fd_watch(mp_obj_t fd, mp_obj_t events) {
    int source = plat_fd_watch((int)mirage_int(fd), (int)mirage_int(events) & (PLAT_FD_READ | PLAT_FD_WRITE));
    if (source < 0) {
        mp_raise_OSError(errno);
    }
    return MP_OBJ_NEW_SMALL_INT(source);
}
MP_DEFINE_CONST_FUN_OBJ_2(mirage_fd_watch_obj, mirage_fd_watch);
