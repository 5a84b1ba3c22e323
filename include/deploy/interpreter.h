#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "deploy/environment.h"
#include "deploy/error.h"
#include "deploy/memory.h"
#include "deploy/object.h"
#include "deploy/value.h"

namespace deploy {

class Interpreter;
class ReplicatedObject;

namespace detail {
class InterpreterCore;
class Interruption;
class SessionCore;
}  // namespace detail

// One thread's hold on one interpreter: it owns that interpreter's GIL from creation to close() (D7). Movable within its thread;
// every member must be called on the thread that acquired it (kWrongSession otherwise). Sessions nest: a thread may hold several,
// on one interpreter or on many. close() ends it early; the destructor ends it silently.
class DEPLOY_API InterpreterSession {
 public:
  InterpreterSession(InterpreterSession&&) noexcept;
  InterpreterSession& operator=(InterpreterSession&&) noexcept;
  ~InterpreterSession();

  // Attribute `name` of module `module`, which is imported if need be: global("torch", "sigmoid").
  Object global(std::string_view module, std::string_view name) const;
  Object import_module(std::string_view name) const;

  // A Python object equal to `value`. Tensors share memory.
  Object from_value(const Value& value) const;

  // The replica of `object` on this interpreter, made at first use.
  Object from_replicated(const ReplicatedObject& object) const;

  // A copy of `object` that every interpreter of the manager can make: pickled now; the storages of its tensors are moved into
  // memory that all interpreters map copy-on-write (D5). Throws kPython where it cannot be pickled, and
  // kInvalidArgument for a session of an interpreter that has no manager.
  ReplicatedObject replicate(const Object& object) const;

  // All that runs through this session has to be over when `timeout` has passed, counted from now; nullopt lifts that. What then
  // runs is stopped as by interrupt(), once more every second that it goes on; this and what comes later throws kDeadlineExceeded.
  // Of nested sessions' deadlines the first counts.
  void set_timeout(std::optional<std::chrono::nanoseconds> timeout);

  // Stops what this session's thread runs in the interpreter at this moment, if anything; it never hits a later call. Returns at
  // once. The Python code gets a KeyboardInterrupt (deploy.Interrupted) at its next byte code: C code that it is in, time.sleep()
  // for one, ends first, and code that catches it goes on. The call throws kCancelled, unless it still succeeds; the session and
  // the interpreter go on. A module whose import is stopped may not be importable again: let large ones be preloaded.
  // Any thread, also while the session's own thread uses or closes it, though not while it moves or destroys it.
  void interrupt() const noexcept;

  Interpreter interpreter() const;
  bool closed() const noexcept;
  void close() noexcept;

  explicit InterpreterSession(std::unique_ptr<detail::SessionCore> core) noexcept;  // internal
  detail::SessionCore& core() const;                                                // internal; throws kClosed

 private:
  std::unique_ptr<detail::SessionCore> core_;
  std::shared_ptr<detail::Interruption> interruption_;
  std::uint64_t serial_ = 0;
};

// A handle on one isolated CPython with a private copy of every library that touches Python or libtorch (D1).
// Copies refer to the same interpreter, and so every member is const. It lives until the last handle, session and manager that
// refer to it are gone. Thread-safe.
class DEPLOY_API Interpreter {
 public:
  // Boots a new one that belongs to no manager. Takes 10-30 ms and the environment's preload on top.
  explicit Interpreter(const Environment& environment = {});

  // Waits, in order of arrival, until the interpreter is free; then holds it. A thread that already holds it gets a nested session
  // at once.
  // Throws kSystem on a thread with less than 288 kB of stack left, where a deep recursion of Python code would run over its end:
  // give threads that call models 320 kB or more.
  InterpreterSession acquire_session() const;

  // Stops the call that runs in the interpreter at this moment, if one does, whoever made it: see InterpreterSession::interrupt().
  void interrupt() const noexcept;

  // Makes `source` importable as module `name` (packages: "a.b" needs "a"). The code runs at its first import.
  void register_module(std::string_view name, std::string_view source) const;

  // What it has allocated, at this moment. Needs no session; some microseconds.
  MemoryUsage memory() const;

  // How much may cross to and from it, of its Environment; `bytes` is a number here, never 0.
  ValueLimits value_limits() const noexcept;

  // Unique in the process for its lifetime; counts from 0.
  std::size_t id() const noexcept;

  explicit Interpreter(std::shared_ptr<detail::InterpreterCore> core) noexcept;  // internal
  const std::shared_ptr<detail::InterpreterCore>& core() const noexcept { return core_; }

 private:
  std::shared_ptr<detail::InterpreterCore> core_;
};

}  // namespace deploy
