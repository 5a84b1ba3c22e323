#pragma once

#include <utility>

#include "lib/loader/elf_image.h"
#include "lib/support/file.h"

namespace deploy::loader {

// The segments of one library, mapped privately: text and clean data are pages of the file, one physical copy for all
// namespaces and processes. Owns the address range; the destructor unmaps all of it.
class MappedImage {
 public:
  MappedImage() = default;
  MappedImage(MappedImage&& other) noexcept { swap(other); }
  MappedImage& operator=(MappedImage&& other) noexcept {
    swap(other);
    return *this;
  }
  ~MappedImage();

  // Maps `image`, which starts at byte `offset` (a multiple of the page size) of `fd`. `writable_text` maps read-only segments
  // writable too, until protect() (DT_TEXTREL).
  static Result<MappedImage> map(const ElfImage& image, int fd, std::uint64_t offset, bool writable_text);

  // Takes write access away from PT_GNU_RELRO and, after text relocations, from read-only segments.
  Result<void> protect(const ElfImage& image, bool restore_text) const;

  // Address minus vaddr (the gABI's "base address").
  std::uintptr_t bias() const { return bias_; }
  std::uintptr_t start() const { return start_; }
  std::uintptr_t end() const { return start_ + size_; }

 private:
  void swap(MappedImage& other) noexcept {
    std::swap(bias_, other.bias_), std::swap(start_, other.start_), std::swap(size_, other.size_);
  }
  Result<void> map_segment(const Segment& segment, int fd, std::uint64_t offset, bool writable_text) const;

  std::uintptr_t bias_ = 0, start_ = 0;
  std::size_t size_ = 0;
};

}  // namespace deploy::loader
