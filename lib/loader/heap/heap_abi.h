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

// One for each namespace; the loader gives it to the allocator as the symbol `deploy_own_heap`.
typedef struct deploy_heap {
  uint64_t serial;                    // unique in the process, never 0
  int reserve_users;                  // while not 0, the last part of the limit may be used; changed atomically
  struct deploy_heap* const* owners;  // by address >> DEPLOY_HEAP_GRANULE_BITS; null: no heap's
  // Makes this heap the calling thread's (deploy_current_heap). To be called where the serials differ.
  void (*enter)(struct deploy_heap* self);
  // System calls for the allocator, counted. They fail with ENOMEM where the limit would be exceeded.
  void* (*map)(struct deploy_heap* self, size_t size, int in_use);
  int (*unmap)(struct deploy_heap* self, void* memory, size_t size);
  int (*commit)(struct deploy_heap* self, void* memory, size_t size);
  int (*decommit)(struct deploy_heap* self, void* memory, size_t size);
  // For blocks of somebody else's: another heap, or the process's allocator.
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
  void (*free)(void* block);
  void* (*realloc)(void* block, size_t size);
  size_t (*size_of)(void* block);
  void (*end_thread)(void);    // gives up what the calling thread keeps in the heap that it has entered
  void (*keep_nothing)(void);  // from now on what is freed goes back to the system at once
} deploy_heap_allocator;

#ifdef __cplusplus
}
#endif
