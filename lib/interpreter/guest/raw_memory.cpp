// Memory that Python asks the C library for, where an interpreter has no heap of its own (lib/loader/heap/heap.h): large objects,
// and what it needs before and outside of objects.
//
// CPython ends without giving all of it back: the map of its arenas, its table of built-in modules and what the last living objects
// hold are for the process to forget, and here the process goes on. So every block is known, and what is left is freed when the
// image is unloaded, after all other libraries of the interpreter. A block is preceded by its place in one table; that costs less
// than a list would, whose neighbours are seldom in the cache.

#include <pthread.h>

#include <cstdlib>
#include <utility>

#include "lib/interpreter/guest/guest.h"

namespace deploy::guest {
namespace {

struct alignas(16) Header {
  std::size_t place;
};

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
// Guarded by lock. A place holds a block, or the next free place, doubled and odd.
std::uintptr_t* places = nullptr;
std::size_t place_count = 0;
std::size_t next_free = 0;

class Locked {
 public:
  Locked() { pthread_mutex_lock(&lock); }
  ~Locked() { pthread_mutex_unlock(&lock); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;
};

bool grow() {
  const std::size_t count = place_count == 0 ? 1024 : place_count * 2;
  auto* larger = static_cast<std::uintptr_t*>(std::realloc(places, count * sizeof *places));
  if (larger == nullptr) return false;
  for (std::size_t i = place_count; i < count; ++i) larger[i] = (i + 1) * 2 + 1;
  places = larger;
  place_count = count;
  return true;
}

// The memory behind the header; null, and nothing left, where there is no memory.
void* enter(Header* block) {
  if (block == nullptr) return nullptr;
  {
    const Locked locked;
    if (next_free < place_count || grow()) {
      block->place = next_free;
      next_free = places[block->place] / 2;
      places[block->place] = reinterpret_cast<std::uintptr_t>(block);
      return block + 1;
    }
  }
  std::free(block);
  return nullptr;
}

Header* header_of(void* memory) { return static_cast<Header*>(memory) - 1; }

void* raw_malloc(void*, std::size_t size) { return enter(static_cast<Header*>(std::malloc(sizeof(Header) + size))); }

void* raw_calloc(void*, std::size_t count, std::size_t size) {
  // Python has checked that the product is a size.
  return enter(static_cast<Header*>(std::calloc(1, sizeof(Header) + count * size)));
}

void raw_free(void*, void* memory) {
  if (memory == nullptr) return;
  Header* block = header_of(memory);
  {
    const Locked locked;
    places[block->place] = next_free * 2 + 1;
    next_free = block->place;
  }
  std::free(block);
}

void* raw_realloc(void* context, void* memory, std::size_t size) {
  if (memory == nullptr) return raw_malloc(context, size);
  auto* block = static_cast<Header*>(std::realloc(header_of(memory), sizeof(Header) + size));
  if (block == nullptr) return nullptr;
  const Locked locked;
  places[block->place] = reinterpret_cast<std::uintptr_t>(block);
  return block + 1;
}

// The image's finaliser, which runs after those of all libraries that were loaded later.
__attribute__((destructor)) void free_what_is_left() {
  for (std::size_t i = 0; i < place_count; ++i) {
    if (places[i] % 2 == 0) std::free(reinterpret_cast<void*>(places[i]));
  }
  std::free(std::exchange(places, nullptr));
  place_count = next_free = 0;
}

}  // namespace

void use_tracked_raw_memory() {
  // A fork in another thread must not copy a taken lock.
  pthread_atfork([] { pthread_mutex_lock(&lock); }, [] { pthread_mutex_unlock(&lock); }, [] { pthread_mutex_unlock(&lock); });
  PyMemAllocatorEx allocator = {nullptr, raw_malloc, raw_calloc, raw_realloc, raw_free};
  PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &allocator);
}

}  // namespace deploy::guest
