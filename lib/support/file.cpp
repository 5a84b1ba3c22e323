#include "lib/support/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace deploy {

namespace {

Failure system_failure(const std::string& what, int error) {
  return {error == ENOENT || error == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kSystem, what + ": " + std::strerror(error)};
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Result<FileDescriptor> FileDescriptor::open(const std::string& path) {
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return system_failure("cannot open '" + path + "'", errno);
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return system_failure("cannot stat '" + path + "'", errno);
  if (S_ISDIR(status.st_mode)) return Failure{ErrorCode::kInvalidArgument, "'" + path + "' is a directory, expected a file"};
  if (!S_ISREG(status.st_mode)) return Failure{ErrorCode::kInvalidArgument, "'" + path + "' is not a regular file"};
  return file;
}

Result<FileDescriptor> FileDescriptor::sealed_memory(const std::string& name, std::span<const std::byte> content) {
  FileDescriptor file(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file.valid()) return system_failure("cannot create the memory file '" + name + "'", errno);
  for (std::size_t done = 0; done < content.size();) {
    const ssize_t n = ::write(file.get(), content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_failure("cannot fill the memory file '" + name + "'", errno);
    done += static_cast<std::size_t>(n);
  }
  ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  return file;
}

Result<std::uint64_t> FileDescriptor::size() const {
  struct stat status{};
  if (::fstat(fd_, &status) != 0) return system_failure("fstat", errno);
  return static_cast<std::uint64_t>(status.st_size);
}

Result<FileDescriptor> FileDescriptor::duplicate() const {
  FileDescriptor copy(::fcntl(fd_, F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return system_failure("cannot duplicate a file descriptor", errno);
  return copy;
}

MappedFile::~MappedFile() {
  if (address_) ::munmap(address_, size_);
}

Result<MappedFile> MappedFile::map(int fd, std::uint64_t offset, std::uint64_t size) {
  MappedFile mapped;
  if (size == 0) return mapped;
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, static_cast<off_t>(offset));
  if (address == MAP_FAILED) return system_failure("mmap of " + std::to_string(size) + " bytes", errno);
  mapped.address_ = address;
  mapped.size_ = size;
  return mapped;
}

}  // namespace deploy
