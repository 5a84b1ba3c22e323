// TLS descriptor functions (Oliva and Araujo, "Speeding Up Thread-Local Storage Access in Dynamic Libraries", 2006; psABI x86-64).
// Called with %rax = the address of the descriptor {function, argument}; return in %rax the variable's offset from the thread pointer;
// every other register, vector registers included, keeps its value.

    .text

// The argument is the offset itself.
    .globl deploy_tlsdesc_static
    .hidden deploy_tlsdesc_static
    .type deploy_tlsdesc_static, @function
deploy_tlsdesc_static:
    .cfi_startproc
    endbr64
    movq 8(%rax), %rax
    ret
    .cfi_endproc
    .size deploy_tlsdesc_static, . - deploy_tlsdesc_static

// The argument is an address.
    .globl deploy_tlsdesc_undefined
    .hidden deploy_tlsdesc_undefined
    .type deploy_tlsdesc_undefined, @function
deploy_tlsdesc_undefined:
    .cfi_startproc
    endbr64
    movq 8(%rax), %rax
    subq %fs:0, %rax
    ret
    .cfi_endproc
    .size deploy_tlsdesc_undefined, . - deploy_tlsdesc_undefined

// The argument points to a TlsIndex. The fast path is tls_get_addr's; the slow one saves everything and calls it.
    .globl deploy_tlsdesc_dynamic
    .hidden deploy_tlsdesc_dynamic
    .type deploy_tlsdesc_dynamic, @function
deploy_tlsdesc_dynamic:
    .cfi_startproc
    endbr64
    movq %rdi, -8(%rsp)                           // the red zone is ours
    movq 8(%rax), %rdi
    movq %rsi, -16(%rsp)
    movq deploy_tls_blocks@gottpoff(%rip), %rax
    movq (%rdi), %rsi                             // TlsIndex::module
    movq %fs:(%rax), %rax
    cmpq (%rax), %rsi                             // Blocks::limit
    jge 1f
    movq 8(%rax,%rsi,8), %rax                     // Blocks::block
    testq %rax, %rax
    jz 1f
    addq 8(%rdi), %rax                            // TlsIndex::offset
    movq -16(%rsp), %rsi
    subq %fs:0, %rax
    movq -8(%rsp), %rdi
    ret

1:  subq $16, %rsp                                // over the two that are saved
    .cfi_adjust_cfa_offset 16
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    movq %rsp, %rbp
    .cfi_def_cfa_register %rbp
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    movq deploy_xsave_size@GOTPCREL(%rip), %rax
    movq (%rax), %rbx
    testq %rbx, %rbx
    jz 2f
    subq %rbx, %rsp
    andq $-64, %rsp
    xorl %eax, %eax                               // XRSTOR wants a clean XSAVE header, at 512
    movq %rax, 512(%rsp)
    movq %rax, 520(%rsp)
    movq %rax, 528(%rsp)
    movq %rax, 536(%rsp)
    movq %rax, 544(%rsp)
    movq %rax, 552(%rsp)
    movq %rax, 560(%rsp)
    movq %rax, 568(%rsp)
    movl $-1, %eax
    movl $-1, %edx
    xsave64 (%rsp)
    call deploy_tls_get_addr@PLT
    movq %rax, %rbx
    movl $-1, %eax
    movl $-1, %edx
    xrstor64 (%rsp)
    jmp 3f
2:  subq $512, %rsp
    andq $-16, %rsp
    fxsave64 (%rsp)
    call deploy_tls_get_addr@PLT
    movq %rax, %rbx
    fxrstor64 (%rsp)
3:  movq %rbx, %rax
    subq %fs:0, %rax
    leaq -56(%rbp), %rsp
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rbp
    .cfi_def_cfa %rsp, 24
    popq %rsi
    .cfi_adjust_cfa_offset -8
    popq %rdi
    .cfi_adjust_cfa_offset -8
    ret
    .cfi_endproc
    .size deploy_tlsdesc_dynamic, . - deploy_tlsdesc_dynamic

#if defined(__CET__)
#include <cet.h>  // marks the object: no code here that indirect calls or a shadow stack would stumble over
#endif
    .section .note.GNU-stack, "", @progbits
