#include "lib/package/byte_source.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace deploy {

Result<void> MemorySource::read(std::uint64_t offset, std::span<std::byte> out) const {
  if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
  return {};
}

Result<void> FileSource::read(std::uint64_t offset, std::span<std::byte> out) const {
  const Result<std::size_t> size = read_at(descriptor_, out, offset, path_);
  if (!size) return size.failure();
  if (*size == out.size()) return {};
  return Failure{ErrorCode::kInvalidPackage, "'" + path_ +
                                                 "' was cut off while it was being read: " + std::to_string(offset + *size) +
                                                 " bytes, and had " + std::to_string(this->size()) + " before"};
}

Result<std::size_t> read_at(int descriptor, std::span<std::byte> out, std::uint64_t offset, const std::string& path) {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = ::pread(descriptor, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failure{ErrorCode::kSystem, "cannot read '" + path + "': " + std::strerror(errno)};
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

}  // namespace deploy
