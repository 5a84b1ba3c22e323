#pragma once

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "bindings/exit.h"
#include "deploy/deploy.h"

namespace deploy::bindings {

// What the Python objects hold. Whatever comes from a manager keeps it alive, as Python users expect of
// InterpreterManager().load_package(path); so an interpreter never goes away under a session. Made, used and destroyed with the GIL
// held; what waits releases it (gil.h).

class ManagerHandle final : public ShutDown {
 public:
  static std::shared_ptr<ManagerHandle> create(ManagerOptions options);
  explicit ManagerHandle(std::unique_ptr<InterpreterManager> manager) : manager_(std::move(manager)) {}
  ~ManagerHandle() override;

  InterpreterManager& operator*() const { return *manager_; }
  InterpreterManager* operator->() const { return manager_.get(); }
  void shut_down() noexcept override;

 private:
  std::unique_ptr<InterpreterManager> manager_;
};

// An interpreter: one of a manager, or one on its own.
class InterpreterHandle final : public ShutDown {
 public:
  static std::shared_ptr<InterpreterHandle> create(const Environment& environment);
  InterpreterHandle(std::shared_ptr<ManagerHandle> manager, Interpreter interpreter)
      : manager_(std::move(manager)), interpreter_(std::move(interpreter)) {}
  ~InterpreterHandle() override;

  // Throws kClosed where the process is exiting.
  Interpreter get() const;
  const std::shared_ptr<ManagerHandle>& manager() const { return manager_; }  // null for one on its own
  void shut_down() noexcept override;

 private:
  std::shared_ptr<ManagerHandle> manager_;
  std::optional<Interpreter> interpreter_;
};

// A session, which counts as use of its interpreter until it is closed (exit.h).
class SessionHandle {
 public:
  SessionHandle(std::shared_ptr<ManagerHandle> manager, InterpreterSession session)
      : manager_(std::move(manager)), session_(std::move(session)), in_use_(std::make_unique<InUse>()) {}
  ~SessionHandle();

  InterpreterSession& operator*() { return session_; }
  const InterpreterSession& operator*() const { return session_; }
  InterpreterSession* operator->() { return &session_; }
  const std::shared_ptr<ManagerHandle>& manager() const { return manager_; }  // null where the interpreter has none
  // Throws kWrongSession on another thread than the one that acquired it; the session goes on.
  void close();

 private:
  std::shared_ptr<ManagerHandle> manager_;
  InterpreterSession session_;
  const std::thread::id owner_ = std::this_thread::get_id();
  std::unique_ptr<InUse> in_use_;
};

struct PackageHandle {
  std::shared_ptr<ManagerHandle> manager;
  Package package;
};

struct ReplicaHandle {
  std::shared_ptr<ManagerHandle> manager;
  ReplicatedObject object;
  std::string origin;  // for its repr: where it came from
};

}  // namespace deploy::bindings
