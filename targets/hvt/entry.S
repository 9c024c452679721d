/* SPDX-License-Identifier: MIT */
/*
 * entry.S: from the VMM's PVH entry to hvt_start() in long mode.
 *
 * Entry state (Xen docs/misc/pvh.pandoc): 32-bit protected mode, flat segments, paging and interrupts off, %ebx =
 * physical address of hvm_start_info. The loader has zeroed what the file does not fill (.bss and the stack). The
 * tables made here map the first gigabyte as it comes and live at the bottom of the stack, which is far from its top;
 * hvt_paging_enable() leaves them before anything runs deep.
 */
#define CR0_BITS 0x80010033 /* PG, WP, NE, ET, MP, PE; not EM, TS, CD, NW */
#define CR4_BITS 0x00000620 /* OSXMMEXCPT, OSFXSR, PAE */
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100
#define EFER_NXE 0x800
#define COOKIE 0x6d697261
#define COM1 0x3f8
#define COM1_LSR (COM1 + 5)
#define LSR_THRE 0x20
#define LSR_TEMT 0x40
#define WAIT_TURNS 1000000 /* of a wait that must end where nothing answers */
#define DEBUG_EXIT_PORT 0xf4
#define PVPANIC_PORT 0x505
#define PVPANIC_PANICKED 1
#define SKIPPED 1 /* the digit that a small number has not */
#define EXIT_UNAVAILABLE 69 /* MIRAGE_EXIT_NO_MEMORY */
#define BOOT_PML4 hvt_stack_bottom
#define BOOT_PDPT (hvt_stack_bottom + 0x1000)
#define BOOT_PD (hvt_stack_bottom + 0x2000)

    /* XEN_ELFNOTE_PHYS32_ENTRY. QEMU reads a 64-bit value out of a 64-bit ELF. */
    .section .note.Xen, "a", @note
    .align 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad hvt_entry

    .section .text.entry, "ax"
    .code32
    .global hvt_entry
hvt_entry:
    cld
    /* Before anything else: is this a machine that can run what follows, down to the stack? No stack until then. */
    movl $COOKIE, hvt_stack_top - 4
    movl $too_little_memory, %esi
    cmpl $COOKIE, hvt_stack_top - 4
    jne refuse
    movl %ebx, %ebp
    movl $0x80000000, %eax
    cpuid
    movl $no_long_mode, %esi
    cmpl $0x80000001, %eax
    jb refuse
    movl $0x80000001, %eax
    cpuid
    testl $(1 << 29), %edx /* long mode */
    jz refuse
    movl $hvt_stack_top, %esp

    movl $(BOOT_PDPT + 3), BOOT_PML4
    movl $(BOOT_PD + 3), BOOT_PDPT
    movl $0x83, %eax /* present, writable, 2 MiB */
    xorl %ecx, %ecx
1:  movl %eax, BOOT_PD(, %ecx, 8)
    addl $0x200000, %eax
    incl %ecx
    cmpl $512, %ecx
    jne 1b

    movl $EFER_LME, %edi
    testl $(1 << 20), %edx /* NX */
    jz 2f
    orl $EFER_NXE, %edi
2:  movl $CR4_BITS, %eax
    movl %eax, %cr4
    movl $BOOT_PML4, %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    movl %edi, %eax
    xorl %edx, %edx
    wrmsr
    movl $CR0_BITS, %eax
    movl %eax, %cr0
    lgdt hvt_gdt_pointer
    ljmp $8, $3f

    .code64
3:  movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl $hvt_stack_top, %esp
    movl %ebp, %ebx
    xorl %ebp, %ebp
    fninit
    ldmxcsr hvt_mxcsr(%rip)
    movl %ebx, %edi
    call hvt_start
    ud2

    /* Ends with the line at %esi. In 32-bit mode, with registers only; the way out is that of power.c, less ACPI. */
    .code32
refuse:
    lodsb
    testb %al, %al
    jz 3f
    cmpb $SKIPPED, %al
    je refuse
    movb %al, %ah
    movl $WAIT_TURNS, %ecx
    movl $COM1_LSR, %edx
1:  inb %dx, %al
    testb $LSR_THRE, %al
    loopz 1b
    movb %ah, %al
    movl $COM1, %edx
    outb %al, %dx
    jmp refuse
3:  movl $WAIT_TURNS, %ecx
    movl $COM1_LSR, %edx
4:  inb %dx, %al
    testb $LSR_TEMT, %al
    loopz 4b
    movl $EXIT_UNAVAILABLE, %eax
    movl $DEBUG_EXIT_PORT, %edx
    outl %eax, %dx
    movl $WAIT_TURNS, %ecx
5:  pause
    loop 5b
    movl $PVPANIC_PORT, %edx
    inb %dx, %al
    cmpb $0xff, %al
    je 6f
    movb $PVPANIC_PANICKED, %al
    outb %al, %dx
6:  lidt no_idt
    int3
    jmp 6b

    /* Beside the code: of the pages of an image that does not fit, the first may be all there is. */
no_idt:
    .long 0, 0
too_little_memory:
    .ascii "mirage: too little memory: give the machine "
    .byte hvt_minimum_tens, hvt_minimum_ones
    .asciz " MiB (-m, or --memory)\n"
no_long_mode:
    .asciz "mirage: this processor has no 64-bit mode: start a 64-bit machine (qemu-system-x86_64, -cpu max or host)\n"

    .section .rodata.entry, "a"
    .align 8
hvt_mxcsr:
    .long 0x1f80
hvt_gdt_pointer:
    .word 5 * 8 - 1
    .long hvt_gdt

    /* Writable: ltr marks the TSS busy. The accessed bits are set already. */
    .data
    .align 8
    .global hvt_gdt
hvt_gdt:
    .quad 0
    .quad 0x00af9b000000ffff /* 8: code, 64-bit */
    .quad 0x00cf93000000ffff /* 16: data */
    .quad 0, 0               /* 24: the TSS, filled in by irq.c */

    .section .note.GNU-stack, "", @progbits
