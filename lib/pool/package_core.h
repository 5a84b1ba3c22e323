#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "deploy/package.h"
#include "lib/interpreter/session_core.h"
#include "lib/package/package_file.h"
#include "lib/package/tree.h"
#include "lib/package/tree_cache.h"
#include "lib/pool/manager_core.h"
#include "lib/support/result.h"

namespace deploy::detail {

// A package file as it was opened and checked, before it is known which interpreters it runs on.
struct PackageContent {
  explicit PackageContent(PackageFile opened) : file(std::move(opened)) {}

  // Checks the records' checksums and unpacks the code, where there is a manifest.
  Result<void> check_and_unpack(const Environment& environment);

  const PackageFile file;
  std::vector<TreeUnit> units;         // empty without a manifest; point into `file`
  std::vector<UnpackedUnit> unpacked;  // in the same order
  FileDescriptor code_store;           // of a verified package: where its interpreters share byte code (guest/verified_code.py)
  std::optional<Manifest> manifest;
};

// One package file and what the interpreters of one set have opened of it: of the manager that was asked to load it, or of an
// annex.
//
// A package without a manifest is opened in each at its first use there (lib/package/guest/package.py). One with a manifest is
// opened in all at once, so that its names are taken everywhere before anything can import others of these names
// (lib/package/guest/tree.py). It is closed when the reference to its handle is given back, after this object is gone.
class PackageCore : public ReferenceHolder, public std::enable_shared_from_this<PackageCore> {
 public:
  // Checks the file and what it needs, and finds a set of interpreters that it fits into; imports none of the package's code.
  static Result<std::shared_ptr<PackageCore>> open(std::shared_ptr<ManagerCore> manager, const std::string& path,
                                                   const LoadOptions& options);

  const std::shared_ptr<ManagerCore>& manager() const { return manager_; }
  const PackageFile& file() const { return content_->file; }
  const std::optional<Manifest>& manifest() const { return content_->manifest; }

  // The package in the session's interpreter; the reference is this object's.
  Result<deploy_object> handle(SessionCore& session);

  // Record `<package>/<resource>`: kNotFound with the records there are, kInvalidArgument for a resource in a folder.
  Result<const Record*> find(std::string_view package, std::string_view resource) const;

  // Whether its manifest names torch among the modules that the environment has to have.
  bool needs_torch() const;

  // Of the calls of an object out of that record, or where the manifest says nothing of it, of the first object that is there to be
  // called. nullopt: it does not use torch.
  std::optional<GradMode> grad_mode(std::string_view package, std::string_view resource) const;

  Result<std::string> load_binary(std::string_view package, std::string_view resource) const;

  void drop_references() noexcept override { handles_.clear(); }

 private:
  PackageCore(std::shared_ptr<ManagerCore> manager, std::shared_ptr<const PackageContent> content);

  // Opens it in all interpreters of the set, unless it conflicts with something in one of them: then the reasons, and it is open in
  // none when this object is gone.
  Result<std::vector<std::string>> claim();
  static Result<std::shared_ptr<PackageCore>> open(const std::shared_ptr<ManagerCore>& manager,
                                                   const std::shared_ptr<PackageContent>& content);
  static Result<std::shared_ptr<PackageCore>> place(const std::shared_ptr<ManagerCore>& manager,
                                                    const std::shared_ptr<const PackageContent>& content);

  const std::shared_ptr<ManagerCore> manager_;
  const std::shared_ptr<const PackageContent> content_;
  const std::uint64_t id_;
  std::vector<Reference> handles_;  // by seat; each is touched by whoever holds that seat
};

// A failure in the guest's importer, as the API says it: its InvalidPackage is kInvalidPackage.
Failure from_guest(Failure failure);

}  // namespace deploy::detail
