#include "bindings/handles.h"

#include "bindings/gil.h"

namespace deploy::bindings {

std::shared_ptr<ManagerHandle> ManagerHandle::create(ManagerOptions options) {
  auto manager = without_gil([&] { return std::make_unique<InterpreterManager>(std::move(options)); });
  auto handle = std::make_shared<ManagerHandle>(std::move(manager));
  shut_down_at_exit(handle);
  return handle;
}

ManagerHandle::~ManagerHandle() {
  if (exiting()) {
    static_cast<void>(manager_.release());
    return;
  }
  without_gil([&] { manager_.reset(); });
}

void ManagerHandle::shut_down() noexcept {
  try {
    without_gil([&] { manager_->close(); });
  } catch (const Error&) {
    // Nobody is left to hear of it.
  }
}

std::shared_ptr<InterpreterHandle> InterpreterHandle::create(const Environment& environment) {
  Interpreter interpreter = without_gil([&] { return Interpreter(environment); });
  auto handle = std::make_shared<InterpreterHandle>(nullptr, std::move(interpreter));
  shut_down_at_exit(handle);
  return handle;
}

InterpreterHandle::~InterpreterHandle() {
  if (exiting()) {
    static_cast<void>(new std::optional(std::move(interpreter_)));
    return;
  }
  without_gil([&] { interpreter_.reset(); });
}

Interpreter InterpreterHandle::get() const {
  if (!interpreter_) throw Error(ErrorCode::kClosed, "this process is exiting; its interpreters are shut down");
  return *interpreter_;
}

void InterpreterHandle::shut_down() noexcept {
  auto last = std::exchange(interpreter_, std::nullopt);
  without_gil([&] { last.reset(); });
}

SessionHandle::~SessionHandle() {
  if (session_.closed()) return;
  // Dropped on another thread it lasts until its own thread ends, and so does the use.
  if (std::this_thread::get_id() != owner_) static_cast<void>(in_use_.release());
  if (exiting()) static_cast<void>(new InterpreterSession(std::move(session_)));
}

void SessionHandle::close() {
  if (session_.closed()) return;
  if (std::this_thread::get_id() != owner_) {
    throw Error(ErrorCode::kWrongSession, "the session cannot be closed on another thread than the one that acquired it");
  }
  session_.close();
  in_use_.reset();
}

}  // namespace deploy::bindings
