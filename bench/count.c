/* SPDX-License-Identifier: MIT */
/*
 * A TCG plugin for QEMU: how many instructions the guest has executed, and where; readable while it runs.
 *
 *   -plugin count.so,out=FILE[,mark=ADDRESS]...[,vm=ADDRESS:LENGTH,code=ADDRESS:LENGTH]
 *
 * FILE becomes a `struct counts` that is written in place, so a program that maps it sees every instruction at once, and
 * the difference of two looks is what happened between them. Each time the guest gets to an ADDRESS, the number of
 * instructions so far is noted, and which of them it was: a function that is called nowhere else makes a mark.
 *
 * vm is where the bytecode interpreter's loop is, code where the frozen bytecode is: when the loop reads from there, a
 * Python function is running, and all instructions until the next read are put down to the octet that it read. So the
 * profile is by Python function, with what the functions call in C; the guest is not changed for it.
 *
 * Searched for is each block that is reached by a return, an indirect jump, or from another page: those are not chained.
 * QEMU 7.2 looks in a cache first (tb_jmp_cache), which is played here; what it misses is looked for in a hash table.
 *
 * Debian ships no header for plugins. The declarations below are the part of the interface that is used (QEMU's manual,
 * "QEMU TCG Plugins"). PLUGIN_VERSION is 1 for QEMU before 9, whose interface ends there, and 2 for 9 and 10. From QEMU 11
 * on, callbacks have other arguments.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define MARKS 8192
#define BLOCKS 131072
#define MARK_ADDRESSES 16
#define PAGE_BITS 12
#define CACHE_SLOTS 4096
#define MARK_SHIFT 56 /* above it, a mark has the number of its address */
#define CODE_BYTES (1 << 20)
#define CB_NO_REGS 0
#define MEM_ANY 3 /* QEMU 7.2 gives reads only to those who ask for writes too */

