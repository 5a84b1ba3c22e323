#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

// Little-endian numbers and texts of a zip file. The caller has checked that they are there.

namespace deploy::zip {

inline constexpr std::uint32_t kLocalSignature = 0x04034b50, kEntrySignature = 0x02014b50, kEndSignature = 0x06054b50;
inline constexpr std::uint32_t kEnd64Signature = 0x06064b50, kLocator64Signature = 0x07064b50, kDescriptorSignature = 0x08074b50;
inline constexpr std::size_t kLocalSize = 30, kEntrySize = 46, kEndSize = 22, kEnd64Size = 56, kLocator64Size = 20;
inline constexpr std::uint32_t kSeeZip64 = 0xffffffff;
inline constexpr std::uint16_t kZip64Extra = 0x0001, kUnicodePathExtra = 0x7075, kEncrypted = 0x0001, kHasDescriptor = 0x0008;

using Bytes = std::span<const std::byte>;

// Whether [offset, offset + size) lies inside `limit` bytes; safe against overflow.
inline bool inside(std::uint64_t offset, std::uint64_t size, std::uint64_t limit) {
  return offset <= limit && size <= limit - offset;
}

template <class T>
T number(Bytes bytes, std::uint64_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

inline std::string_view text(Bytes bytes, std::uint64_t at, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes.data() + at), size};
}

// Replaces those of `numbers` that are kSeeZip64 by those of the zip64 field of `extra`, in the field's order. False: the field is
// missing, short or longer than that, or there are two. Without such numbers `extra` is not looked at.
inline bool read_zip64(Bytes extra, std::span<std::uint64_t* const> numbers) {
  std::size_t wanted = 0;
  for (const std::uint64_t* each : numbers) wanted += *each == kSeeZip64 ? 8 : 0;
  if (wanted == 0) return true;
  bool found = false;
  for (std::size_t at = 0; inside(at, 4, extra.size());) {
    const auto id = number<std::uint16_t>(extra, at), size = number<std::uint16_t>(extra, at + 2);
    at += 4;
    if (!inside(at, size, extra.size())) return false;
    if (id == kZip64Extra) {
      if (found || size != wanted) return false;
      found = true;
      std::size_t used = 0;
      for (std::uint64_t* each : numbers) {
        if (*each != kSeeZip64) continue;
        *each = number<std::uint64_t>(extra, at + used);
        used += 8;
      }
    }
    at += size;
  }
  return found;
}

}  // namespace deploy::zip
