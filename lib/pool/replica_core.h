#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/interpreter/session_core.h"
#include "lib/pool/manager_core.h"
#include "lib/pool/package_core.h"
#include "lib/support/file.h"
#include "lib/support/result.h"

namespace deploy::detail {

// How an interpreter makes the object, in a session of it.
class Recipe {
 public:
  virtual ~Recipe() = default;
  virtual Result<Reference> make(SessionCore& session) const = 0;
  // Of calls of the object; nullopt: it does not use torch.
  virtual std::optional<GradMode> grad_mode(const ManagerCore& manager) const = 0;
};

// Out of a package's pickle.
class PickleRecipe : public Recipe {
 public:
  PickleRecipe(std::shared_ptr<PackageCore> package, std::string module, std::string resource)
      : package_(std::move(package)), module_(std::move(module)), resource_(std::move(resource)) {}
  Result<Reference> make(SessionCore& session) const override;
  std::optional<GradMode> grad_mode(const ManagerCore&) const override { return package_->grad_mode(module_, resource_); }

 private:
  const std::shared_ptr<PackageCore> package_;
  const std::string module_, resource_;
};

// Out of what lib/package/guest/replica.py made of an object in another interpreter.
class DumpRecipe : public Recipe {
 public:
  // Pickles `object`, which lives in the session's interpreter.
  static Result<std::unique_ptr<Recipe>> dump(ManagerCore& manager, SessionCore& session, const Object& object);
  Result<Reference> make(SessionCore& session) const override;
  std::optional<GradMode> grad_mode(const ManagerCore& manager) const override;

 private:
  Value data_;
  FileDescriptor memory_;  // invalid where size_ is 0
  std::int64_t size_ = 0;
  std::vector<std::shared_ptr<PackageCore>> packages_;  // opened first
};

// An object that each interpreter of a manager makes at its first use there.
class ReplicaCore : public ReferenceHolder {
 public:
  static std::shared_ptr<ReplicaCore> create(std::shared_ptr<ManagerCore> manager, std::unique_ptr<Recipe> recipe);
  ReplicaCore(std::shared_ptr<ManagerCore> manager, std::unique_ptr<Recipe> recipe)
      : manager_(std::move(manager)),
        recipe_(std::move(recipe)),
        grad_mode_(recipe_->grad_mode(*manager_)),
        replicas_(manager_->size()) {}

  ManagerCore& manager() const { return *manager_; }

  // In which calls of the object run.
  std::optional<GradMode> grad_mode() const { return grad_mode_; }

  // The object in the session's interpreter; the reference is this object's.
  Result<deploy_object> local(SessionCore& session);

  Result<void> preload();

  void drop_references() noexcept override { replicas_.clear(); }

 private:
  const std::shared_ptr<ManagerCore> manager_;
  const std::unique_ptr<Recipe> recipe_;
  const std::optional<GradMode> grad_mode_;
  std::vector<Reference> replicas_;  // by seat; each is touched by whoever holds that seat
};

}  // namespace deploy::detail
