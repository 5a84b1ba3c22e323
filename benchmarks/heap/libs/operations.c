// Operations on large blocks, as real programs do them. Loaded by the system's loader its malloc is glibc's, loaded into a
// namespace with a heap it is the heap's.

#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

static void use(volatile char* block, size_t from, size_t to, int touch) {
  if (touch && block != NULL && to > from) memset((char*)block + from, 1, to - from);
}

// Each does it `count` times; with `touch` all bytes that become available are written. 0: there was no memory.

EXPORT int bench_malloc(size_t size, long count, int touch) {
  for (long i = 0; i < count; ++i) {
    char* block = malloc(size);
    if (block == NULL) return 0;
    use(block, 0, size, touch);
    free(block);
  }
  return 1;
}

EXPORT int bench_calloc(size_t size, long count, int touch) {
  for (long i = 0; i < count; ++i) {
    char* block = calloc(size, 1);
    if (block == NULL) return 0;
    use(block, 0, size, touch);
    free(block);
  }
  return 1;
}

EXPORT int bench_aligned(size_t size, long count, int touch) {
  for (long i = 0; i < count; ++i) {
    void* block = NULL;
    if (posix_memalign(&block, 64, size) != 0) return 0;
    use(block, 0, size, touch);
    free(block);
  }
  return 1;
}

// A buffer that is filled: from a sixteenth, by a sixteenth.
EXPORT int bench_grow(size_t size, long count, int touch) {
  for (long i = 0; i < count; ++i) {
    char* block = NULL;
    for (size_t part = 1; part <= 16; ++part) {
      char* larger = realloc(block, size / 16 * part);
      if (larger == NULL) return 0;
      block = larger;
      use(block, size / 16 * (part - 1), size / 16 * part, touch);
    }
    free(block);
  }
  return 1;
}

// A buffer of which less was needed.
EXPORT int bench_shrink(size_t size, long count, int touch) {
  for (long i = 0; i < count; ++i) {
    char* block = malloc(size);
    if (block == NULL) return 0;
    use(block, 0, size, touch);
    for (size_t part = 2; part <= 8; part *= 2) {
      char* smaller = realloc(block, size / part);
      if (smaller == NULL) return 0;
      block = smaller;
    }
    free(block);
  }
  return 1;
}

// The activations of a model: four living blocks of sizes that differ, the oldest is freed.
EXPORT int bench_reuse(size_t size, long count, int touch) {
  char* blocks[4] = {0};
  int done = 1;
  for (long i = 0; i < count; ++i) {
    const size_t here = size / 8 * (size_t)(5 + i % 4);
    free(blocks[i % 4]);
    blocks[i % 4] = malloc(here);
    if (blocks[i % 4] == NULL) done = 0;
    use(blocks[i % 4], 0, here, touch);
  }
  for (int i = 0; i < 4; ++i) free(blocks[i]);
  return done;
}
