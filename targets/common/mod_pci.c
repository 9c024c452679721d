/* SPDX-License-Identifier: MIT */
/* mod_pci.c: PCI configuration access, device memory and interrupt sources for libos.hal.pci. */

#include "modmirage.h"

#include "py/mperrno.h"

#define PCI_CONFIG_BYTES 4096

static void check_config(mp_int_t bdf, mp_int_t offset, mp_int_t size) {
    if ((size != 1 && size != 2 && size != 4) || bdf < 0 || bdf > 0xffff || offset < 0
        || offset > PCI_CONFIG_BYTES - size || offset % size != 0) {
        mp_raise_ValueError(MP_ERROR_TEXT("PCI configuration access"));
    }
}

/* pci_read(bdf, offset, size) -> int; all ones where nothing is */
static mp_obj_t mirage_pci_read(mp_obj_t bdf_in, mp_obj_t offset_in, mp_obj_t size_in) {
    mp_int_t bdf = mirage_int(bdf_in), offset = mirage_int(offset_in), size = mirage_int(size_in);
    check_config(bdf, offset, size);
    return MP_OBJ_NEW_SMALL_INT(plat_pci_read((uint32_t)bdf, (uint32_t)offset, (uint32_t)size));
}
MP_DEFINE_CONST_FUN_OBJ_3(mirage_pci_read_obj, mirage_pci_read);

/* pci_write(bdf, offset, size, value) */
static mp_obj_t mirage_pci_write(size_t n_args, const mp_obj_t *args) {
    (void)n_args;
    mp_int_t bdf = mirage_int(args[0]), offset = mirage_int(args[1]), size = mirage_int(args[2]);
    check_config(bdf, offset, size);
    uint64_t value = (uint64_t)mirage_int(args[3]) & ((1ull << 8 * size) - 1);
    plat_pci_write((uint32_t)bdf, (uint32_t)offset, (uint32_t)size, (uint32_t)value);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(mirage_pci_write_obj, 4, 4, mirage_pci_write);

/* pci_last_bus() -> int; -1: there is no PCI */
static mp_obj_t mirage_pci_last_bus(void) {
    return MP_OBJ_NEW_SMALL_INT(plat_pci_last_bus());
}
MP_DEFINE_CONST_FUN_OBJ_0(mirage_pci_last_bus_obj, mirage_pci_last_bus);

/* pci_window(index) -> (base, len_bytes) or None */
static mp_obj_t mirage_pci_window(mp_obj_t index) {
    uint64_t base, len_bytes;
    if (!plat_pci_window((int)mirage_int(index), &base, &len_bytes)) {
        return mp_const_none;
    }
    mp_obj_t items[] = {mirage_new_uint64(base), mirage_new_uint64(len_bytes)};
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
MP_DEFINE_CONST_FUN_OBJ_1(mirage_pci_window_obj, mirage_pci_window);

/*
 * map_mmio(phys_addr, len_bytes, typecode) -> memoryview; OSError(EINVAL) for a range that is none, or not device
 * memory
 */
static mp_obj_t mirage_map_mmio(mp_obj_t phys_addr_in, mp_obj_t len_in, mp_obj_t typecode) {
    size_t item_bytes = mirage_item_bytes(typecode);
    /* An address may need all 64 bits; a negative one cannot be told from it, and ends up not mappable. */
    uint64_t phys_addr = (uint64_t)mp_obj_get_int_truncated(phys_addr_in);
    mp_int_t len_bytes = mirage_int(len_in);
    if (len_bytes <= 0 || phys_addr % item_bytes != 0 || (size_t)len_bytes % item_bytes != 0
        || phys_addr + (uint64_t)len_bytes < phys_addr) {
        mp_raise_OSError(MP_EINVAL);
    }
    void *base = plat_map_mmio(phys_addr, (size_t)len_bytes);
    if (base == NULL) {
        mp_raise_OSError(MP_EINVAL);
    }
    return mirage_new_view(base, 0, (size_t)len_bytes, item_bytes, true);
}
MP_DEFINE_CONST_FUN_OBJ_3(mirage_map_mmio_obj, mirage_map_mmio);

/* irq_alloc() -> (source, msi_address, msi_data) or None */
static mp_obj_t mirage_irq_alloc(void) {
    int source;
    uint64_t address;
    uint32_t data;
    if (!plat_irq_alloc(&source, &address, &data)) {
        return mp_const_none;
    }
    mp_obj_t items[] = {MP_OBJ_NEW_SMALL_INT(source), mirage_new_uint64(address), MP_OBJ_NEW_SMALL_INT(data)};
    return mp_obj_new_tuple(MP_ARRAY_SIZE(items), items);
}
MP_DEFINE_CONST_FUN_OBJ_0(mirage_irq_alloc_obj, mirage_irq_alloc);

/* irq_legacy(line) -> source or None */
static mp_obj_t mirage_irq_legacy(mp_obj_t line) {
    int source;
    if (!plat_irq_legacy((uint32_t)mirage_int(line), &source)) {
        return mp_const_none;
    }
    return MP_OBJ_NEW_SMALL_INT(source);
}
MP_DEFINE_CONST_FUN_OBJ_1(mirage_irq_legacy_obj, mirage_irq_legacy);

/* irq_legacy_unmask(source) */
static mp_obj_t mirage_irq_legacy_unmask(mp_obj_t source) {
    plat_irq_legacy_unmask((int)mirage_int(source));
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_1(mirage_irq_legacy_unmask_obj, mirage_irq_legacy_unmask);
