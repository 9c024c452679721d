/* SPDX-License-Identifier: MIT */
/*
 * vectors.S: what the IDT points at. Every stub is 16 bytes, so that irq.c computes their addresses.
 *
 * Vectors 0-31 are exceptions: they run on a stack of their own (IST 1) and never return. The others are interrupts, on
 * another one (IST 2), since code of the compiler's library may use the red zone; the C code they call uses general
 * registers only, so no SSE state is saved.
 */
    .text
    .align 16
    .global hvt_exception_stubs
hvt_exception_stubs:
    .set vector, 0
    .rept 32
    .align 16
    /* 8, 10-14, 17, 21, 29 and 30 bring an error code (Intel SDM vol. 3, table 6-1; AMD APM vol. 2, 8.1) */
    .if !((0x60227d00 >> vector) & 1)
    pushq $0
    .endif
    pushq $vector
    jmp exception
    .set vector, vector + 1
    .endr

    .align 16
    .global hvt_interrupt_stubs
hvt_interrupt_stubs:
    .set vector, 32
    .rept 64
    .align 16
    pushq $vector
    jmp interrupt
    .set vector, vector + 1
    .endr

    .align 16
exception:
    cld
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %rdi
    andq $-16, %rsp
    call hvt_fault
    ud2

    .align 16
interrupt:
    cld
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    movq 72(%rsp), %rdi /* the vector, under nine registers */
    /* The CPU aligned the stack before its five words; with ours that is 15: eight more to be aligned at the call. */
    subq $8, %rsp
    call hvt_interrupt
    addq $8, %rsp
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rax
    addq $8, %rsp
    iretq

    .section .note.GNU-stack, "", @progbits
