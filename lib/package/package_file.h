#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/package/archive.h"
#include "lib/package/digest.h"
#include "lib/package/manifest_record.h"
#include "lib/support/file.h"

namespace deploy {

// What is asked of a package file; see LoadOptions, whose names these are.
struct FileOptions {
  std::string sha256 = {};
  std::vector<std::string> trusted_keys = {};
  bool in_memory = false;
  std::optional<bool> check_weights = {};

  bool verify() const { return !sha256.empty() || !trusted_keys.empty(); }
  bool operator==(const FileOptions&) const = default;
};

// An open package file and its table of records. Everything that is read from it later, here or in an interpreter, goes through
// its descriptors, so it is the file that was checked, whatever becomes of its name.
//
// There are two. From contents() comes all that can run: code, pickles, TorchScript. From weights() the mapped weights
// (Record::is_mapped). Both are the file itself, as long as nothing is to be verified. A file that is to be verified is read once,
// from begin to end; what is read goes into the digest and, without the weights, into a sealed memory file with the same offsets,
// and that is contents() from then on: nothing lies between what was checked and what is used, even if somebody writes to the file
// meanwhile. With in_memory the weights are in that copy too, and it is weights() as well.
//
// The file is read, never mapped here, so one that is written to or cut off meanwhile gives a failure and no signal.
//
// Const access is thread-safe.
class PackageFile {
 public:
  // kNotFound: no such file. kInvalidArgument: no file can have that path, or a trusted key is none. kInvalidPackage: a directory,
  // a FIFO, a file that is no package, a damaged one, or one that was changed meanwhile. kUntrusted. kSystem.
  static Result<PackageFile> open(const std::string& path, const FileOptions& options = {});

  const std::string& path() const { return path_; }
  const Archive& archive() const { return archive_; }
  const std::optional<PackageManifest>& manifest() const { return manifest_; }
  const FileOptions& options() const { return options_; }
  int contents() const { return memory_.valid() ? memory_.get() : file_.get(); }
  int weights() const { return memory_.valid() && options_.in_memory ? memory_.get() : file_.get(); }

  // Whether both were opened by the same path with the same options and found the same file, unchanged.
  bool is_same(const PackageFile& other) const {
    return path_ == other.path_ && identity_ == other.identity_ && options_ == other.options_;
  }

  // Compares the checksums of the records that `which` is true for, where the file was not verified as a whole. kInvalidPackage.
  Result<void> check(const std::function<bool(const Record&)>& which) const;
  // Whether those of the weights are to be compared.
  bool checks_weights() const;

  // kInvalidPackage, where the file was written to or cut off since it was opened: what was read of it may be half of each. What is
  // read of a file that is verified, or in memory, is not affected, but its weights are.
  Result<void> check_unchanged() const;

  // The bytes of a record.
  Result<std::string> read(const Record& record) const;
  // The same, after their checksum was compared, unless the file was verified as a whole. kInvalidPackage.
  Result<std::string> read_checked(const Record& record) const;
  // The same, piece by piece.
  using Sink = std::function<Result<void>(std::span<const std::byte>)>;
  Result<void> read(const Record& record, const Sink& sink) const;

 private:
  using Identity = std::array<std::int64_t, 5>;  // device, inode, size, time of the last change

  PackageFile() = default;
  Result<void> find_file();
  Result<Identity> identify() const;
  Result<void> read_tables();
  Result<void> find_records();
  struct Digests {
    Sha256Digest whole, signed_part;
  };
  Result<void> copy_and_verify();
  Result<Digests> copy(int target) const;
  Result<void> find_manifest();
  Result<void> read_stored(int descriptor, const Record& record, const Sink& sink) const;
  Failure wrong_checksum(const Record& record) const;
  Failure damaged(const std::string& problem) const;

  std::string path_;
  FileOptions options_;
  FileDescriptor file_, memory_;
  Identity identity_ = {};
  Archive archive_;
  std::optional<PackageManifest> manifest_;
};

}  // namespace deploy
