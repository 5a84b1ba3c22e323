#include "lib/interpreter/arenas.h"

#include <sys/mman.h>

#include <new>

namespace deploy::detail {

Arenas::~Arenas() {
  for (const auto& [arena, size] : sizes_) munmap(arena, size);
}

void* Arenas::allocate(std::size_t size) noexcept {
  void* arena = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (arena == MAP_FAILED) return nullptr;
  try {
    std::lock_guard lock(mutex_);
    sizes_.emplace(arena, size);
  } catch (const std::bad_alloc&) {
    munmap(arena, size);
    return nullptr;
  }
  return arena;
}

void Arenas::free(void* arena, std::size_t size) noexcept {
  {
    std::lock_guard lock(mutex_);
    sizes_.erase(arena);
  }
  munmap(arena, size);
}

void Arenas::give_up() noexcept {
  std::lock_guard lock(mutex_);
  sizes_.clear();
}

}  // namespace deploy::detail
