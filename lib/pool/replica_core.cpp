#include "lib/pool/replica_core.h"

#include <utility>

#include "lib/interpreter/process.h"
#include "lib/pool/in_parallel.h"

namespace deploy::detail {

Result<Reference> PickleRecipe::make(SessionCore& session) const {
  const Result<deploy_object> package = package_->handle(session);
  if (!package) return package.failure();
  Result<Reference> made = session.call(*package, "load_pickle", {module_, resource_});
  if (!made) return from_guest(std::move(made.failure()));
  // What its first call would import: a call that imports torch could not be in a mode of torch.
  if (package_->needs_torch() && package_->grad_mode(module_, resource_)) {
    if (const Result<Reference> torch = session.import_module("torch"); !torch) return torch.failure();
  }
  return made;
}

Result<std::unique_ptr<Recipe>> DumpRecipe::dump(ManagerCore& manager, SessionCore& session, const Object& object) {
  if (manager.is_foreign()) return forked_failure();
  const Result<Reference> dump = session.global("_deploy.replica", "dump");
  if (!dump) return dump.failure();
  const Result<Value> dumped = session.call_value(dump->get(), {}, {object});
  if (!dumped) return dumped.failure();
  auto recipe = std::make_unique<DumpRecipe>();
  recipe->memory_ = FileDescriptor(static_cast<int>(dumped->at(1).as_int()));
  recipe->data_ = dumped->at(0);
  recipe->size_ = dumped->at(2).as_int();
  for (const Value& id : dumped->at(3).items()) {
    std::shared_ptr<PackageCore> package = manager.find_package(static_cast<std::uint64_t>(id.as_int()));
    if (!package) {
      return Failure{ErrorCode::kClosed,
                     "the object's code comes from a package whose last handle was dropped while it was replicated"};
    }
    recipe->packages_.push_back(std::move(package));
  }
  return std::unique_ptr<Recipe>(std::move(recipe));
}

// An object whose code comes from packages runs as what came out of the first of them does.
std::optional<GradMode> DumpRecipe::grad_mode(const ManagerCore& manager) const {
  if (const auto& set = manager.environment().grad_mode) return set;
  return packages_.empty() ? GradMode::kNoGrad : packages_.front()->grad_mode({}, {});
}

Result<Reference> DumpRecipe::make(SessionCore& session) const {
  for (const std::shared_ptr<PackageCore>& package : packages_) {
    const Result<deploy_object> handle = package->handle(session);
    if (!handle) return handle.failure();
  }
  const Result<Reference> load = session.global("_deploy.replica", "load");
  if (!load) return load.failure();
  return session.call(load->get(), {}, {data_, memory_.get(), size_});
}

std::shared_ptr<ReplicaCore> ReplicaCore::create(std::shared_ptr<ManagerCore> manager, std::unique_ptr<Recipe> recipe) {
  auto replica = std::make_shared<ReplicaCore>(std::move(manager), std::move(recipe));
  replica->manager_->add_holder(replica);
  return replica;
}

Result<deploy_object> ReplicaCore::local(SessionCore& session) {
  Reference& replica = replicas_[session.interpreter()->seat()];
  if (!replica) {
    Result<Reference> made = recipe_->make(session);
    if (!made) return std::move(made.failure());
    replica = std::move(*made);
  }
  return replica.get();
}

Result<void> ReplicaCore::preload() {
  const auto on_seat = [&](std::size_t seat) -> Result<void> {
    Result<SessionCore> session = manager_->enter(seat);
    if (!session) return std::move(session.failure());
    const Result<deploy_object> made = local(*session);
    return made ? Result<void>() : Result<void>(made.failure());
  };
  if (manager_->is_foreign()) return forked_failure();
  if (!manager_->gate().held()) return in_parallel(manager_->size(), on_seat);
  // Other threads would wait for the seats that this one holds.
  for (std::size_t seat = 0; seat < manager_->size(); ++seat) {
    if (Result<void> made = on_seat(seat); !made) return made;
  }
  return {};
}

}  // namespace deploy::detail
