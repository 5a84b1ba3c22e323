#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "deploy/package.h"

namespace deploy {

namespace detail {
class ManagerCore;
}

struct ManagerOptions {
  // How many interpreters; 1 to 65,536 (kInvalidArgument). For Python-bound models: the number of cores.
  std::size_t interpreters = 1;
  Environment environment = {};
};

// Owns a set of interpreters with one environment and places calls on them. Thread-safe: a const reference is enough for
// every use but close(). It may be moved while no call runs.
//
// A process that the host forks has none of the interpreters' threads. There a manager, and all that comes from it, may be
// destroyed and closed at any time, which does nothing; calls throw kClosed; a manager that the child makes itself works. What
// guest code forks inside a call (os.fork, multiprocessing) goes on in that call, and in the sessions that its thread holds.
class DEPLOY_API InterpreterManager {
 public:
  // Boots all interpreters, in parallel. If one fails none is left, and its error is thrown.
  explicit InterpreterManager(ManagerOptions options = {});
  InterpreterManager(InterpreterManager&&) noexcept;
  InterpreterManager& operator=(InterpreterManager&&) noexcept;
  ~InterpreterManager();  // close()

  // Opens and checks the file; one that is open already, unchanged and with equal options, is the same package. Throws kNotFound,
  // kInvalidPackage, kUntrusted, kMissingExtern (all modules at once that are missing or too old).
  Package load_package(const std::string& path, const LoadOptions& options = {}) const;

  // A session on a free interpreter; when none is free, waits in order of arrival. A thread that holds a session of
  // this manager while no interpreter is free gets a nested session on the one it holds.
  InterpreterSession acquire_session() const;

  // Makes `source` importable as module `name` in every interpreter.
  void register_module(std::string_view name, std::string_view source) const;

  std::size_t size() const noexcept;
  const std::vector<Interpreter>& interpreters() const;

  // Waits for the calls and sessions that are running; calls that wait, and all later ones, throw kClosed. Then drops the
  // interpreters. Idempotent. A session that this very thread still holds makes it throw kInvalidArgument.
  void close();

 private:
  std::shared_ptr<detail::ManagerCore> core_;
};

}  // namespace deploy
