#include "lib/loader/heap/pages.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace deploy::loader {

namespace {

// Asked anew for every segment: the administrator may change it, and a segment costs more than that.
bool every_page_counts() {
  const int file = ::open("/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  char rule = '0';
  const bool read = ::read(file, &rule, 1) == 1;
  ::close(file);
  return read && rule == '2';
}

void* map_pages(std::size_t size, int protection, int flags) {
  void* memory = ::mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

}  // namespace

Reservation reserve_pages(std::size_t size, std::size_t alignment, bool committed) {
  const bool strict = !committed && every_page_counts();
  const int protection = strict ? PROT_NONE : PROT_READ | PROT_WRITE, flags = committed ? 0 : MAP_NORESERVE;
  void* memory = map_pages(size, protection, flags);
  if (!memory || reinterpret_cast<std::uintptr_t>(memory) % alignment == 0) return {memory, strict};
  ::munmap(memory, size);
  if (size > PTRDIFF_MAX - alignment) return {};
  memory = map_pages(size + alignment, protection, flags);
  if (!memory) return {};
  const auto begin = reinterpret_cast<std::uintptr_t>(memory), start = round_up(begin, alignment);
  if (start > begin) ::munmap(memory, start - begin);
  if (const std::size_t rest = begin + alignment - start; rest != 0) ::munmap(reinterpret_cast<void*>(start + size), rest);
  return {reinterpret_cast<void*>(start), strict};
}

bool commit_pages(void* start, std::size_t size) { return ::mprotect(start, size, PROT_READ | PROT_WRITE) == 0; }

// What was once writable stays counted until it is unmapped: a strict reservation gets a fresh mapping in its place.
bool decommit_pages(void* start, std::size_t size, bool strict) {
  if (!strict) return ::madvise(start, size, MADV_DONTNEED) == 0;
  return ::mmap(start, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
}

}  // namespace deploy::loader
