#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "deploy/export.h"
#include "deploy/manifest.h"

namespace deploy {

class PackageFile;

// One record of a package file, without the archive's root folder in its name.
struct PackageRecord {
  std::string name;
  std::uint64_t offset = 0;  // of its data in the file
  std::uint64_t stored_size = 0;
  std::uint64_t size = 0;  // stored_size, unless it is deflated
  bool deflated = false;
  std::uint32_t checksum = 0;  // CRC-32 of its data
};

// A package file for whoever only looks: the same reader that InterpreterManager::load_package() reads with, so that both see the
// same records, or refuse the file with the same words. Starts no interpreter and runs no code of the package.
//
// The file is opened once, as by load_package(): to remove it, or rename another over it, changes nothing. Const access is
// thread-safe, copies refer to the same file.
class DEPLOY_API PackageReader {
 public:
  // Throws kNotFound; kInvalidPackage where the file is no package, or a damaged one; kSystem.
  explicit PackageReader(const std::string& path);

  const std::string& path() const noexcept;
  const std::string& root() const noexcept;     // the name of the root folder
  const std::string& comment() const noexcept;  // what the zip archive has at its end: the signature, or nothing
  const Manifest* manifest() const noexcept;    // null: it was written by plain torch.package

  // In file order.
  std::vector<PackageRecord> records() const;
  std::optional<PackageRecord> find(std::string_view name) const;

  // Compares the checksums that load_package() compares: of all records, but those of weights above 64 MB. Throws kInvalidPackage.
  void check() const;

  // Up to `size` bytes of a record from `begin` on; fewer at its end. Its checksum is compared only if all of it is asked for.
  // A deflated record is inflated from its beginning at each call. Throws kNotFound, with the records there are; kInvalidPackage
  // where the record is damaged, or what was asked for is more than `most` bytes.
  static constexpr std::uint64_t kAll = std::numeric_limits<std::uint64_t>::max();
  std::string read(std::string_view name, std::uint64_t begin = 0, std::uint64_t size = kAll, std::uint64_t most = kAll) const;

 private:
  std::shared_ptr<const PackageFile> file_;
};

}  // namespace deploy
