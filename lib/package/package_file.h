#pragma once

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

  // The bytes of a record that is not deflated.
  Result<std::string> read(const Record& record) const;

 private:
  PackageFile(std::string path, FileDescriptor file, Archive archive)
      : path_(std::move(path)), file_(std::move(file)), archive_(std::move(archive)) {}

  std::string path_;
  FileDescriptor file_;
  Archive archive_;
};

}  // namespace deploy
