#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "deploy/grad_mode.h"
#include "deploy/object.h"
#include "deploy/value.h"
#include "lib/interpreter/interpreter_core.h"

namespace deploy::detail {

struct ThreadEntry;  // process.h: what one thread knows of one interpreter

// Whether what has no Value form is a failure, or comes as an Object that belongs to no session.
enum class Opaque { kFail, kObject };

// The guest's functions with C++ types, for a thread that is inside a session of the interpreter. Failures are the guest's:
// kPython, kNotAValue ...; Objects among the arguments are checked (kWrongSession). Does not own the session.
class Guest {
 public:
  Guest(InterpreterCore& core, ThreadEntry& thread) : core_(&core), thread_(&thread) {}

  Result<Reference> global(std::string_view module, std::string_view name);
  Result<Reference> import_module(std::string_view name);
  Result<Reference> from_value(const Value& value);
  Result<Reference> attr(deploy_object object, std::string_view name);
  Result<bool> hasattr(deploy_object object, std::string_view name);

  // Calls `object`, or where `method` is not empty its method of that name, in a grad mode where one is given. call_value converts
  // the result in the same crossing; `opaque` says what becomes of parts that have no Value form.
  Result<Reference> call(deploy_object object, std::string_view method, const Args& args, const Kwargs& kwargs = {},
                         std::optional<GradMode> grad_mode = {});
  Result<Value> call_value(deploy_object object, std::string_view method, const Args& args, const Kwargs& kwargs = {},
                           std::optional<GradMode> grad_mode = {}, Opaque opaque = Opaque::kFail);

  Result<Value> to_value(deploy_object object);
  Result<std::string> type_name(deploy_object object);
  Result<std::string> str(deploy_object object);
  Result<void> register_module(std::string_view name, std::string_view source);

 protected:
  Result<void> may_call() const;
  template <class F>
  Result<Reference> make(F&& function);
  template <class F>
  Result<Value> read(F&& function, Opaque opaque = Opaque::kFail, std::optional<GradMode> grad_mode = {});

  class Crossing;

  InterpreterCore* core_;
  ThreadEntry* thread_;
};

// A thread's hold on an interpreter: its seat at the gate, and its GIL. Movable; may live on the stack. It is used and ends on the
// thread that opened it: close() on another thread leaves the hold to the end of that thread.
class SessionCore : public Guest {
 public:
  // Waits for the interpreter's seat, then attaches. kClosed; kWrongSession in the interpreter's own output callback.
  static Result<SessionCore> open(std::shared_ptr<InterpreterCore> core);
  // For a seat that this thread has acquired itself (Gate::acquire_any); the session owns that acquisition from here on, also where
  // this fails.
  static Result<SessionCore> open_seated(std::shared_ptr<InterpreterCore> core);

  SessionCore(SessionCore&& other) noexcept;
  SessionCore& operator=(SessionCore&& other) noexcept;
  ~SessionCore() { close(); }

  // All that this thread calls in the interpreter while the session is open fails or is stopped from then on (kDeadlineExceeded);
  // kNoDeadline lifts it. Of nested sessions' deadlines the first counts.
  void set_deadline(Deadline deadline);

  void close() noexcept;
  bool is_open() const { return serial_ != 0; }
  std::uint64_t serial() const { return serial_; }
  // Fails with kWrongSession on another thread than the one that opened it, with kClosed after close(). The Guest members do not
  // check this.
  Result<void> check() const;

  const std::shared_ptr<InterpreterCore>& interpreter() const { return interpreter_; }

  // The public handle on a reference, valid until this session ends; and back, for an Object that may be used in this session.
  Object object(Reference reference, std::optional<GradMode> grad_mode = {}) const;
  Result<deploy_object> unwrap(const Object& object) const;

 private:
  static Result<SessionCore> enter(std::shared_ptr<InterpreterCore>& core);
  SessionCore(std::shared_ptr<InterpreterCore> core, ThreadEntry& thread, std::uint64_t serial);

  std::shared_ptr<InterpreterCore> interpreter_;
  std::uint64_t thread_number_;
  std::uint64_t serial_;  // of the session, among the interpreter's; 0: closed
};

// Attaches the calling thread, which holds the seat or is the only one that can, to the interpreter; nested: counts. kSystem: no
// memory.
Result<void> attach(InterpreterCore& core, ThreadEntry& thread);
void detach(InterpreterCore& core, ThreadEntry& thread) noexcept;

}  // namespace deploy::detail
