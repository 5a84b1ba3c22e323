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

// In a thread of the host's that comes and goes.
FIXTURE int use_a_little(void) {
  void* blocks[20];
  for (int i = 0; i < 20; ++i) EXPECT(blocks[i] = filled(16u << (i % 8)));
  for (int i = 0; i < 20; ++i) free(blocks[i]);
  return 0;
}
