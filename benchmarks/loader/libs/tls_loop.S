// void bench_tls_general(long count), bench_tls_descriptors(long count): count accesses to bench_tls_variable, as the compiler
// writes them in the general dynamic model and with TLS descriptors, which it would move out of a loop.

    .text
    .globl bench_tls_general
    .type bench_tls_general, @function
bench_tls_general:
    pushq %rbx
    movq %rdi, %rbx
    .p2align 4
1:  .byte 0x66
    leaq bench_tls_variable@tlsgd(%rip), %rdi
    .value 0x6666
    rex64
    call __tls_get_addr@PLT
    incl (%rax)
    decq %rbx
    jnz 1b
    popq %rbx
    ret
    .size bench_tls_general, . - bench_tls_general

    .globl bench_tls_descriptors
    .type bench_tls_descriptors, @function
bench_tls_descriptors:
    pushq %rbx
    .p2align 4
1:  leaq bench_tls_variable@tlsdesc(%rip), %rax
    call *bench_tls_variable@tlscall(%rax)
    incl %fs:(%rax)
    decq %rdi
    jnz 1b
    popq %rbx
    ret
    .size bench_tls_descriptors, . - bench_tls_descriptors

    .section .note.GNU-stack, "", @progbits
