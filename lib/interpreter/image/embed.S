// The image, as read-only pages of libdeploy. The loader maps the files out of libdeploy's own file (image.h); the archive of the
// standard library is read where it is.
        .section .rodata.deploy_image, "a", %progbits

        .globl  deploy_image_files_begin, deploy_image_files_end
        .hidden deploy_image_files_begin, deploy_image_files_end
        .balign 4096
deploy_image_files_begin:
        .incbin "image_files.bin"
deploy_image_files_end:

        .globl  deploy_image_stdlib_begin, deploy_image_stdlib_end
        .hidden deploy_image_stdlib_begin, deploy_image_stdlib_end
        .balign 4096
deploy_image_stdlib_begin:
        .incbin "stdlib.archive"
deploy_image_stdlib_end:

#if defined(__CET__)
#include <cet.h>  // marks the object: no code here that indirect calls or a shadow stack would stumble over
#endif
        .section .note.GNU-stack, "", %progbits
