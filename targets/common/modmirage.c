/* SPDX-License-Identifier: MIT */
/*
 * modmirage.c: the module `_mirage`, which libos.hal alone imports: console, clocks, waiting, entropy, exit, arguments.
 * The device and socket functions in its table are in files of their own.
 */

#include "modmirage.h"

#include "py/gc.h"
#include "py/mperrno.h"
#include "py/mphal.h"

#if MIRAGE_FEATURE_SOCKET
#include "unix.h"
#endif

static int arg_count;
static char **arg_values;

void mirage_set_args(int argc, char **argv) {
    arg_count = argc;
    arg_values = argv;
}

/* --- functions ---------------------------------------------------------------------------------------------------- */

/* args() -> tuple of str */
static mp_obj_t mirage_args(void) {
    mp_obj_tuple_t *tuple = MP_OBJ_TO_PTR(mp_obj_new_tuple((size_t)arg_count, NULL));
    for (int i = 0; i < arg_count; i++) {
        tuple->items[i] = mp_obj_new_str_from_cstr(arg_values[i]);
    }
    return MP_OBJ_FROM_PTR(tuple);
}
static MP_DEFINE_CONST_FUN_OBJ_0(mirage_args_obj, mirage_args);

/* console_write(buf) */
static mp_obj_t mirage_console_write(mp_obj_t buf) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(buf, &info, MP_BUFFER_READ);
    plat_console_write(info.buf, info.len);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(mirage_console_write_obj, mirage_console_write);

/* console_read(buf) -> octets read; 0 nothing there, -1 end of input */
static mp_obj_t mirage_console_read_fun(mp_obj_t buf) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(buf, &info, MP_BUFFER_WRITE);
    return MP_OBJ_NEW_SMALL_INT(mirage_console_read(info.buf, info.len));
}
static MP_DEFINE_CONST_FUN_OBJ_1(mirage_console_read_obj, mirage_console_read_fun);

/* monotonic_ns() -> int */
static mp_obj_t mirage_monotonic_ns(void) {
    return mirage_new_uint64(plat_monotonic_ns());
}
static MP_DEFINE_CONST_FUN_OBJ_0(mirage_monotonic_ns_obj, mirage_monotonic_ns);

/* now_ms() -> int: monotonic */
static mp_obj_t mirage_now_ms(void) {
    return MP_OBJ_NEW_SMALL_INT((mp_int_t)(plat_monotonic_ns() / 1000000));
}
static MP_DEFINE_CONST_FUN_OBJ_0(mirage_now_ms_obj, mirage_now_ms);

/* wall_ns() -> int: since 1970-01-01 UTC */
static mp_obj_t mirage_wall_ns(void) {
    return mirage_new_uint64(plat_wall_ns());
}
static MP_DEFINE_CONST_FUN_OBJ_0(mirage_wall_ns_obj, mirage_wall_ns);

static uint32_t wait_for_sources(mp_obj_t deadline_in) {
    mp_int_t deadline_ns = mirage_int(deadline_in);
    mirage_steps_pause();
    uint32_t fired = mirage_take_kept_sources();
    if (fired != 0) {
        return fired | mirage_plat_wait(0);
    }
    return mirage_wait_collecting(deadline_ns < 0 ? PLAT_NO_DEADLINE : (uint64_t)deadline_ns);
}

/* wait(deadline_ns) -> set of sources that fired, as bits. deadline_ns < 0: none. Allocates nothing. See defer_stop(). */
static mp_obj_t mirage_wait(mp_obj_t deadline_in) {
    uint32_t fired = wait_for_sources(deadline_in);
    mirage_idle_ticks = __builtin_ia32_rdtsc();
    if (MP_STATE_THREAD(mp_pending_exception) != MP_OBJ_NULL || mirage_stop_is_due()) {
        mirage_keep_sources(fired);
        mp_handle_pending(true);
        if (mirage_stop_is_due()) {
            mirage_raise_stop();
        }
        fired = mirage_take_kept_sources();
    }
    return MP_OBJ_NEW_SMALL_INT(fired);
}
static MP_DEFINE_CONST_FUN_OBJ_1(mirage_wait_obj, mirage_wait);

/* pause(deadline_ns): the same for drivers, in the middle of whose work no request to end arrives */
static mp_obj_t mirage_pause(mp_obj_t deadline_in) {
    uint32_t fired = wait_for_sources(deadline_in);
    mp_handle_pending(true);
    return MP_OBJ_NEW_SMALL_INT(fired);
}
static MP_DEFINE_CONST_FUN_OBJ_1(mirage_pause_obj, mirage_pause);

