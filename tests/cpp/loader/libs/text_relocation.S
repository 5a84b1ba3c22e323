// R_X86_64_64 inside the code (DT_TEXTREL): the page must be writable while it is relocated, and executable again after.
    .data
    .globl target
    .type target, @object
    .size target, 8
target:
    .quad 99

    .text
    .globl address_from_code
    .type address_from_code, @function
address_from_code:
    movabsq $target, %rax
    ret
    .size address_from_code, . - address_from_code

    .section .note.GNU-stack, "", @progbits
