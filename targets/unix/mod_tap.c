/* SPDX-License-Identifier: MIT */
/* mod_tap.c: TAP interfaces and descriptors for libos.driver.tap. */

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
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

/* tap_open(name, vnet_header_bytes) -> (fd, mtu, features) */
static mp_obj_t mirage_tap_open(mp_obj_t name_in, mp_obj_t header_in) {
    const char *name = mp_obj_str_get_str(name_in);
    int header_bytes = (int)mirage_int(header_in);
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    if (name[0] == 0 || strlen(name) >= sizeof(request.ifr_name)) {
        mp_raise_OSError(ENODEV);
    }
    int mtu = interface_mtu(name);
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        mp_raise_OSError(errno);
    }
    strcpy(request.ifr_name, name);
    if (ioctl(fd, TUNSETIFF, &request) != 0 || ioctl(fd, TUNSETVNETHDRSZ, &header_bytes) != 0) {
        raise_and_close(fd, errno);
    }
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
MP_DEFINE_CONST_FUN_OBJ_2(mirage_tap_open_obj, mirage_tap_open);

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