/* entropy(buf): fills it. OSError(EIO) where the machine has no source. */
static mp_obj_t mirage_entropy(mp_obj_t buf) {
    mp_buffer_info_t info;
    mp_get_buffer_raise(buf, &info, MP_BUFFER_WRITE);
    if (!plat_entropy(info.buf, info.len)) {
        mp_raise_OSError(MP_EIO);
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(mirage_entropy_obj, mirage_entropy);

/* exit(code): at once; nothing of Python's is unwound */
static mp_obj_t mirage_exit(mp_obj_t code) {
    plat_exit((int)(mirage_int(code) & 0xff));
}
static MP_DEFINE_CONST_FUN_OBJ_1(mirage_exit_obj, mirage_exit);

/* memory() -> (ram_bytes, heap_bytes, dma_bytes) */
static mp_obj_t mirage_memory(void) {
    void *base;
    uint64_t phys_addr;
    size_t heap_bytes, dma_bytes;
    plat_heap(&base, &heap_bytes);
    plat_dma(&base, &phys_addr, &dma_bytes);
    mp_obj_t items[] = {
        mirage_new_uint64(plat_ram_bytes()),
        mirage_new_uint64(heap_bytes),
        mirage_new_uint64(dma_bytes),
    };
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
static MP_DEFINE_CONST_FUN_OBJ_0(mirage_memory_obj, mirage_memory);

/* --- the module --------------------------------------------------------------------------------------------------- */

static const mp_rom_map_elem_t mirage_globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR__mirage)},
    #if MIRAGE_TARGET_UNIX
    {MP_ROM_QSTR(MP_QSTR_TARGET), MP_ROM_QSTR(MP_QSTR_unix)},
    #else
    {MP_ROM_QSTR(MP_QSTR_TARGET), MP_ROM_QSTR(MP_QSTR_hvt)},
    #endif
    {MP_ROM_QSTR(MP_QSTR_args), MP_ROM_PTR(&mirage_args_obj)},
    {MP_ROM_QSTR(MP_QSTR_console_write), MP_ROM_PTR(&mirage_console_write_obj)},
    {MP_ROM_QSTR(MP_QSTR_console_read), MP_ROM_PTR(&mirage_console_read_obj)},
    {MP_ROM_QSTR(MP_QSTR_monotonic_ns), MP_ROM_PTR(&mirage_monotonic_ns_obj)},
    {MP_ROM_QSTR(MP_QSTR_now_ms), MP_ROM_PTR(&mirage_now_ms_obj)},
    {MP_ROM_QSTR(MP_QSTR_wall_ns), MP_ROM_PTR(&mirage_wall_ns_obj)},
    {MP_ROM_QSTR(MP_QSTR_wait), MP_ROM_PTR(&mirage_wait_obj)},
    {MP_ROM_QSTR(MP_QSTR_watch_steps), MP_ROM_PTR(&mirage_watch_steps_obj)},
    {MP_ROM_QSTR(MP_QSTR_pause), MP_ROM_PTR(&mirage_pause_obj)},
    {MP_ROM_QSTR(MP_QSTR_defer_stop), MP_ROM_PTR(&mirage_defer_stop_obj)},
    {MP_ROM_QSTR(MP_QSTR_Terminated), MP_ROM_PTR(&mp_type_Terminated)},
    {MP_ROM_QSTR(MP_QSTR_entropy), MP_ROM_PTR(&mirage_entropy_obj)},
    {MP_ROM_QSTR(MP_QSTR_exit), MP_ROM_PTR(&mirage_exit_obj)},
    {MP_ROM_QSTR(MP_QSTR_memory), MP_ROM_PTR(&mirage_memory_obj)},

    #if MIRAGE_FEATURE_REPL
    {MP_ROM_QSTR(MP_QSTR_repl_poll), MP_ROM_PTR(&mirage_repl_poll_obj)},
    #endif
    #if MIRAGE_FEATURE_NET
    {MP_ROM_QSTR(MP_QSTR_checksum), MP_ROM_PTR(&mirage_checksum_obj)},
    {MP_ROM_QSTR(MP_QSTR_copy), MP_ROM_PTR(&mirage_copy_obj)},
    {MP_ROM_QSTR(MP_QSTR_take), MP_ROM_PTR(&mirage_take_obj)},
    {MP_ROM_QSTR(MP_QSTR_dma_region), MP_ROM_PTR(&mirage_dma_region_obj)},
    {MP_ROM_QSTR(MP_QSTR_view), MP_ROM_PTR(&mirage_view_obj)},
    {MP_ROM_QSTR(MP_QSTR_fence), MP_ROM_PTR(&mirage_fence_obj)},
    #if MIRAGE_TARGET_HVT
    {MP_ROM_QSTR(MP_QSTR_pci_read), MP_ROM_PTR(&mirage_pci_read_obj)},
    {MP_ROM_QSTR(MP_QSTR_pci_write), MP_ROM_PTR(&mirage_pci_write_obj)},
    {MP_ROM_QSTR(MP_QSTR_pci_last_bus), MP_ROM_PTR(&mirage_pci_last_bus_obj)},
    {MP_ROM_QSTR(MP_QSTR_pci_window), MP_ROM_PTR(&mirage_pci_window_obj)},
    {MP_ROM_QSTR(MP_QSTR_map_mmio), MP_ROM_PTR(&mirage_map_mmio_obj)},
    {MP_ROM_QSTR(MP_QSTR_irq_alloc), MP_ROM_PTR(&mirage_irq_alloc_obj)},
    {MP_ROM_QSTR(MP_QSTR_irq_legacy), MP_ROM_PTR(&mirage_irq_legacy_obj)},
    {MP_ROM_QSTR(MP_QSTR_irq_legacy_unmask), MP_ROM_PTR(&mirage_irq_legacy_unmask_obj)},
    #else
    {MP_ROM_QSTR(MP_QSTR_tap_open), MP_ROM_PTR(&mirage_tap_open_obj)},
    {MP_ROM_QSTR(MP_QSTR_tap_create), MP_ROM_PTR(&mirage_tap_create_obj)},
    {MP_ROM_QSTR(MP_QSTR_fd_read), MP_ROM_PTR(&mirage_fd_read_obj)},
    {MP_ROM_QSTR(MP_QSTR_fd_write), MP_ROM_PTR(&mirage_fd_write_obj)},
    {MP_ROM_QSTR(MP_QSTR_fd_close), MP_ROM_PTR(&mirage_fd_close_obj)},
    {MP_ROM_QSTR(MP_QSTR_fd_watch), MP_ROM_PTR(&mirage_fd_watch_obj)},
    #endif
    #endif

    #if MIRAGE_FEATURE_SOCKET
    {MP_ROM_QSTR(MP_QSTR_SOCK_SOURCE), MP_ROM_INT(UNIX_SOURCE_SOCKETS)},
    {MP_ROM_QSTR(MP_QSTR_sock_listen), MP_ROM_PTR(&mirage_sock_listen_obj)},
    {MP_ROM_QSTR(MP_QSTR_sock_accept), MP_ROM_PTR(&mirage_sock_accept_obj)},
    {MP_ROM_QSTR(MP_QSTR_sock_connect), MP_ROM_PTR(&mirage_sock_connect_obj)},
    {MP_ROM_QSTR(MP_QSTR_sock_recv), MP_ROM_PTR(&mirage_sock_recv_obj)},
    {MP_ROM_QSTR(MP_QSTR_sock_send), MP_ROM_PTR(&mirage_sock_send_obj)},
    {MP_ROM_QSTR(MP_QSTR_sock_recvfrom), MP_ROM_PTR(&mirage_sock_recvfrom_obj)},
    {MP_ROM_QSTR(MP_QSTR_sock_sendto), MP_ROM_PTR(&mirage_sock_sendto_obj)},
    {MP_ROM_QSTR(MP_QSTR_sock_names), MP_ROM_PTR(&mirage_sock_names_obj)},
    {MP_ROM_QSTR(MP_QSTR_sock_error), MP_ROM_PTR(&mirage_sock_error_obj)},
    {MP_ROM_QSTR(MP_QSTR_sock_shutdown), MP_ROM_PTR(&mirage_sock_shutdown_obj)},
    {MP_ROM_QSTR(MP_QSTR_sock_close), MP_ROM_PTR(&mirage_sock_close_obj)},
    {MP_ROM_QSTR(MP_QSTR_sock_option), MP_ROM_PTR(&mirage_sock_option_obj)},
    {MP_ROM_QSTR(MP_QSTR_sock_unacked), MP_ROM_PTR(&mirage_sock_unacked_obj)},
    {MP_ROM_QSTR(MP_QSTR_sock_watch), MP_ROM_PTR(&mirage_sock_watch_obj)},
    {MP_ROM_QSTR(MP_QSTR_sock_ready), MP_ROM_PTR(&mirage_sock_ready_obj)},
    #endif
};
static MP_DEFINE_CONST_DICT(mirage_globals, mirage_globals_table);

const mp_obj_module_t mirage_module = {
    .base = {&mp_type_module},
    .globals = (mp_obj_dict_t *)&mirage_globals,
};
MP_REGISTER_MODULE(MP_QSTR__mirage, mirage_module);
