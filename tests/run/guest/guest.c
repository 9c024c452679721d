/* SPDX-License-Identifier: MIT */
/*
 * The smallest guest that `mirage-py run` can be tried with: boots by PVH, obeys its boot arguments one after the other.
 * It needs nothing of the runtime, so that these tests stand when the runtime does not build.
 *
 *   args        prints the whole boot argument line        exit=N      leaves through isa-debug-exit
 *   echo        prints what is typed, until 'q'            lines=N     prints N numbered lines
 *   panic       reports through pvpanic                    reset       triple fault
 *   forever     sleeps                                     poweroff    ACPI power-off of q35
 */
#define COM1 0x3f8
#define DEBUG_EXIT 0xf4
#define PVPANIC 0x505

__asm__(".section .note, \"a\", @note\n"
        ".long 4, 4, 18\n" /* name, descriptor, XEN_ELFNOTE_PHYS32_ENTRY */
        ".asciz \"Xen\"\n"
        ".long _start\n"
        ".text\n"
        ".global _start\n"
        "_start: mov $stack + 8192, %esp\n"
        "push %ebx\n"
        "call start\n"
        ".bss\n"
        ".balign 16\n"
        "stack: .skip 8192\n"
        ".text\n");

struct start_info { /* Xen public/arch-x86/hvm/start_info.h */
    unsigned magic, version, flags, nr_modules;
    unsigned long long modlist_phys_addr, cmdline_phys_addr;
};

static void outb(unsigned short port, unsigned char value) {
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static unsigned char inb(unsigned short port) {
    unsigned char value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void put(char c) {
    while (!(inb(COM1 + 5) & 0x20)) {
    }
    outb(COM1, (unsigned char)c);
}

static void print(const char *text) {
    while (*text) {
        put(*text++);
    }
}

static void print_number(unsigned value) {
    if (value >= 10) {
        print_number(value / 10);
    }
    put((char)('0' + value % 10));
}

static const char *after(const char *text, const char *prefix) {
    while (*prefix) {
        if (*text++ != *prefix++) {
            return 0;
        }
    }
    return text;
}

static unsigned number(const char *text) {
    unsigned value = 0;
    while (*text >= '0' && *text <= '9') {
        value = value * 10 + (unsigned)(*text++ - '0');
    }
    return value;
}

static void obey(const char *word) {
    const char *value;
    if ((value = after(word, "exit="))) {
        __asm__ volatile("outl %0, %1" : : "a"(number(value)), "Nd"((unsigned short)DEBUG_EXIT));
    } else if ((value = after(word, "lines="))) {
        for (unsigned n = number(value), i = 0; i < n; i++) {
            print("line ");
            print_number(i);
            print(" ........................................................\n");
        }
    } else if (after(word, "echo")) {
        for (char c = 0; c != 'q';) {
            while (!(inb(COM1 + 5) & 1)) {
            }
            put(c = (char)inb(COM1));
        }
    } else if (after(word, "panic")) {
        outb(PVPANIC, 1);
    } else if (after(word, "reset")) {
        static const unsigned char no_idt[6];
        __asm__ volatile("lidt %0; int3" : : "m"(no_idt));
    } else if (after(word, "poweroff")) {
        __asm__ volatile("outw %0, %1" : : "a"((unsigned short)0x2000), "Nd"((unsigned short)0x604));
    } else if (after(word, "forever")) {
        for (;;) {
            __asm__ volatile("cli; hlt");
        }
    }
}

void start(const struct start_info *info);
void start(const struct start_info *info) {
    const char *line = (const char *)(unsigned long)info->cmdline_phys_addr;
    outb(COM1 + 3, 3);
    outb(COM1 + 2, 1); /* with its FIFO, so that nothing typed early is lost */
    if (after(line, "args")) {
        print(line);
        print("\n");
    }
    print("ready\n");
    while (*line) {
        obey(line);
        while (*line && *line != ' ') {
            line++;
        }
        while (*line == ' ') {
            line++;
        }
    }
    obey("forever");
}
