#include <utility>

#include "deploy/interpreter.h"
#include "lib/interpreter/session_core.h"

// InterpreterSession::replicate and from_replicated are in lib/pool/: they need to know replicas.

namespace deploy {

InterpreterSession::InterpreterSession(std::unique_ptr<detail::SessionCore> core) noexcept
    : core_(std::move(core)), interruption_(core_->interpreter()->interruption()), serial_(core_->serial()) {}
InterpreterSession::InterpreterSession(InterpreterSession&&) noexcept = default;
InterpreterSession& InterpreterSession::operator=(InterpreterSession&&) noexcept = default;
InterpreterSession::~InterpreterSession() = default;

detail::SessionCore& InterpreterSession::core() const {
  if (!core_) throw Error(ErrorCode::kClosed, "the session is closed");
  core_->check().value();
  return *core_;
}

Object InterpreterSession::global(std::string_view module, std::string_view name) const {
  auto& session = core();
  return session.object(session.global(module, name).value());
}

Object InterpreterSession::import_module(std::string_view name) const {
  auto& session = core();
  return session.object(session.import_module(name).value());
}

Object InterpreterSession::from_value(const Value& value) const {
  auto& session = core();
  return session.object(session.from_value(value).value());
}

void InterpreterSession::set_timeout(std::optional<std::chrono::nanoseconds> timeout) {
  core().set_deadline(timeout ? detail::deadline_after(*timeout) : detail::kNoDeadline);
}

void InterpreterSession::interrupt() const noexcept {
  if (interruption_) interruption_->request(serial_);
}

Interpreter InterpreterSession::interpreter() const { return Interpreter(core().interpreter()); }

bool InterpreterSession::closed() const noexcept { return !core_ || !core_->is_open(); }

void InterpreterSession::close() noexcept {
  if (core_) core_->close();
}

}  // namespace deploy
