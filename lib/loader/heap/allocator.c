// The malloc family of one namespace: mimalloc, and in front of it what makes it private. The essay is in heap.h.
//
// It is a library of its own, loaded before all others of the namespace, and mimalloc (the distribution's libmimalloc) is a private
// library beside it. Both see each other and the host's functions, nobody sees them: the namespace's libraries are bound to the
// functions of the table at the end. mimalloc in turn is bound to what stands here under the C library's names, which keeps its
// memory accounted (mmap and its like), its settings fixed (environ), and its ends of threads in our hands (pthread keys).

#define _GNU_SOURCE
#include <errno.h>
#include <mimalloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/loader/heap/heap_abi.h"

#define EXPORT __attribute__((visibility("default")))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)

// Both given by the host. The second is in its static TLS: the serial of the heap whose state of mimalloc this thread has at hand.
extern deploy_heap deploy_own_heap;
extern __thread uint64_t deploy_current_heap __attribute__((tls_model("initial-exec")));

// 0 where there is no memory to make a thread known.
static inline int enter(void) {
  return LIKELY(deploy_current_heap == deploy_own_heap.serial) || deploy_own_heap.enter(&deploy_own_heap);
}

static inline int is_own(const void* block) {
  const uintptr_t granule = (uintptr_t)block >> DEPLOY_HEAP_GRANULE_BITS;
  return granule < (uintptr_t)1 << (DEPLOY_ADDRESS_BITS - DEPLOY_HEAP_GRANULE_BITS) &&
         deploy_own_heap.owners[granule] == &deploy_own_heap;
}

// For the few bytes that code needs to get out of an exhausted heap in good order: to raise the exception, to be called again.
#define SMALL DEPLOY_HEAP_SMALL
static void open_reserve(void) { __atomic_add_fetch(&deploy_own_heap.reserve_users, 1, __ATOMIC_RELAXED); }
static void close_reserve(void) { __atomic_sub_fetch(&deploy_own_heap.reserve_users, 1, __ATOMIC_RELAXED); }

// Tries a second time when what is kept for later has been given back, for the limit counts that as well; a small request a third
// time, and one of a few bytes a fourth time where the host says so.
#define OR_AGAIN(size, allocation)                                                                                   \
  do {                                                                                                               \
    if (!LIKELY(enter())) break;                                                                                     \
    void* made = (allocation);                                                                                       \
    if (LIKELY(made != NULL)) return made;                                                                           \
    mi_collect(1);                                                                                                   \
    made = (allocation);                                                                                             \
    if (made == NULL && (size) <= SMALL) {                                                                           \
      open_reserve();                                                                                                \
      made = (allocation);                                                                                           \
      close_reserve();                                                                                               \
    }                                                                                                                \
    if (made == NULL && (size) <= DEPLOY_HEAP_TINY && deploy_own_heap.refuse(&deploy_own_heap)) made = (allocation); \
    if (made == NULL) break;                                                                                         \
    return made;                                                                                                     \
  } while (0);                                                                                                       \
  errno = ENOMEM;                                                                                                    \
  return NULL

#define LARGE DEPLOY_HEAP_LARGE
#define IS_LARGE(size) __builtin_expect((size) > LARGE, 0)

// Where no more mappings can be had, mimalloc may still have room in one.
static void* make_large(size_t alignment, size_t size, deploy_heap_use use) {
  void* made = deploy_own_heap.make_large(&deploy_own_heap, alignment, size, use);
  if (LIKELY(made != NULL)) return made;
  if (!enter()) {
    errno = ENOMEM;
    return NULL;
  }
  mi_collect(1);
  made = deploy_own_heap.make_large(&deploy_own_heap, alignment, size, use);
  if (made == NULL && size <= DEPLOY_HEAP_LARGE_IN_NEED && alignment <= DEPLOY_HEAP_LARGE_IN_NEED) {
    made = use == DEPLOY_HEAP_ZEROED ? mi_calloc_aligned(1, size, alignment) : mi_malloc_aligned(size, alignment);
  }
  if (made == NULL) errno = ENOMEM;
  return made;
}

#define NATURAL 16  // the alignment of malloc's blocks

static void* heap_malloc(size_t size) {
  if (IS_LARGE(size)) return make_large(NATURAL, size, DEPLOY_HEAP_ANY);
  OR_AGAIN(size, mi_malloc(size));
}

