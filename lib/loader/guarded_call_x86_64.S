// void deploy_call_guarded(function, count, arguments, environment): calls function(count, arguments, environment). Both a return and, by way of
// deploy_guard_personality, an exception end up at the landing; callee-saved registers are as before either way.

    .text
    .globl deploy_call_guarded
    .hidden deploy_call_guarded
    .type deploy_call_guarded, @function
deploy_call_guarded:
    .cfi_startproc
    .cfi_personality 0x1b, deploy_guard_personality   // DW_EH_PE_pcrel | DW_EH_PE_sdata4
    endbr64
    subq $8, %rsp
    .cfi_def_cfa_offset 16
    movq %rdi, %rax
    movl %esi, %edi
    movq %rdx, %rsi
    movq %rcx, %rdx
    call *%rax
    .globl deploy_call_guarded_landing
    .hidden deploy_call_guarded_landing
deploy_call_guarded_landing:
    endbr64
    addq $8, %rsp
    .cfi_def_cfa_offset 8
    ret
    .cfi_endproc
    .size deploy_call_guarded, . - deploy_call_guarded

#if defined(__CET__)
#include <cet.h>  // marks the object: no code here that indirect calls or a shadow stack would stumble over
#endif
    .section .note.GNU-stack, "", @progbits
