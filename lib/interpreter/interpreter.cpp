#include "deploy/interpreter.h"

#include <utility>

#include "lib/interpreter/process.h"
#include "lib/interpreter/session_core.h"
#include "lib/loader/heap/heap.h"

namespace deploy {

Interpreter::Interpreter(const Environment& environment)
    : core_(detail::InterpreterCore::create({.environment = environment}).value()) {}

Interpreter::Interpreter(std::shared_ptr<detail::InterpreterCore> core) noexcept : core_(std::move(core)) {}

InterpreterSession Interpreter::acquire_session() const {
  return InterpreterSession(std::make_unique<detail::SessionCore>(detail::SessionCore::open(core_).value()));
}

void Interpreter::register_module(std::string_view name, std::string_view source) const {
  detail::SessionCore::open(core_).value().register_module(name, source).value();
}

void Interpreter::interrupt() const noexcept { core_->interruption()->request(0); }

MemoryUsage Interpreter::memory() const {
  if (core_->is_foreign()) detail::forked_failure().raise();
  const loader::Namespace& space = core_->link_namespace();
  const loader::HeapUsage usage = space.heap().usage();
  return {.private_heap = space.has_private_allocator(),
          .heap = usage.committed,
          .heap_peak = usage.peak_committed,
          .heap_limit = usage.limit,
          .library_data = space.library_data()};
}

ValueLimits Interpreter::value_limits() const noexcept { return core_->value_limits(); }

std::size_t Interpreter::id() const noexcept { return core_->id(); }

}  // namespace deploy
