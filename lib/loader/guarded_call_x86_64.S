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

    .section .note.GNU-stack, "", @progbits