typedef uint64_t plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*exec_cb_t)(unsigned int vcpu, void *data);
typedef void (*mem_cb_t)(unsigned int vcpu, uint32_t info, uint64_t address, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id_t id, void (*cb)(plugin_id_t id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, exec_cb_t cb, int flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, exec_cb_t cb, int flags, void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, mem_cb_t cb, int flags, int access, void *data);
unsigned int qemu_plugin_mem_size_shift(uint32_t info);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

struct block {
    uint64_t address, instructions, executed;
};

/* bench/counts.py reads it. */
struct counts {
    uint64_t instructions, marks, blocks, lost; /* lost: blocks for which there was no room */
    uint64_t searches, misses;                  /* for the next block; of these, those that the cache did not know */
    uint64_t mark[MARKS];
    struct block block[BLOCKS];
    uint64_t code[CODE_BYTES]; /* by octet of the bytecode */
};

struct range {
    uint64_t start, length;
};

EXPORT int qemu_plugin_version = PLUGIN_VERSION;
static struct counts *counts;
static uint64_t mark_address[MARK_ADDRESSES];
static size_t mark_addresses;
static struct range vm, code;
static uint64_t code_running, instructions_then;
static bool ends_indirectly[BLOCKS];
static const struct block *last;
static uint64_t cache[CACHE_SLOTS];

/* QEMU's tb_jmp_cache_hash_func(): the addresses of one page share 64 places. */
static void search(uint64_t address) {
    uint64_t mixed = address ^ address >> 6;
    uint64_t *slot = &cache[(mixed >> 6 & 0xfc0) | (mixed & 0x3f)];
    counts->searches++;
    if (*slot != address) {
        *slot = address;
        counts->misses++;
    }
}

static void block_executed(unsigned int vcpu, void *data) {
    struct block *block = data;
    (void)vcpu;
    block->executed++;
    counts->instructions += block->instructions;
    if (last != NULL
        && (ends_indirectly[last - counts->block] || (last->address ^ block->address) >> PAGE_BITS != 0)) {
        search(block->address);
    }
    last = block;
}

static void mark_reached(unsigned int vcpu, void *data) {
    (void)vcpu;
    if (counts->marks < MARKS) {
        counts->mark[counts->marks] = (uint64_t)(uintptr_t)data << MARK_SHIFT | counts->instructions;
    }
    counts->marks++;
}

static void vm_accesses(unsigned int vcpu, uint32_t info, uint64_t address, void *data) {
    (void)vcpu;
    (void)data;
    /* Bytecode is read octet by octet; constants, which lie between, are not. */
    if (address - code.start < code.length && qemu_plugin_mem_size_shift(info) == 0) {
        counts->code[code_running] += counts->instructions - instructions_then;
        instructions_then = counts->instructions;
        code_running = address - code.start;
    }
}

/* The same code is translated again after a flush: it keeps its place. Open addressing. */
static struct block *place(uint64_t address, uint64_t instructions) {
    uint64_t slot = (address * 0x9e3779b97f4a7c15 ^ instructions) % BLOCKS;
    for (size_t tries = 0; tries < 64; tries++, slot = (slot + 1) % BLOCKS) {
        struct block *block = &counts->block[slot];
        if (block->instructions == 0) {
            block->address = address;
            block->instructions = instructions;
            counts->blocks++;
            return block;
        }
        if (block->address == address && block->instructions == instructions) {
            return block;
        }
    }
    counts->lost++;
    return NULL;
}

/* A return, or a jump or call through a register or memory: C3, C2, FF /2, FF /4, behind prefixes. */
static bool is_indirect(const struct qemu_plugin_insn *insn) {
    const uint8_t *octet = qemu_plugin_insn_data(insn), *end = octet + qemu_plugin_insn_size(insn);
    while (octet < end - 1 && (*octet == 0xf2 || *octet == 0xf3 || *octet == 0x66 || *octet == 0x3e || *octet >> 4 == 4)) {
        octet++;
    }
    if (*octet == 0xc2 || *octet == 0xc3) {
        return true;
    }
    return *octet == 0xff && octet < end - 1 && ((octet[1] >> 3 & 7) == 2 || (octet[1] >> 3 & 7) == 4);
}

static void block_translated(plugin_id_t id, struct qemu_plugin_tb *tb) {
    size_t instructions = qemu_plugin_tb_n_insns(tb);
    struct block *block = place(qemu_plugin_tb_vaddr(tb), instructions);
    (void)id;
    if (block != NULL) {
        ends_indirectly[block - counts->block] = is_indirect(qemu_plugin_tb_get_insn(tb, instructions - 1));
        qemu_plugin_register_vcpu_tb_exec_cb(tb, block_executed, CB_NO_REGS, block);
    }
    for (size_t i = 0; i < instructions; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t address = qemu_plugin_insn_vaddr(insn);
        for (size_t number = 0; number < mark_addresses; number++) {
            if (address == mark_address[number]) {
                qemu_plugin_register_vcpu_insn_exec_cb(insn, mark_reached, CB_NO_REGS, (void *)(uintptr_t)number);
            }
        }
        if (address - vm.start < vm.length) {
            qemu_plugin_register_vcpu_mem_cb(insn, vm_accesses, CB_NO_REGS, MEM_ANY, NULL);
        }
    }
}

static struct range parse_range(const char *text) {
    char *end;
    struct range range = {.start = strtoull(text, &end, 0)};
    range.length = *end == ':' ? strtoull(end + 1, NULL, 0) : 0;
    return range;
}

EXPORT int qemu_plugin_install(plugin_id_t id, const void *info, int argc, char **argv) {
    int fd = -1;
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) == 0) {
            fd = open(argv[i] + 4, O_RDWR | O_CREAT | O_TRUNC, 0600);
        } else if (strncmp(argv[i], "mark=", 5) == 0 && mark_addresses < MARK_ADDRESSES) {
            mark_address[mark_addresses++] = strtoull(argv[i] + 5, NULL, 0);
        } else if (strncmp(argv[i], "vm=", 3) == 0) {
            vm = parse_range(argv[i] + 3);
        } else if (strncmp(argv[i], "code=", 5) == 0) {
            code = parse_range(argv[i] + 5);
        }
    }
    if (fd < 0 || code.length > CODE_BYTES || ftruncate(fd, sizeof *counts) != 0) {
        return -1;
    }
    counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (counts == MAP_FAILED) {
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, block_translated);
    return 0;
}
