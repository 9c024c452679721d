/* SPDX-License-Identifier: MIT */
/*
 * fault.c: the report of a CPU exception. Runs on a stack of its own (IST 1), trusts nothing, ends the machine.
 */
#include "hvt.h"

#define PAGE_FAULT 14
#define ERROR_WRITE 2
#define ERROR_FETCH 16
#define RETURNS_MAX 16
#define STACK_WORDS_MAX 2048

void hvt_fault(const hvt_frame_t *frame);

static const char *const names[32] = {
    "divide error", "debug", "NMI", "breakpoint", "overflow", "bound range", "invalid opcode", "device not available",
    "double fault", "coprocessor overrun", "invalid TSS", "segment not present", "stack segment", "general protection",
    "page fault", "reserved", "x87 floating point", "alignment check", "machine check", "SIMD floating point",
    "virtualization", "control protection", "reserved", "reserved", "reserved", "reserved", "reserved", "reserved",
    "hypervisor injection", "VMM communication", "security", "reserved",
};

static bool within(uint64_t at, const char *start, const char *end) {
    return at >= (uint64_t)start && at < (uint64_t)end;
}

static const char *place(uint64_t at) {
    if (at < PAGE_SIZE) {
        return "page zero";
    }
    if (within(at, hvt_image_start, hvt_text_end)) {
        return "read-only text";
    }
    if (within(at, hvt_rodata_start, hvt_rodata_end)) {
        return "read-only data";
    }
    return hvt_is_mapped(at) ? "data" : "memory that is not mapped";
}

static void explain_page_fault(uint64_t at, uint64_t error) {
    if (within(at, hvt_guard_start, hvt_stack_bottom)) {
        hvt_print("stack overflow (guard page)");
        return;
    }
    hvt_print(error & ERROR_FETCH ? "execution of " : error & ERROR_WRITE ? "write to " : "read of ");
    hvt_print(place(at));
}

/* Does a call instruction end here? Then the address is likely to be where a function returns to. */
static bool follows_call(uint64_t at) {
    if (!within(at, hvt_image_start + 8, hvt_text_end)) {
        return false;
    }
    const uint8_t *code = (const uint8_t *)at;
    if (code[-5] == 0xe8) {
        return true;
    }
    for (int len_bytes = 2; len_bytes <= 7; len_bytes++) { /* FF /2: through a register or memory */
        if (code[-len_bytes] == 0xff && (code[1 - len_bytes] & 0x38) == 0x10) {
            return true;
        }
    }
    return false;
}

/* The code keeps no frame pointers: what looks like a return address on the stack is listed, the newest first. */
static void print_returns(uint64_t rsp) {
    int found = 0;
    hvt_print("  returns to");
    rsp = (rsp + 7) & ~7UL;
    if (within(rsp, hvt_guard_start, hvt_stack_bottom)) {
        rsp = (uint64_t)hvt_stack_bottom;
    }
    for (int i = 0; i < STACK_WORDS_MAX && found < RETURNS_MAX; i++, rsp += 8) {
        if (!within(rsp, hvt_stack_bottom, hvt_stack_top)) {
            break;
        }
        uint64_t word = *(const uint64_t *)rsp;
        if (follows_call(word)) {
            hvt_print(found % 4 == 0 && found > 0 ? "\n             0x" : " 0x");
            hvt_print_hex(word);
            found++;
        }
    }
    hvt_print(found > 0 ? "\n" : " (nothing found)\n");
}

static void print_registers(const hvt_frame_t *f, uint64_t cr2) {
    const struct {
        const char *name;
        uint64_t value;
    } registers[] = {
        {"rip", f->rip}, {"rsp", f->rsp}, {"cr2", cr2},    {"err", f->error_code}, {"rax", f->rax},
        {"rbx", f->rbx}, {"rcx", f->rcx}, {"rdx", f->rdx}, {"rsi", f->rsi},        {"rdi", f->rdi},
        {"rbp", f->rbp}, {"r8 ", f->r8},  {"r9 ", f->r9},  {"r10", f->r10},        {"r11", f->r11},
        {"r12", f->r12}, {"r13", f->r13}, {"r14", f->r14}, {"r15", f->r15},        {"flg", f->rflags},
    };
    for (size_t i = 0; i < ARRAY_LEN(registers); i++) {
        hvt_print("  ");
        hvt_print(registers[i].name);
        hvt_print(" ");
        hvt_print_hex(registers[i].value);
        if (i % 4 == 3) {
            hvt_print("\n");
        }
    }
}

/* Called by vectors.S. */
void hvt_fault(const hvt_frame_t *frame) {
    static bool reporting;
    uint64_t cr2;
    __asm__ volatile("movq %%cr2, %0" : "=r"(cr2));
    if (reporting) {
        hvt_die("a fault inside the report of a fault", MIRAGE_EXIT_FAULT);
    }
    reporting = true;
    hvt_print("\nmirage: fault: ");
    hvt_print(names[frame->vector & 31]);
    hvt_print(" (vector ");
    hvt_print_dec(frame->vector);
    hvt_print(")");
    if (frame->vector == PAGE_FAULT) {
        hvt_print(": ");
        explain_page_fault(cr2, frame->error_code);
        hvt_print(" at 0x");
        hvt_print_hex(cr2);
    }
    hvt_print("\n");
    print_registers(frame, cr2);
    print_returns(frame->rsp);
    plat_exit(MIRAGE_EXIT_FAULT);
}
