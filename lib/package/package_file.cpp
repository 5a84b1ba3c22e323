#include "lib/package/package_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace deploy {

Result<PackageFile> PackageFile::open(const std::string& path) {
  Result<FileDescriptor> file = FileDescriptor::open(path);
  if (!file) {
    Failure& failure = file.failure();
    if (failure.code == ErrorCode::kInvalidArgument) failure.code = ErrorCode::kInvalidPackage;  // a directory, a device
    return std::move(failure).within("package");
  }
  struct stat status{};
  if (::fstat(file->get(), &status) != 0) return Failure{ErrorCode::kSystem, "cannot stat '" + path + "': " + std::strerror(errno)};
  const Identity identity = {static_cast<std::int64_t>(status.st_dev), static_cast<std::int64_t>(status.st_ino), status.st_size,
                             status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
  Result<MappedFile> mapping = MappedFile::map(file->get(), 0, static_cast<std::uint64_t>(status.st_size));
  if (!mapping) return std::move(mapping.failure());
  Result<Archive> archive = Archive::parse(mapping->bytes(), path);
  if (!archive) return std::move(archive.failure());
  return PackageFile(path, std::move(*file), identity, std::move(*archive));
}

Result<std::string> PackageFile::read(const Record& record) const {
  // The table was checked against the file's size, so this much memory is in proportion to the file.
  std::string data(static_cast<std::size_t>(record.stored_size), '\0');
  for (std::size_t done = 0; done < data.size();) {
    const ssize_t n = ::pread(file_.get(), data.data() + done, data.size() - done, static_cast<off_t>(record.offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failure{ErrorCode::kSystem, "cannot read '" + path_ + "': " + std::strerror(errno)};
    if (n == 0) {
      return Failure{ErrorCode::kInvalidPackage,
                     "'" + path_ + "' was cut off while it was in use: record '" + record.name + "' is not all there"};
    }
    done += static_cast<std::size_t>(n);
  }
  return data;
}

}  // namespace deploy
