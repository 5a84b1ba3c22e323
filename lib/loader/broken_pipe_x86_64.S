// One function for each of the C library's that may raise SIGPIPE (host_thread.cpp has their names, in this order). Where the thread
// runs private code for the host and SIGPIPE is not blocked yet (deploy_pipe_guard is 1), it is blocked first. Then it is a jump to
// the C library's function: all arguments are as they were, those of variadic functions too.

#define STUBS 48

    .text
    .globl deploy_pipe_stubs
    .hidden deploy_pipe_stubs
    .p2align 6
deploy_pipe_stubs:
    .set index, 0
    .rept STUBS
    .p2align 6
    .cfi_startproc
    endbr64
    movq deploy_pipe_guard@gottpoff(%rip), %r11
    cmpb $1, %fs:(%r11)
    movl $index, %r11d
    je block_first
    jmp jump_to_target
    .cfi_endproc
    .set index, index + 1
    .endr

    .type jump_to_target, @function
jump_to_target:
    .cfi_startproc
    leaq deploy_pipe_targets(%rip), %r10
    jmp *(%r10, %r11, 8)
    .cfi_endproc
    .size jump_to_target, . - jump_to_target

    .type block_first, @function
block_first:
    .cfi_startproc
    pushq %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    movq %rsp, %rbp
    .cfi_def_cfa_register %rbp
    subq $192, %rsp
    movq %rdi, -8(%rbp)
    movq %rsi, -16(%rbp)
    movq %rdx, -24(%rbp)
    movq %rcx, -32(%rbp)
    movq %r8, -40(%rbp)
    movq %r9, -48(%rbp)
    movq %rax, -56(%rbp)
    movq %r11, -64(%rbp)
    movaps %xmm0, -80(%rbp)
    movaps %xmm1, -96(%rbp)
    movaps %xmm2, -112(%rbp)
    movaps %xmm3, -128(%rbp)
    movaps %xmm4, -144(%rbp)
    movaps %xmm5, -160(%rbp)
    movaps %xmm6, -176(%rbp)
    movaps %xmm7, -192(%rbp)
    call deploy_block_broken_pipe
    movaps -192(%rbp), %xmm7
    movaps -176(%rbp), %xmm6
    movaps -160(%rbp), %xmm5
    movaps -144(%rbp), %xmm4
    movaps -128(%rbp), %xmm3
    movaps -112(%rbp), %xmm2
    movaps -96(%rbp), %xmm1
    movaps -80(%rbp), %xmm0
    movq -64(%rbp), %r11
    movq -56(%rbp), %rax
    movq -48(%rbp), %r9
    movq -40(%rbp), %r8
    movq -32(%rbp), %rcx
    movq -24(%rbp), %rdx
    movq -16(%rbp), %rsi
    movq -8(%rbp), %rdi
    leave
    .cfi_def_cfa %rsp, 8
    jmp jump_to_target
    .cfi_endproc
    .size block_first, . - block_first

#if defined(__CET__)
#include <cet.h>  // marks the object: no code here that indirect calls or a shadow stack would stumble over
#endif
    .section .note.GNU-stack, "", @progbits
