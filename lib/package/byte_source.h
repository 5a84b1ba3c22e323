#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "lib/support/result.h"

namespace deploy {

// Bytes that are read piece by piece into memory of the reader's: what was read once cannot change, or go away, under the reader.
class ByteSource {
 public:
  virtual ~ByteSource() = default;

  std::uint64_t size() const { return size_; }

  // Fills `out` with the bytes at `offset`. [offset, offset + out.size()) has to lie inside size().
  virtual Result<void> read(std::uint64_t offset, std::span<std::byte> out) const = 0;

 protected:
  explicit ByteSource(std::uint64_t size) : size_(size) {}

 private:
  std::uint64_t size_;
};

// Bytes in memory.
class MemorySource : public ByteSource {
 public:
  explicit MemorySource(std::span<const std::byte> bytes) : ByteSource(bytes.size()), bytes_(bytes) {}
  Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override;

 private:
  std::span<const std::byte> bytes_;
};

// A file, of which nothing is mapped. kInvalidPackage: it was cut off since its size was taken. kSystem.
class FileSource : public ByteSource {
 public:
  // `path` is for messages only. The descriptor stays the caller's.
  FileSource(int descriptor, std::uint64_t size, const std::string& path)
      : ByteSource(size), descriptor_(descriptor), path_(path) {}
  Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override;

 private:
  int descriptor_;
  const std::string& path_;
};

// At most `out.size()` bytes; fewer only at the file's end. kSystem.
Result<std::size_t> read_at(int descriptor, std::span<std::byte> out, std::uint64_t offset, const std::string& path);

}  // namespace deploy
