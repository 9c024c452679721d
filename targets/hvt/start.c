/* SPDX-License-Identifier: MIT */
/*
 * start.c: from hvm_start_info (Xen public headers, arch-x86/hvm/start_info.h) to mirage_main().
 */
#include "hvt.h"

#define START_MAGIC 0x336ec578
#define COMMAND_LINE_BYTES 4096
#define ARGS_MAX 128
#define BOOT_MAP_END (1UL << 30) /* what entry.S mapped */

typedef struct {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, cmdline, rsdp;
    uint64_t memmap; /* from version 1 on */
    uint32_t memmap_entries, reserved;
} start_info_t;

const char plat_name[] = "hvt";

void hvt_start(const start_info_t *info);

static char command_line[COMMAND_LINE_BYTES];
static char *args[ARGS_MAX + 1];

/* Splits command_line in place, as a shell would: blanks separate, '...' keeps everything, "..." lets a backslash
 * protect " and \, elsewhere it protects any character. Returns what is wrong, or NULL. */
static const char *split_args(int *count) {
    const char *in = command_line;
    char *out = command_line;
    *count = 0;
    for (;;) {
        while (*in == ' ' || *in == '\t' || *in == '\n') {
            in++;
        }
        if (*in == 0) {
            return NULL;
        }
        if (*count == ARGS_MAX) {
            return "too many boot arguments";
        }
        args[(*count)++] = out;
        char quote = 0;
        for (; *in != 0 && (quote != 0 || (*in != ' ' && *in != '\t' && *in != '\n')); in++) {
            bool escapes = quote == 0 || (quote == '"' && (in[1] == '"' || in[1] == '\\'));
            if (*in == '\\' && escapes && in[1] != 0) {
                *out++ = *++in;
            } else if (quote == 0 && (*in == '"' || *in == '\'')) {
                quote = *in;
            } else if (*in == quote) {
                quote = 0;
            } else {
                *out++ = *in;
            }
        }
        if (quote != 0) {
            return "a quotation mark in the boot arguments is not closed";
        }
        /* `out` is behind `in`, or at the blank or the end that `in` stands on: look before that is overwritten. */
        bool more = *in != 0;
        *out++ = 0;
        if (!more) {
            return NULL;
        }
        in++;
    }
}

static bool copy_command_line(uint64_t from) {
    const char *text = (const char *)from;
    for (size_t i = 0; i < COMMAND_LINE_BYTES && from + i < BOOT_MAP_END; i++) {
        command_line[i] = text[i];
        if (text[i] == 0) {
            return true;
        }
    }
    return false;
}

static __attribute__((noreturn)) void die_of_memory(void) {
    /* A memory map may be too full of holes, whatever its size. */
    uint64_t minimum_mib = (uint64_t)hvt_minimum_mib, present_mib = plat_ram_bytes() >> 20;
    hvt_print("mirage: too little memory: give the machine ");
    hvt_print_dec(minimum_mib > present_mib ? minimum_mib : present_mib + 1);
    hvt_print(" MiB (-m, or --memory)\n");
    plat_exit(MIRAGE_EXIT_NO_MEMORY);
}

void hvt_start(const start_info_t *info) {
    hvt_console_init();
    hvt_descriptors_init();
    bool is_known = (uint64_t)info < BOOT_MAP_END && info->magic == START_MAGIC && info->version >= 1;
    if (!is_known || info->memmap_entries == 0 || info->memmap >= BOOT_MAP_END) {
        hvt_die("the VMM passed no PVH memory map", MIRAGE_EXIT_NO_MEMORY);
    }
    /* All of it lies in RAM that is about to get other uses. */
    bool fits = info->cmdline == 0 || copy_command_line(info->cmdline);
    hvt_acpi_init(info->rsdp);
    if (!hvt_memory_init((const hvt_memmap_t *)info->memmap, info->memmap_entries)) {
        die_of_memory();
    }
    hvt_irq_init();
    hvt_clock_init();

    int count = 0;
    const char *problem = fits ? split_args(&count) : "the boot arguments are too long";
    if (problem != NULL) {
        hvt_die(problem, MIRAGE_EXIT_BAD_ARGS);
    }
    hvt_irq_start();
    plat_exit(mirage_main(count, args));
}
