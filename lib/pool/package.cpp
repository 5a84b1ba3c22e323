#include "deploy/package.h"

#include <memory>
#include <utility>

#include "lib/pool/package_core.h"
#include "lib/pool/replica_core.h"

namespace deploy {

Package::Package(std::shared_ptr<detail::PackageCore> core) noexcept : core_(std::move(core)) {}

ReplicatedObject Package::load_pickle(std::string_view package, std::string_view resource) const {
  core_->find(package, resource).value();
  auto recipe = std::make_unique<detail::PickleRecipe>(core_, std::string(package), std::string(resource));
  auto replica = detail::ReplicaCore::create(core_->manager(), std::move(recipe));
  detail::SessionCore session = core_->manager()->enter_any().value();
  replica->local(session).value();
  return ReplicatedObject(std::move(replica));
}

std::string Package::load_text(std::string_view package, std::string_view resource) const {
  std::string text = core_->load_binary(package, resource).value();
  if (!is_utf8(text)) {
    throw Error(ErrorCode::kInvalidArgument, "record '" + std::string(package) + "/" + std::string(resource) + "' of '" + path() +
                                                 "' is not UTF-8 text; load_binary gives its bytes");
  }
  return text;
}

std::string Package::load_binary(std::string_view package, std::string_view resource) const {
  return core_->load_binary(package, resource).value();
}

std::vector<std::string> Package::records() const {
  std::vector<std::string> names;
  for (const Record& record : core_->file().archive().records()) names.push_back(record.name);
  return names;
}

const std::optional<Manifest>& Package::manifest() const noexcept { return core_->manifest(); }

const std::vector<Interpreter>& Package::interpreters() const { return *core_->manager()->interpreters().value(); }

const std::string& Package::path() const noexcept { return core_->file().path(); }

}  // namespace deploy
