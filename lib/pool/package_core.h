#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/interpreter/session_core.h"
#include "lib/package/package_file.h"
#include "lib/pool/manager_core.h"
#include "lib/support/result.h"

namespace deploy::detail {

// One package file and what the manager's interpreters have opened of it. Each opens it at its first use there
// (lib/package/guest/package.py), and closes it when the reference to its handle is given back, after this object is gone.
class PackageCore : public std::enable_shared_from_this<PackageCore> {
 public:
  // Checks the file, opens it in one interpreter and asks there for missing externs; imports none of the package's code.
  static Result<std::shared_ptr<PackageCore>> open(std::shared_ptr<ManagerCore> manager, const std::string& path);

  const std::shared_ptr<ManagerCore>& manager() const { return manager_; }
  const PackageFile& file() const { return file_; }

  // The package in the session's interpreter; the reference is this object's.
  Result<deploy_object> handle(SessionCore& session);

  // Record `<package>/<resource>`: kNotFound with the records there are, kInvalidArgument for a resource in a folder.
  Result<const Record*> find(std::string_view package, std::string_view resource) const;

  Result<std::string> load_binary(std::string_view package, std::string_view resource);

 private:
  PackageCore(std::shared_ptr<ManagerCore> manager, PackageFile file);
  Result<void> check_externs(SessionCore& session);

  const std::shared_ptr<ManagerCore> manager_;
  const PackageFile file_;
  const std::uint64_t id_;
  std::vector<Reference> handles_;  // by seat; each is touched by whoever holds that seat
};

// A failure in the guest's importer, as the API says it: its InvalidPackage is kInvalidPackage.
Failure from_guest(Failure failure);

}  // namespace deploy::detail
