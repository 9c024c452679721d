/* SPDX-License-Identifier: MIT */
/* modmirage.h: what the files of the `_mirage` module share. */
#ifndef MIRAGE_MODMIRAGE_H
#define MIRAGE_MODMIRAGE_H

#include "py/obj.h"
#include "py/runtime.h"
#include "py/smallint.h"

#include "port_abi.h"

void mirage_set_args(int argc, char **argv);

/* stop.c: once the interpreter runs; whether _mirage.wait() has Terminated to raise; that it does. */
void mirage_stop_start(void);
bool mirage_stop_is_due(void);
__attribute__((noreturn)) void mirage_raise_stop(void);
extern const mp_obj_type_t mp_type_Terminated;
MP_DECLARE_CONST_FUN_OBJ_1(mirage_defer_stop_obj);

/* A number of octets, an offset or a small number; saves the call in the usual case. */
static inline mp_int_t mirage_int(mp_obj_t value) {
    return mp_obj_is_small_int(value) ? MP_OBJ_SMALL_INT_VALUE(value) : mp_obj_get_int(value);
}

/* An unsigned number of up to 64 bits (time, address): no allocation where it fits a small int. */
static inline mp_obj_t mirage_new_uint64(uint64_t value) {
    return value <= (uint64_t)MP_SMALL_INT_MAX ? MP_OBJ_NEW_SMALL_INT((mp_int_t)value) : mp_obj_new_int_from_ull(value);
}

__attribute__((noreturn)) void mirage_raise_bounds(void);

/* The octets buf[start : start + len]; ValueError when they are not all there, TypeError when it is no such buffer. */
uint8_t *mirage_range(mp_obj_t buf, mp_obj_t start, mp_obj_t len_bytes, mp_uint_t flags);

#if MIRAGE_FEATURE_NET
/*
 * A new memoryview. typecode: one of BHIQ, else ValueError. `base` must be where an allocation of the heap starts, or
 * outside.
 */
size_t mirage_item_bytes(mp_obj_t typecode);
mp_obj_t mirage_new_view(void *base, size_t offset_bytes, size_t len_bytes, size_t item_bytes, bool writable);

MP_DECLARE_CONST_FUN_OBJ_VAR_BETWEEN(mirage_checksum_obj);
MP_DECLARE_CONST_FUN_OBJ_VAR_BETWEEN(mirage_copy_obj);
MP_DECLARE_CONST_FUN_OBJ_3(mirage_take_obj);
MP_DECLARE_CONST_FUN_OBJ_0(mirage_dma_region_obj);
MP_DECLARE_CONST_FUN_OBJ_VAR_BETWEEN(mirage_view_obj);
MP_DECLARE_CONST_FUN_OBJ_0(mirage_fence_obj);

#if MIRAGE_TARGET_HVT
MP_DECLARE_CONST_FUN_OBJ_3(mirage_pci_read_obj);
MP_DECLARE_CONST_FUN_OBJ_VAR_BETWEEN(mirage_pci_write_obj);
MP_DECLARE_CONST_FUN_OBJ_0(mirage_pci_last_bus_obj);
MP_DECLARE_CONST_FUN_OBJ_1(mirage_pci_window_obj);
MP_DECLARE_CONST_FUN_OBJ_3(mirage_map_mmio_obj);
MP_DECLARE_CONST_FUN_OBJ_0(mirage_irq_alloc_obj);
MP_DECLARE_CONST_FUN_OBJ_1(mirage_irq_legacy_obj);
MP_DECLARE_CONST_FUN_OBJ_1(mirage_irq_legacy_unmask_obj);
#else
MP_DECLARE_CONST_FUN_OBJ_2(mirage_tap_open_obj);
MP_DECLARE_CONST_FUN_OBJ_VAR_BETWEEN(mirage_tap_create_obj);
MP_DECLARE_CONST_FUN_OBJ_VAR_BETWEEN(mirage_fd_read_obj);
MP_DECLARE_CONST_FUN_OBJ_VAR_BETWEEN(mirage_fd_write_obj);
MP_DECLARE_CONST_FUN_OBJ_1(mirage_fd_close_obj);
MP_DECLARE_CONST_FUN_OBJ_2(mirage_fd_watch_obj);
#endif
#endif

#if MIRAGE_FEATURE_SOCKET
MP_DECLARE_CONST_FUN_OBJ_VAR_BETWEEN(mirage_sock_listen_obj);
MP_DECLARE_CONST_FUN_OBJ_1(mirage_sock_accept_obj);
MP_DECLARE_CONST_FUN_OBJ_2(mirage_sock_connect_obj);
MP_DECLARE_CONST_FUN_OBJ_2(mirage_sock_recv_obj);
MP_DECLARE_CONST_FUN_OBJ_3(mirage_sock_send_obj);
MP_DECLARE_CONST_FUN_OBJ_2(mirage_sock_recvfrom_obj);
MP_DECLARE_CONST_FUN_OBJ_VAR_BETWEEN(mirage_sock_sendto_obj);
MP_DECLARE_CONST_FUN_OBJ_1(mirage_sock_names_obj);
MP_DECLARE_CONST_FUN_OBJ_1(mirage_sock_error_obj);
MP_DECLARE_CONST_FUN_OBJ_2(mirage_sock_shutdown_obj);
MP_DECLARE_CONST_FUN_OBJ_2(mirage_sock_close_obj);
MP_DECLARE_CONST_FUN_OBJ_3(mirage_sock_option_obj);
MP_DECLARE_CONST_FUN_OBJ_1(mirage_sock_unacked_obj);
MP_DECLARE_CONST_FUN_OBJ_2(mirage_sock_watch_obj);
MP_DECLARE_CONST_FUN_OBJ_0(mirage_sock_ready_obj);
#endif

#endif
