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

    movl %ebx, %esi
    movl $0x80000001, %eax
    cpuid
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
    xorl %ebp, %ebp
    fninit
    ldmxcsr hvt_mxcsr(%rip)
    movl %esi, %edi
    call hvt_start
    ud2

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
