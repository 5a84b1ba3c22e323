#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "lib/support/result.h"

namespace deploy {

// Why no file can have this path, whatever lies on the disk: it is empty, has a NUL character or is too long. Empty where one can.
// The text is what follows the path's description: "is empty".
std::string path_problem(const std::string& path);
// A path in quotes, for messages: control characters are escaped, and the middle of a long path is left out.
std::string quoted_path(const std::string& path);

// An owned file descriptor (O_CLOEXEC).
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor();

  // Opens a regular file for reading. Never waits for anybody at the other end of a FIFO. kNotFound: no such file;
  // kInvalidArgument: a directory, a FIFO, a socket, a device, or what path_problem() names; kSystem: anything else.
  static Result<FileDescriptor> open(const std::string& path);
  // An anonymous file in memory with this content, sealed against writing, growing and shrinking.
  static Result<FileDescriptor> sealed_memory(const std::string& name, std::span<const std::byte> content);
  // An anonymous file in memory, empty, to which every write appends: whole, whichever thread writes at the same time.
  static Result<FileDescriptor> growing_memory(const std::string& name);

  bool valid() const { return fd_ >= 0; }
  int get() const { return fd_; }
  Result<std::uint64_t> size() const;
  Result<FileDescriptor> duplicate() const;

 private:
  int fd_ = -1;
};

// A read-only private mapping of a whole file, or of a part that starts on a page boundary.
class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(address_, other.address_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~MappedFile();

  static Result<MappedFile> map(int fd, std::uint64_t offset, std::uint64_t size);

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(address_), size_}; }

 private:
  void* address_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace deploy
