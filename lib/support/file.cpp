#include "lib/support/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

namespace deploy {

namespace {

Failure system_failure(const std::string& what, int error) {
  return {error == ENOENT || error == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kSystem, what + ": " + std::strerror(error)};
}

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "something else";
}

}  // namespace

std::string path_problem(const std::string& path) {
  if (path.empty()) return "is empty";
  if (path.find('\0') != path.npos) return "has a NUL character";
  if (path.size() >= PATH_MAX)
    return "is " + std::to_string(path.size()) + " bytes long; expected at most " + std::to_string(PATH_MAX - 1);
  for (std::size_t start = 0; start < path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    if (end - start > NAME_MAX) {
      return "has a component of " + std::to_string(end - start) + " bytes; expected at most " + std::to_string(NAME_MAX);
    }
    start = end + 1;
  }
  return {};
}

std::string quoted_path(const std::string& path) {
  constexpr std::size_t kShown = 400;
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "'";
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (i == kShown / 2 && path.size() > kShown) {
      out += "...";
      i = path.size() - kShown / 2;
    }
    const auto c = static_cast<unsigned char>(path[i]);
    if (c >= 0x20 && c != 0x7f) {
      out += path[i];
    } else {
      out.append("\\x") += kDigits[c >> 4];
      out += kDigits[c & 15];
    }
  }
  return out + "'";
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Result<FileDescriptor> FileDescriptor::open(const std::string& path) {
  if (const std::string problem = path_problem(path); !problem.empty()) {
    return Failure{ErrorCode::kInvalidArgument, "the path " + quoted_path(path) + " " + problem};
  }
  // O_NONBLOCK: a FIFO that nobody writes to, or a device, is opened at once, and refused below. Reading a regular file ignores it.
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat status{};
  if (!file.valid()) {
    const int error = errno;
    if (error != ENXIO || ::stat(path.c_str(), &status) != 0) return system_failure("cannot open '" + path + "'", error);
  } else if (::fstat(file.get(), &status) != 0) {
    return system_failure("cannot stat '" + path + "'", errno);
  }
  if (!S_ISREG(status.st_mode)) {
    return Failure{ErrorCode::kInvalidArgument, "'" + path + "' is " + kind_of(status.st_mode) + ", expected a file"};
  }
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

Result<FileDescriptor> FileDescriptor::growing_memory(const std::string& name) {
  FileDescriptor file(::memfd_create(name.c_str(), MFD_CLOEXEC));
  if (!file.valid() || ::fcntl(file.get(), F_SETFL, O_APPEND) != 0) {
    return system_failure("cannot create the memory file '" + name + "'", errno);
  }
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