static void* heap_calloc(size_t count, size_t size) {
  size_t total;
  if (__builtin_mul_overflow(count, size, &total)) {
    errno = ENOMEM;
    return NULL;
  }
  if (IS_LARGE(total)) return make_large(NATURAL, total, DEPLOY_HEAP_ZEROED);
  OR_AGAIN(total, mi_zalloc(total));
}

// mimalloc 2.0.9 takes blocks of a power of two, up to 1024 bytes, for aligned to their size, which from 256 on they are not
// (docs/bugs.md): it is asked for one byte more.
static size_t size_to_align(size_t size) { return size <= 1024 && (size & (size - 1)) == 0 ? size + 1 : size; }

static int is_power_of_two(size_t alignment) { return alignment != 0 && (alignment & (alignment - 1)) == 0; }

// A small block with a large alignment lies in a large one. Alignments that are none are left to mimalloc.
static int is_large_when_aligned(size_t alignment, size_t size) {
  return (IS_LARGE(size) || IS_LARGE(alignment)) && is_power_of_two(alignment);
}

static void* heap_memalign(size_t alignment, size_t size) {
  if (is_large_when_aligned(alignment, size)) return make_large(alignment, size, DEPLOY_HEAP_ANY);
  OR_AGAIN(size, mi_memalign(alignment, size_to_align(size)));
}

#define PAGE 4096
static void* heap_valloc(size_t size) { return heap_memalign(PAGE, size); }
static void* heap_pvalloc(size_t size) {
  return heap_memalign(PAGE, size > SIZE_MAX - PAGE ? size : (size + PAGE - 1) / PAGE * PAGE);
}

static int heap_posix_memalign(void** block, size_t alignment, size_t size) {
  if (is_large_when_aligned(alignment, size) && alignment % sizeof(void*) == 0) {
    const int before = errno;
    void* made = make_large(alignment, size, DEPLOY_HEAP_ANY);
    errno = before;
    if (made == NULL) return ENOMEM;
    *block = made;
    return 0;
  }
  if (!enter()) return ENOMEM;
  size = size_to_align(size);
  int error = mi_posix_memalign(block, alignment, size);
  if (LIKELY(error != ENOMEM)) return error;
  mi_collect(1);
  error = mi_posix_memalign(block, alignment, size);
  if (error != ENOMEM || size > SMALL) return error;
  open_reserve();
  error = mi_posix_memalign(block, alignment, size);
  close_reserve();
  return error;
}

static void heap_free(void* block) {
  if (LIKELY(is_own(block))) {
    if (LIKELY(enter())) mi_free(block);  // or it stays, for want of the few bytes to make this thread known
  } else if (block != NULL) {
    deploy_own_heap.free_foreign(block);
  }
}

// A block of mimalloc's that becomes large, or a large one that becomes small.
static void* move(void* block, size_t old, void* made, size_t size) {
  if (made == NULL) return NULL;
  memcpy(made, block, old < size ? old : size);
  heap_free(block);
  return made;
}

static void* realloc_own(void* block, size_t size) {
  if (IS_LARGE(size)) {
    const size_t old = mi_usable_size(block);
    if (size <= old) return block;  // mimalloc made it in need
    return move(block, old, make_large(NATURAL, size, DEPLOY_HEAP_GROWS), size);
  }
  OR_AGAIN(size, mi_realloc(block, size));
}

static void* realloc_other(void* block, size_t size) {
  const size_t large = deploy_own_heap.size_of_large(&deploy_own_heap, block);
  if (large != 0 && size <= LARGE / 2) {
    void* made = move(block, large, heap_malloc(size), size);
    if (made != NULL) return made;
  }
  void* made = deploy_own_heap.realloc_foreign(block, size);
  if (made != NULL || large == 0 || !enter()) return made;
  mi_collect(1);
  return deploy_own_heap.realloc_foreign(block, size);
}

// With the C library's own meaning of size 0.
static void* heap_realloc(void* block, size_t size) {
  if (block == NULL) return heap_malloc(size);
  if (size == 0) {
    heap_free(block);
    return NULL;
  }
  return LIKELY(is_own(block)) ? realloc_own(block, size) : realloc_other(block, size);
}

static void* heap_reallocarray(void* block, size_t count, size_t size) {
  size_t total;
  if (!__builtin_mul_overflow(count, size, &total)) return heap_realloc(block, total);
  errno = ENOMEM;
  return NULL;
}

static size_t heap_usable_size(void* block) {
  if (LIKELY(is_own(block))) return mi_usable_size(block);
  return block == NULL ? 0 : deploy_own_heap.size_of_foreign(block);
}

