#pragma once

// The border between a namespace's allocator (allocator.c, a private library) and the loader. Plain C; both are built together.

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Memory for blocks comes in multiples of this, aligned to it, so that an address says by one look-up whose it is.
#define DEPLOY_HEAP_GRANULE_BITS 25  // 32 MiB, mimalloc's segment
#define DEPLOY_ADDRESS_BITS 47       // of a user-space address (x86-64; 57-bit addresses are only given to who asks)

// Requests up to this may use the last part of the limit.
#define DEPLOY_HEAP_SMALL 32768
#define DEPLOY_HEAP_TINY 64

// Requests beyond this are not mimalloc's, but large blocks (large_blocks.h); those up to the second are asked of mimalloc
// where no more mappings can be had.
#define DEPLOY_HEAP_LARGE 131072
#define DEPLOY_HEAP_LARGE_IN_NEED 8388608

typedef enum deploy_heap_use { DEPLOY_HEAP_ANY, DEPLOY_HEAP_ZEROED, DEPLOY_HEAP_GROWS } deploy_heap_use;

// One for each namespace; the loader gives it to the allocator as the symbol `deploy_own_heap`.
typedef struct deploy_heap {
  uint64_t serial;                    // unique in the process, never 0
  int reserve_users;                  // while not 0, the last part of the limit may be used; changed atomically
  struct deploy_heap* const* owners;  // by address >> DEPLOY_HEAP_GRANULE_BITS; a heap whose block lies there is the owner of all
  // Makes this heap the calling thread's (deploy_current_heap). To be called where the serials differ. 0: there is no memory for
  // that, and mimalloc must not be entered.
  int (*enter)(struct deploy_heap* self);
  // System calls for the allocator, counted. They fail with ENOMEM where the limit would be exceeded.
  void* (*map)(struct deploy_heap* self, size_t size, int in_use);
  int (*unmap)(struct deploy_heap* self, void* memory, size_t size);
  int (*commit)(struct deploy_heap* self, void* memory, size_t size);
  int (*decommit)(struct deploy_heap* self, void* memory, size_t size);
  // Large blocks: for calloc they are zeroed; for realloc they may be much larger than asked. The size is 0 where the block is not
  // a large one of this heap.
  void* (*make_large)(struct deploy_heap* self, size_t alignment, size_t size, deploy_heap_use use);
  size_t (*size_of_large)(struct deploy_heap* self, const void* block);
  void (*give_back_large)(struct deploy_heap* self);  // those that it keeps for later
  // A request of a few bytes is refused for good. 1: it is to be tried once more.
  int (*refuse)(struct deploy_heap* self);
  // For blocks that are not this heap's by the table of owners: large ones, another heap's, the process's allocator's.
  void (*free_foreign)(void* block);
  void* (*realloc_foreign)(void* block, size_t size);
  size_t (*size_of_foreign)(void* block);
} deploy_heap;

// What stands for a function of the C library in the namespace's libraries.
typedef struct deploy_heap_function {
  const char* name;
  void* function;
} deploy_heap_function;

// The allocator's symbol `deploy_allocator_table`.
typedef struct deploy_heap_allocator {
  const deploy_heap_function* functions;  // ends with a null name
  void* (*malloc)(size_t size);
  void (*free)(void* block);
  void* (*realloc)(void* block, size_t size);
  size_t (*size_of)(void* block);
  void (*end_thread)(void);    // gives up what the calling thread keeps in the heap that it has entered
  void (*keep_nothing)(void);  // from now on what is freed goes back to the system at once
} deploy_heap_allocator;

#ifdef __cplusplus
}
#endif
