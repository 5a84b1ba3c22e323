// R_X86_64_SIZE64 and R_X86_64_PC64 against symbols that may be preempted.
    .data
    .globl sized
    .type sized, @object
    .size sized, 24
sized:
    .quad 1, 2, 3

    .balign 8
    .globl size_of_sized
size_of_sized:
    .quad sized@SIZE
    .globl size_plus_two
size_plus_two:
    .quad sized@SIZE + 2
    .globl distance
distance:
    .quad sized - .
    .globl distance_plus_eight
distance_plus_eight:
    .quad sized + 8 - .

    .section .note.GNU-stack, "", @progbits
