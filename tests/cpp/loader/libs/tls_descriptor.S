// Both functions fill registers that an ordinary call may change, ask a TLS descriptor for `described`, and return a mask of what changed. %rax
// is the descriptor's result.
    .section .tdata, "awT", @progbits
    .balign 8
described:
    .quad 321

    .section .rodata
    .balign 16
pattern:
    .quad 0x1122334455667788, 0x99aabbccddeeff00

    .text
    .globl clobbered_by_descriptor
    .type clobbered_by_descriptor, @function
clobbered_by_descriptor:
    pushq %rbx
    subq $16, %rsp
    movq $101, %rcx
    movq $102, %rdx
    movq $103, %rsi
    movq $104, %rdi
    movq $105, %r8
    movq $106, %r9
    movq $107, %r10
    movq $108, %r11
    leaq described@TLSDESC(%rip), %rax
    call *described@TLSCALL(%rax)
    xorl %ebx, %ebx
    cmpq $321, %fs:(%rax)
    je 1f
    orl $1, %ebx
1:
    .macro same register, value, bit
    cmpq $\value, \register
    je 2f
    orl $\bit, %ebx
2:
    .endm
    same %rcx, 101, 2
    same %rdx, 102, 4
    same %rsi, 103, 8
    same %rdi, 104, 16
    same %r8, 105, 32
    same %r9, 106, 64
    same %r10, 107, 128
    same %r11, 108, 256
    movl %ebx, %eax
    addq $16, %rsp
    popq %rbx
    ret
    .size clobbered_by_descriptor, . - clobbered_by_descriptor

    .globl vectors_clobbered_by_descriptor
    .type vectors_clobbered_by_descriptor, @function
vectors_clobbered_by_descriptor:
    movdqu pattern(%rip), %xmm0
    .irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    movdqa %xmm0, %xmm\n
    .endr
    subq $8, %rsp
    leaq described@TLSDESC(%rip), %rax
    call *described@TLSCALL(%rax)
    addq $8, %rsp
    // Equal registers have equal minimum and maximum: all ones only where every one kept the pattern.
    .irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    pcmpeqb %xmm0, %xmm\n
    .endr
    .irp n, 2,3,4,5,6,7,8,9,10,11,12,13,14,15
    pand %xmm\n, %xmm1
    .endr
    movdqu pattern(%rip), %xmm2
    pcmpeqb %xmm2, %xmm0
    pand %xmm0, %xmm1
    pmovmskb %xmm1, %eax
    xorl $0xffff, %eax
    ret
    .size vectors_clobbered_by_descriptor, . - vectors_clobbered_by_descriptor

    .section .note.GNU-stack, "", @progbits
