#include "deploy/manager.h"

#include <utility>

#include "lib/pool/manager_core.h"
#include "lib/pool/package_core.h"

namespace deploy {

InterpreterManager::InterpreterManager(ManagerOptions options) : core_(detail::ManagerCore::create(std::move(options)).value()) {}

InterpreterManager::InterpreterManager(InterpreterManager&&) noexcept = default;

InterpreterManager& InterpreterManager::operator=(InterpreterManager&& other) noexcept {
  std::swap(core_, other.core_);
  return *this;
}

InterpreterManager::~InterpreterManager() {
  // Where this thread still holds a session the interpreters live until that is gone.
  if (core_) (void)core_->close();
}

Package InterpreterManager::load_package(const std::string& path, const LoadOptions& options) const {
  return Package(detail::PackageCore::open(core_, path, options).value());
}

InterpreterSession InterpreterManager::acquire_session() const {
  return InterpreterSession(std::make_unique<detail::SessionCore>(core_->enter_any().value()));
}

void InterpreterManager::register_module(std::string_view name, std::string_view source) const {
  core_->register_module(name, source).value();
}

std::size_t InterpreterManager::size() const noexcept { return core_->size(); }

const std::vector<Interpreter>& InterpreterManager::interpreters() const { return *core_->interpreters().value(); }

void InterpreterManager::close() { core_->close().value(); }

}  // namespace deploy
