// Blocks that are allocated on one side of the border between private and shared code, and freed on the other.
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

void* plain_make(size_t size);
void plain_free(void* block);
void* plain_grow(void* block, size_t size);
size_t plain_size(void* block);

static void* filled(size_t size) {
  void* block = malloc(size);
  if (block) memset(block, 7, size);
  return block;
}

static int is_filled(const unsigned char* block, size_t size) {
  while (size > 0 && block[size - 1] == 7) --size;
  return size == 0;
}

FIXTURE int check(void) {
  for (size_t size = 1; size < 40000000; size = size * 3 + 1) {
    void* block = filled(size);
    EXPECT(block && malloc_usable_size(block) >= size);
    EXPECT((uintptr_t)block % (size < 16 ? 8 : 16) == 0);
    EXPECT((block = realloc(block, size * 2)) && is_filled(block, size));
    free(block);
  }
  unsigned char* zeroed = calloc(1000, 1000);
  for (int i = 0; i < 1000000; ++i) EXPECT(zeroed[i] == 0);
  free(zeroed);
  for (size_t alignment = 16; alignment <= 1 << 16; alignment *= 2) {
    void* blocks[64];
    for (int i = 0; i < 32; ++i) {
      EXPECT(posix_memalign(&blocks[i], alignment, i % 2 ? 100 : alignment) == 0 && (uintptr_t)blocks[i] % alignment == 0);
      EXPECT((blocks[32 + i] = aligned_alloc(alignment, alignment)) && (uintptr_t)blocks[32 + i] % alignment == 0);
    }
    for (int i = 0; i < 64; ++i) free(blocks[i]);
  }
  EXPECT(realloc(malloc(10), 0) == NULL);
  volatile size_t many = SIZE_MAX / 2;
  errno = 0;
  EXPECT(reallocarray(NULL, many, 3) == NULL && errno == ENOMEM);
  free(NULL);
  return 0;
}

FIXTURE int shared_code_frees_private_blocks(void) {
  for (size_t size = 1; size < 40000000; size = size * 3 + 1) {
    plain_free(filled(size));
    void* block = filled(size);
    EXPECT(plain_size(block) >= size);
    EXPECT((block = plain_grow(block, size * 2)) && is_filled(block, size));
    plain_free(block);
  }
  return 0;
}

FIXTURE int private_code_frees_shared_blocks(void) {
  for (size_t size = 1; size < 40000000; size = size * 3 + 1) {
    free(plain_make(size));
    void* block = plain_make(size);
    EXPECT(malloc_usable_size(block) >= size);
    memset(block, 7, size);
    EXPECT((block = realloc(block, size * 2)) && is_filled(block, size));
    free(block);
  }
  return 0;
}

// The C library's own: it allocates, enlarges what it was given, and frees.
FIXTURE int check_libc(void) {
  free(strdup("text"));
  free(strndup("text", 2));
  free(realpath("/", NULL));
  char* text = NULL;
  EXPECT(asprintf(&text, "%d", 42) == 2 && strcmp(text, "42") == 0);
  free(text);

  char line[] = "a line that is longer than what is there for it, so it has to be enlarged by the C library itself\n";
  FILE* file = fmemopen(line, strlen(line), "r");
  size_t room = 4;
  text = malloc(room);
  EXPECT(getline(&text, &room, file) == (long)strlen(line) && strcmp(text, line) == 0 && room > 4);
  free(text);
  fclose(file);

  room = 0;
  file = open_memstream(&text, &room);
  for (int i = 0; i < 10000; ++i) fprintf(file, "%d ", i);
  fclose(file);
  EXPECT(strncmp(text, "0 1 2 ", 6) == 0);
  text = realloc(text, room * 2);
  free(text);
  return 0;
}

FIXTURE int check_symbols(void) {
  void* (*make)(size_t) = (void* (*)(size_t))dlsym(RTLD_DEFAULT, "malloc");
  EXPECT(make == malloc);
  void* libc = dlopen("libc.so.6", RTLD_LAZY);
  void (*drop)(void*) = (void (*)(void*))dlsym(libc, "free");
  EXPECT(drop == free);
  drop(make(100));
  dlclose(libc);
  return 0;
}

static void* kept[4096];
static int count;

FIXTURE void* make(size_t size) { return filled(size); }
FIXTURE void drop(void* block) { free(block); }
FIXTURE void* make_untouched(size_t size) { return malloc(size); }
FIXTURE void* make_zeroed(size_t count, size_t size) { return calloc(count, size); }
FIXTURE void* make_aligned(size_t alignment, size_t size) {
  void* block = NULL;
  return posix_memalign(&block, alignment, size) == 0 ? block : NULL;
}
FIXTURE void* grow(void* block, size_t size) { return realloc(block, size); }

