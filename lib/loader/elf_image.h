#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/support/result.h"

namespace deploy::loader {

// A PT_LOAD segment, in the file's own terms (System V gABI, chapter 5, "Program Header").
struct Segment {
  std::uint64_t vaddr = 0, file_size = 0, memory_size = 0, offset = 0;
  int protection = 0;  // PROT_*
};

struct AddressRange {
  std::uint64_t vaddr = 0, size = 0;
  std::uint64_t end() const { return vaddr + size; }
};

struct TlsSegment {
  std::uint64_t vaddr = 0, file_size = 0, memory_size = 0, alignment = 1;
};

// What the ELF header and the program headers of a shared object say, checked: every range lies inside the file or the
// image, sizes do not overflow, segments ascend and do not overlap. Pure: nothing is mapped or run.
struct ElfImage {
  std::vector<Segment> segments;
  std::uint64_t start = 0, end = 0;  // of all segments, page-aligned vaddrs
  std::uint64_t alignment = 4096;    // the largest p_align
  AddressRange dynamic;
  std::optional<TlsSegment> tls;
  std::optional<AddressRange> relro;
  std::optional<AddressRange> eh_frame_header;  // PT_GNU_EH_FRAME
  std::vector<Elf64_Phdr> program_headers;
  bool executable_stack = false;

  // Whether `vaddr` lies in the file-backed part of an executable segment: only there may a file send the control flow.
  bool is_code(std::uint64_t vaddr) const;

  // `file` is the whole file. Fails with kLoader and what was found and expected.
  static Result<ElfImage> parse(std::span<const std::byte> file);
};

// Bytes of a library by vaddr: of the file (before mapping) or of the mapped image. Both are const views.
class ImageBytes {
 public:
  static ImageBytes of_file(const ElfImage& image, std::span<const std::byte> file) { return {&image, file.data(), true}; }
  static ImageBytes of_mapping(const ElfImage& image, std::uintptr_t bias) {
    return {&image, reinterpret_cast<const std::byte*>(bias), false};
  }

  // `size` bytes at `vaddr`, which lie inside the file-backed part of one readable segment; else nothing.
  std::optional<std::span<const std::byte>> at(std::uint64_t vaddr, std::uint64_t size) const;
  // From `vaddr` to the end of the file-backed part of its segment.
  std::span<const std::byte> tail(std::uint64_t vaddr) const;

  template <class T>
  std::optional<std::span<const T>> array(std::uint64_t vaddr, std::uint64_t count) const {
    if (vaddr % alignof(T) != 0 || count > (std::uint64_t{1} << 40) / sizeof(T)) return std::nullopt;
    auto bytes = at(vaddr, count * sizeof(T));
    if (!bytes) return std::nullopt;
    return std::span<const T>(reinterpret_cast<const T*>(bytes->data()), count);
  }

 private:
  ImageBytes(const ElfImage* image, const std::byte* origin, bool by_offset)
      : image_(image), origin_(origin), by_offset_(by_offset) {}
  const ElfImage* image_;
  const std::byte* origin_;
  bool by_offset_;
};

}  // namespace deploy::loader