// Of what the C library allocates for its callers, the two that are used by the thousand: they shall be counted, and reclaimed.
static char* copy_of(const char* text, size_t size) {
  char* copy = heap_malloc(size + 1);
  if (copy == NULL) return NULL;
  copy[size] = '\0';
  return memcpy(copy, text, size);
}
static char* heap_strdup(const char* text) { return copy_of(text, strlen(text)); }
static char* heap_strndup(const char* text, size_t most) { return copy_of(text, strnlen(text, most)); }

static int heap_trim(size_t pad) {
  (void)pad;
  if (enter()) mi_collect(1);
  deploy_own_heap.give_back_large(&deploy_own_heap);
  return 1;
}

static void end_thread(void) { mi_thread_done(); }

static void keep_nothing(void) {
  mi_option_set(mi_option_decommit_delay, 0);
  mi_option_set(mi_option_segment_decommit_delay, 0);
}

static const deploy_heap_function functions[] = {
    {"malloc", heap_malloc},
    {"calloc", heap_calloc},
    {"realloc", heap_realloc},
    {"reallocarray", heap_reallocarray},
    {"free", heap_free},
    {"cfree", heap_free},
    {"memalign", heap_memalign},
    {"aligned_alloc", heap_memalign},
    {"posix_memalign", heap_posix_memalign},
    {"valloc", heap_valloc},
    {"pvalloc", heap_pvalloc},
    {"malloc_usable_size", heap_usable_size},
    {"malloc_trim", heap_trim},
    {"strdup", heap_strdup},
    {"__strdup", heap_strdup},
    {"strndup", heap_strndup},
    {"__strndup", heap_strndup},
    {"__libc_malloc", heap_malloc},
    {"__libc_calloc", heap_calloc},
    {"__libc_realloc", heap_realloc},
    {"__libc_free", heap_free},
    {"__libc_memalign", heap_memalign},
    {NULL, NULL},
};

EXPORT const deploy_heap_allocator deploy_allocator_table = {functions,        heap_malloc, heap_free,   heap_realloc,
                                                             heap_usable_size, end_thread,  keep_nothing};

// What mimalloc is bound to. Its segments come uncommitted and are committed in parts: only that counts.

EXPORT void* mmap(void* where, size_t size, int protection, int flags, int fd, off_t offset) {
  (void)where, (void)flags, (void)fd, (void)offset;  // always anonymous and private; the place is a wish
  void* memory = deploy_own_heap.map(&deploy_own_heap, size, (protection & PROT_WRITE) != 0);
  if (memory != NULL) return memory;
  errno = ENOMEM;
  return MAP_FAILED;
}

EXPORT int munmap(void* memory, size_t size) { return deploy_own_heap.unmap(&deploy_own_heap, memory, size); }

EXPORT int mprotect(void* memory, size_t size, int protection) {
  if ((protection & PROT_WRITE) == 0) return deploy_own_heap.decommit(&deploy_own_heap, memory, size);
  if (deploy_own_heap.commit(&deploy_own_heap, memory, size) == 0) return 0;
  errno = ENOMEM;
  return -1;
}

EXPORT int madvise(void* memory, size_t size, int advice) {
  return advice == MADV_DONTNEED ? deploy_own_heap.decommit(&deploy_own_heap, memory, size) : 0;
}

// The end of a thread is told by the host (end_thread), after all destructors of pthread keys: they may still free and allocate.
EXPORT int pthread_key_create(pthread_key_t* key, void (*destructor)(void*)) {
  (void)destructor;
  *key = 0;
  return 0;
}
EXPORT int pthread_setspecific(pthread_key_t key, const void* value) {
  (void)key, (void)value;
  return 0;
}

// mimalloc's settings, and nothing of the process's environment. Segments are committed as they are used, from a thread's first one
// on; what was freed is kept for some seconds, so that a model's activations do not fault in again at every call; one NUMA node,
// because to count them costs a dozen system calls.
static char* settings[] = {
    "MIMALLOC_EAGER_COMMIT=0",
    "MIMALLOC_DECOMMIT_DELAY=5000",
    "MIMALLOC_SEGMENT_DECOMMIT_DELAY=5000",
    "MIMALLOC_USE_NUMA_NODES=1",
    "MIMALLOC_MAX_ERRORS=0",
    "MIMALLOC_MAX_WARNINGS=0",
    NULL,
};
EXPORT char** environ = settings;
EXPORT char** __environ = settings;
EXPORT char* getenv(const char* name) {
  (void)name;
  return NULL;
}