// What no malloc can give: each is refused with ENOMEM, and costs no memory.
FIXTURE int refusals(void) {
  const size_t sizes[] = {
      SIZE_MAX,        SIZE_MAX - 1,    SIZE_MAX - 63,   SIZE_MAX - 4095,          SIZE_MAX - 8192, (size_t)PTRDIFF_MAX,
      (size_t)1 << 62, (size_t)1 << 48, (size_t)1 << 47, ((size_t)1 << 47) - 4096, (size_t)1 << 46, (size_t)1 << 44};
  void* small = filled(100);
  void* large = filled(1 << 20);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    volatile size_t size = sizes[i];
    errno = 0;
    EXPECT(malloc(size) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(calloc(1, size) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(calloc(size, 1) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(realloc(small, size) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(realloc(large, size) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(aligned_alloc(64, size) == NULL && errno == ENOMEM);
    void* block = small;
    EXPECT(posix_memalign(&block, 4096, size) == ENOMEM && block == small);
    errno = 0;
    EXPECT(valloc(size) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(pvalloc(size) == NULL && errno == ENOMEM);
  }
  volatile size_t half = (size_t)1 << 33;
  errno = 0;
  EXPECT(calloc(half, half) == NULL && errno == ENOMEM);
  EXPECT(is_filled(small, 100) && is_filled(large, 1 << 20));
  free(small);
  free(large);
  void* block = NULL;
  EXPECT(posix_memalign(&block, 48, 1 << 20) == EINVAL && posix_memalign(&block, 4, 1 << 20) == EINVAL);
  return 0;
}

// Any sequence of calls keeps the bytes of every block, and calloc's are zero whatever lay there before.
FIXTURE int random_large_blocks(unsigned seed, int steps) {
  enum { kBlocks = 12 };
  unsigned char* blocks[kBlocks] = {0};
  size_t sizes[kBlocks] = {0};
  for (int step = 0; step < steps; ++step) {
    seed = seed * 1664525 + 1013904223;
    const int i = (int)(seed >> 8) % kBlocks, what = (int)(seed >> 16) % 6;
    const size_t size = 1 + ((size_t)(seed >> 4) * 2654435761u) % ((size_t)1 << (10 + (seed >> 20) % 14));
    if (blocks[i] && (what < 2 || what == 5)) {
      const size_t kept = size < sizes[i] ? size : sizes[i];
      EXPECT((blocks[i] = realloc(blocks[i], size)) != NULL);
      for (size_t at = 0; at < kept; at += 997) EXPECT(blocks[i][at] == (unsigned char)(i + 1));
      EXPECT(blocks[i][kept - 1] == (unsigned char)(i + 1));
    } else {
      free(blocks[i]);
      const size_t alignment = (size_t)16 << (seed >> 24) % 14;
      if (what == 3) {
        EXPECT((blocks[i] = calloc(size, 1)) != NULL);
        for (size_t at = 0; at < size; ++at) EXPECT(blocks[i][at] == 0);
      } else if (what == 4) {
        EXPECT((blocks[i] = aligned_alloc(alignment, size)) != NULL && (uintptr_t)blocks[i] % alignment == 0);
      } else {
        EXPECT((blocks[i] = malloc(size)) != NULL);
      }
    }
    sizes[i] = what == 5 ? malloc_usable_size(blocks[i]) : size;
    EXPECT(malloc_usable_size(blocks[i]) >= size);
    memset(blocks[i], i + 1, sizes[i]);
  }
  for (int i = 0; i < kBlocks; ++i) free(blocks[i]);
  return 0;
}

// Never freed.
FIXTURE int leak_64_mb(void) {
  for (int i = 0; i < 64; ++i) {
    for (int j = 0; j < 512; ++j) EXPECT(filled(512));
    EXPECT(filled(768 * 1024));
  }
  return 0;
}

// As many megabytes as there are.
FIXTURE int fill(void) {
  while (count < 4096 && (kept[count] = filled(1 << 20))) ++count;
  EXPECT(count < 4096);
  return errno == ENOMEM ? 0 : __LINE__;
}
FIXTURE int empty(void) {
  while (count > 0) free(kept[--count]);
  return 0;
}
FIXTURE int filled_megabytes(void) { return count; }

// What a call with many objects of all small sizes leaves free: some megabytes.
FIXTURE int use_megabytes(void) {
  void* blocks[4000];
  for (int i = 0; i < 4000; ++i) EXPECT(blocks[i] = filled(16u << (i % 10)));
  for (int i = 0; i < 4000; ++i) EXPECT(is_filled(blocks[i], 16u << (i % 10)));
  for (int i = 0; i < 4000; ++i) free(blocks[i]);
  return 0;
}

// Blocks go from call to call, whichever thread makes it: each call checks and frees what lies in some places, and fills them anew.
static struct {
  unsigned char* block;
  size_t size;
} exchanged[512];
FIXTURE int exchange(unsigned seed) {
  for (int i = 0; i < 200; ++i) {
    seed = seed * 1664525 + 1013904223;
    const int at = (seed >> 9) % 512;
    if (exchanged[at].block) EXPECT(is_filled(exchanged[at].block, exchanged[at].size));
    free(exchanged[at].block);
    exchanged[at].size = 1 + (seed >> 12) % (i % 50 == 0 ? 100000 : 2000);
    EXPECT(exchanged[at].block = filled(exchanged[at].size));
  }
  return 0;
}

// In a thread of the host's that comes and goes.
FIXTURE int use_a_little(void) {
  void* blocks[20];
  for (int i = 0; i < 20; ++i) EXPECT(blocks[i] = filled(16u << (i % 8)));
  for (int i = 0; i < 20; ++i) free(blocks[i]);
  return 0;
}
