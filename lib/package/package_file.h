#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "lib/package/archive.h"
#include "lib/support/file.h"

namespace deploy {

// An open package file and its table of records. Everything that is read from it later, here or in an interpreter, goes through
// this one descriptor, so it is the file that was checked, whatever becomes of its name. Const access is thread-safe.
class PackageFile {
 public:
  // kNotFound: no such file. kInvalidPackage: a directory, or a file that is no package. kSystem.
  static Result<PackageFile> open(const std::string& path);

  const std::string& path() const { return path_; }
  const Archive& archive() const { return archive_; }
  int descriptor() const { return file_.get(); }

  // Whether both were opened by the same path and found the same file, unchanged.
  bool is_same(const PackageFile& other) const { return path_ == other.path_ && identity_ == other.identity_; }

  // The bytes of a record that is not deflated.
  Result<std::string> read(const Record& record) const;

 private:
  using Identity = std::array<std::int64_t, 5>;  // device, inode, size, time of the last change

  PackageFile(std::string path, FileDescriptor file, Identity identity, Archive archive)
      : path_(std::move(path)), file_(std::move(file)), identity_(identity), archive_(std::move(archive)) {}

  std::string path_;
  FileDescriptor file_;
  Identity identity_;
  Archive archive_;
};

}  // namespace deploy
