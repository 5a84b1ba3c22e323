// A plain C library, which namespaces share: it frees, enlarges and allocates for its callers.
#include <malloc.h>
#include <stdlib.h>

#include "fixture.h"

FIXTURE void* plain_make(size_t size) { return malloc(size); }
FIXTURE void plain_free(void* block) { free(block); }
FIXTURE void* plain_grow(void* block, size_t size) { return realloc(block, size); }
FIXTURE size_t plain_size(void* block) { return malloc_usable_size(block); }
