#include "lib/loader/memory_map.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

namespace deploy::loader {

namespace {

constexpr std::uintptr_t kPage = 4096;
constexpr std::uint64_t kPopulateFrom = 64 * kPage;

std::uintptr_t page_down(std::uintptr_t a) { return a & ~(kPage - 1); }
std::uintptr_t page_up(std::uintptr_t a) { return page_down(a + kPage - 1); }

Failure system_failure(const char* what) { return {ErrorCode::kSystem, std::string(what) + " failed: " + std::strerror(errno)}; }

}  // namespace

MappedImage::~MappedImage() {
  if (size_ != 0) ::munmap(reinterpret_cast<void*>(start_), size_);
}

Result<MappedImage> MappedImage::map(const ElfImage& image, int fd, std::uint64_t offset, bool writable_text) {
  const std::size_t size = image.end - image.start;
  // mmap aligns to pages only: reserve enough to slide to the largest segment alignment, then give the rest back.
  const std::size_t slack = image.alignment > kPage ? image.alignment : 0;
  void* reserved = ::mmap(nullptr, size + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return system_failure("reserving address space");
  const auto reserved_start = reinterpret_cast<std::uintptr_t>(reserved);
  MappedImage mapped;
  mapped.start_ = reserved_start;
  mapped.size_ = size + slack;
  if (slack != 0) {
    const std::uintptr_t in_alignment = image.start & (image.alignment - 1);
    const std::uintptr_t start = ((reserved_start - in_alignment + image.alignment - 1) & ~(image.alignment - 1)) + in_alignment;
    if (start > reserved_start) ::munmap(reserved, start - reserved_start);
    if (const std::uintptr_t rest = reserved_start + size + slack - (start + size); rest != 0) {
      ::munmap(reinterpret_cast<void*>(start + size), rest);
    }
    mapped.start_ = start;
    mapped.size_ = size;
  }
  mapped.bias_ = mapped.start_ - image.start;
  for (const Segment& segment : image.segments) {
    if (auto done = mapped.map_segment(segment, fd, offset, writable_text); !done) return done.failure();
  }
  return mapped;
}

Result<void> MappedImage::map_segment(const Segment& s, int fd, std::uint64_t offset, bool writable_text) const {
  const int protection = writable_text ? s.protection | PROT_WRITE : s.protection;
  const std::uintptr_t begin = bias_ + s.vaddr, file_end = begin + s.file_size, memory_end = begin + s.memory_size;
  if (s.file_size != 0) {
    void* at = reinterpret_cast<void*>(page_down(begin));
    const std::uint64_t from = offset + s.offset - (begin - page_down(begin));
    if (::mmap(at, file_end - page_down(begin), protection, MAP_PRIVATE | MAP_FIXED, fd, static_cast<off_t>(from)) == MAP_FAILED) {
      return system_failure("mapping a segment");
    }
  }
  if (s.memory_size <= s.file_size) return {};
#ifdef MADV_POPULATE_WRITE
  // Nearly every page of a writable segment gets relocations: copying them all at once is cheaper than a fault for each. It is
  // advice only (Linux 5.14).
  if ((s.protection & PROT_WRITE) != 0 && s.file_size >= kPopulateFrom) {
    ::madvise(reinterpret_cast<void*>(page_down(begin)), page_up(file_end) - page_down(begin), MADV_POPULATE_WRITE);
  }
#endif
  // .bss: the rest of the last file page is zeroed by hand, whole pages are fresh anonymous memory.
  const std::uintptr_t zero_end = s.file_size == 0 ? begin : page_up(file_end);
  if (s.file_size != 0 && (s.protection & PROT_WRITE) != 0 && zero_end > file_end) {
    std::memset(reinterpret_cast<void*>(file_end), 0, std::min(zero_end, memory_end) - file_end);
  }
  const std::uintptr_t anonymous = s.file_size == 0 ? page_down(begin) : zero_end;
  if (page_up(memory_end) > anonymous && ::mmap(reinterpret_cast<void*>(anonymous), page_up(memory_end) - anonymous, protection,
                                                MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) {
    return system_failure("mapping zeroed memory");
  }
  return {};
}

Result<void> MappedImage::protect(const ElfImage& image, bool restore_text) const {
  if (restore_text) {
    for (const Segment& s : image.segments) {
      if ((s.protection & PROT_WRITE) != 0) continue;
      const std::uintptr_t begin = page_down(bias_ + s.vaddr), end = page_up(bias_ + s.vaddr + s.memory_size);
      if (::mprotect(reinterpret_cast<void*>(begin), end - begin, s.protection) != 0) return system_failure("protecting text");
    }
  }
  if (image.relro) {
    // Only whole pages: what shares the last page with ordinary data stays writable.
    const std::uintptr_t begin = page_down(bias_ + image.relro->vaddr), end = page_down(bias_ + image.relro->end());
    if (end > begin && ::mprotect(reinterpret_cast<void*>(begin), end - begin, PROT_READ) != 0)
      return system_failure("protecting RELRO");
  }
  return {};
}

}  // namespace deploy::loader
