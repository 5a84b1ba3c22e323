#include "lib/interpreter/session_core.h"

#include <pthread.h>

#include <algorithm>
#include <cstdint>

#include "lib/interpreter/grad_mode.h"
#include "lib/interpreter/marshal.h"
#include "lib/interpreter/object_handle.h"
#include "lib/interpreter/process.h"
#include "lib/loader/shared_libraries.h"
#include "lib/support/forks.h"
#include "lib/support/system_refusal.h"

namespace deploy::detail {

namespace {

// CPython counts calls, not bytes. A thousand of them through repr, json, pickle or copy take less than this. Some take more, as in
// any Python: through __getattr__ up to a megabyte, through sorted() two.
constexpr std::uintptr_t kLeastStack = 288 << 10;

// The lowest address of the calling thread's stack and the one behind its highest; nothing where the system does not say.
struct Stack {
  std::uintptr_t begin = 0, end = 0;

  static Stack of_this_thread() {
    Stack stack;
    pthread_attr_t attributes;
    if (::pthread_getattr_np(::pthread_self(), &attributes) != 0) return stack;
    void* begin = nullptr;
    std::size_t size = 0;
    if (::pthread_attr_getstack(&attributes, &begin, &size) == 0) {
      stack.begin = reinterpret_cast<std::uintptr_t>(begin);
      stack.end = stack.begin + size;
    }
    ::pthread_attr_destroy(&attributes);
    return stack;
  }
};

// Fails where a deep recursion of Python code would run over the end of the stack. A thread that runs on another stack than its own
// (a coroutine's) is let through: nobody knows that stack's end.
Result<void> check_stack(const InterpreterCore& core) {
  static thread_local constinit Stack stack;
  if (stack.end == 0) stack = Stack::of_this_thread();
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  if (here < stack.begin || here >= stack.end || here - stack.begin >= kLeastStack) [[likely]]
    return {};
  return Failure{ErrorCode::kSystem, "interpreter " + std::to_string(core.id()) + ": the calling thread has " +
                                         std::to_string((here - stack.begin) >> 10) + " kB of stack left, of " +
                                         std::to_string((stack.end - stack.begin) >> 10) +
                                         "; a session needs 288 kB: give the thread 320 kB or more (pthread_attr_setstacksize)"};
}

}  // namespace

Result<void> attach(InterpreterCore& core, ThreadEntry& thread) {
  if (thread.depth > 0) {
    ++thread.depth;
    return {};
  }
  if (auto enough = check_stack(core); !enough) return enough;
  ++thread.depth;
  core.link_namespace().enter_thread();
  const deploy_thread state = core.guest().thread_attach(thread.state);
  if (!state) {
    --thread.depth;
    return Failure{ErrorCode::kSystem, "interpreter " + std::to_string(core.id()) + ": no memory for a thread state"};
  }
  thread.state = state;
  thread.attached_core = &core;
  note_attached(1);
  if (!core.releases()->empty()) core.releases()->drain(thread);
  return {};
}

void detach(InterpreterCore& core, ThreadEntry& thread) noexcept {
  if (thread.depth == 1) {
    if (core.is_foreign()) {  // nobody else can come in; and the lock of the GIL may be shut
      note_attached(-1);
      --thread.depth;
      return;
    }
    if (!core.releases()->empty()) core.releases()->drain(thread);
    core.guest().thread_detach(thread.state);
    core.link_namespace().leave_thread();
    note_attached(-1);
  }
  --thread.depth;
}

namespace {

// Of an interpreter whose output callback runs on this thread: the GIL is not held there, though the thread has the seat.
Failure busy_with_output(const InterpreterCore& core) {
  return {ErrorCode::kWrongSession,
          "interpreter " + std::to_string(core.id()) +
              " was entered from its own output callback; a callback may use other interpreters, and this "
              "one after it has returned"};
}

}  // namespace

// Marks the time in which guest code runs on this thread, and in which it can be interrupted.
class Guest::Crossing {
 public:
  Crossing(InterpreterCore& core, ThreadEntry& thread) : core_(core), thread_(thread) {
    if (thread_.crossings++ > 0) return;
    settings_.emplace(thread_.settings, core_.link_namespace());
    core_.interruption()->begin(thread_, thread_.deadline);
  }
  ~Crossing() {
    if (open_) end();
  }

  // What the caller gets for the guest's failure. A call that was interrupted and failed has failed for that reason, whatever the
  // exception has become on its way.
  Failure failed(Failure failure) {
    const auto reason = end();
    if (!reason) return failure;
    failure.code = *reason;
    failure.message = *reason == ErrorCode::kCancelled ? "the call was interrupted" : "the call was still running at its deadline";
    if (!failure.python_type.empty()) failure.message += " (" + failure.python_type + ")";
    return failure;
  }

 private:
  std::optional<ErrorCode> end() {
    open_ = false;
    std::optional<ErrorCode> reason;
    if (thread_.crossings == 1) reason = core_.interruption()->end(core_.guest());  // may run byte code
    --thread_.crossings;
    thread_.process = this_process();  // forked in the call: Python has made itself at home in the child
    return reason;
  }

  std::optional<ThreadSettingsScope> settings_;  // of the outermost
  InterpreterCore& core_;
  ThreadEntry& thread_;
  bool open_ = true;
};

Result<void> Guest::may_call() const {
  if (thread_->process != this_process()) return forked_failure();
  if (has_passed(thread_->deadline)) {
    return Failure{ErrorCode::kDeadlineExceeded, "the deadline had passed before the call could begin"};
  }
  if (OutputScope::is_open(*core_)) return busy_with_output(*core_);
  return {};
}

// A guest function that gives a reference.
template <class F>
Result<Reference> Guest::make(F&& function) {
  if (auto allowed = may_call(); !allowed) return allowed.failure();
  ErrorSink error;
  Crossing crossing(*core_, *thread_);
  const deploy_object object = function(core_->guest(), &error);
  if (!object) return crossing.failed(error.take());
  return Reference(core_->releases(), object);
}

// A guest function that describes a value.
template <class F>
Result<Value> Guest::read(F&& function, Opaque opaque, std::optional<GradMode> grad_mode) {
  if (auto allowed = may_call(); !allowed) return allowed.failure();
  ErrorSink error;
  ValueSink sink(*core_, opaque, grad_mode);
  Crossing crossing(*core_, *thread_);
  if (function(core_->guest(), &sink, &error) < 0) return crossing.failed(sink.failed(error.take()));
  return sink.take();
}

Result<Reference> Guest::global(std::string_view module, std::string_view name) {
  return make([&](const deploy_guest& guest, deploy_error* error) { return guest.global(text(module), text(name), error); });
}

Result<Reference> Guest::import_module(std::string_view name) {
  return make([&](const deploy_guest& guest, deploy_error* error) { return guest.import_module(text(name), error); });
}

Result<Reference> Guest::from_value(const Value& value) {
  Arguments arguments(*core_);
  if (auto set = arguments.set(value); !set) return set.failure();
  return make([&](const deploy_guest& guest, deploy_error* error) { return guest.from_value(arguments.hand_over(), error); });
}

Result<Reference> Guest::attr(deploy_object object, std::string_view name) {
  return make([&](const deploy_guest& guest, deploy_error* error) { return guest.attr(object, text(name), error); });
}

Result<bool> Guest::hasattr(deploy_object object, std::string_view name) {
  if (auto allowed = may_call(); !allowed) return allowed.failure();
  ErrorSink error;
  Crossing crossing(*core_, *thread_);
  const int found = core_->guest().hasattr(object, text(name), &error);
  if (found < 0) return crossing.failed(error.take());
  return found > 0;
}

Result<Reference> Guest::call(deploy_object object, std::string_view method, const Args& args, const Kwargs& kwargs,
                              std::optional<GradMode> grad_mode) {
  Arguments arguments(*core_);
  if (auto set = arguments.set(args, kwargs); !set) return set.failure();
  auto result = make([&](const deploy_guest& guest, deploy_error* error) -> deploy_object {
    const GradScope scope(guest, grad_mode, error);
    if (scope.failed()) return nullptr;
    return guest.call(object, text(method), arguments.hand_over(), arguments.size(), arguments.keywords(),
                      arguments.keyword_count(), error);
  });
  if (!result) return explained(std::move(result.failure()), grad_mode);
  return result;
}

Result<Value> Guest::call_value(deploy_object object, std::string_view method, const Args& args, const Kwargs& kwargs,
                                std::optional<GradMode> grad_mode, Opaque opaque) {
  Arguments arguments(*core_);
  if (auto set = arguments.set(args, kwargs); !set) return set.failure();
  const auto call = [&](const deploy_guest& guest, deploy_sink* sink, deploy_error* error) {
    const GradScope scope(guest, grad_mode, error);
    if (scope.failed()) return -1;
    return guest.call_value(object, text(method), arguments.hand_over(), arguments.size(), arguments.keywords(),
                            arguments.keyword_count(), sink, error);
  };
  auto result = read(call, opaque, grad_mode);
  if (!result) return explained(std::move(result.failure()), grad_mode);
  return result;
}

Result<Value> Guest::to_value(deploy_object object) {
  return read(
      [&](const deploy_guest& guest, deploy_sink* sink, deploy_error* error) { return guest.to_value(object, sink, error); });
}

Result<std::string> Guest::type_name(deploy_object object) {
  auto name =
      read([&](const deploy_guest& guest, deploy_sink* sink, deploy_error* error) { return guest.type_name(object, sink, error); });
  if (!name) return name.failure();
  return name->as_str();
}

Result<std::string> Guest::str(deploy_object object) {
  auto name =
      read([&](const deploy_guest& guest, deploy_sink* sink, deploy_error* error) { return guest.str(object, sink, error); });
  if (!name) return name.failure();
  return name->as_str();
}

Result<void> Guest::register_module(std::string_view name, std::string_view source) {
  if (auto allowed = may_call(); !allowed) return allowed.failure();
  ErrorSink error;
  Crossing crossing(*core_, *thread_);
  if (core_->guest().register_module(text(name), text(source), &error) < 0) return crossing.failed(error.take());
  return {};
}

Result<SessionCore> SessionCore::open(std::shared_ptr<InterpreterCore> core) {
  if (OutputScope::is_open(*core)) return busy_with_output(*core);
  const auto seated = or_system_refusal([&] { return core->gate().acquire(core->seat()); });
  if (!seated) return seated.failure();
  return open_seated(std::move(core));
}

Result<SessionCore> SessionCore::open_seated(std::shared_ptr<InterpreterCore> core) {
  auto opened = or_system_refusal([&] { return enter(core); });
  if (!opened) core->gate().release(core->seat());
  return opened;
}

// Takes `core` where it succeeds: a shared pointer's count costs as much as the rest.
Result<SessionCore> SessionCore::enter(std::shared_ptr<InterpreterCore>& core) {
  if (OutputScope::is_open(*core)) return busy_with_output(*core);
  if (loader::may_leave_kept_libraries() && may_block()) loader::leave_kept_libraries(kThreadsMayTake);
  ThreadEntry& thread = thread_entry(*core);
  thread.open.reserve(thread.open.size() + 1);  // once it is attached nothing fails
  if (auto attached = attach(*core, thread); !attached) return attached.failure();
  const std::uint64_t serial = core->next_serial();
  thread.open.push_back(serial);
  return SessionCore(std::move(core), thread, serial);
}

SessionCore::SessionCore(std::shared_ptr<InterpreterCore> core, ThreadEntry& thread, std::uint64_t serial)
    : Guest(*core, thread), interpreter_(std::move(core)), thread_number_(this_thread_number()), serial_(serial) {}

SessionCore::SessionCore(SessionCore&& other) noexcept
    : Guest(other),
      interpreter_(std::move(other.interpreter_)),
      thread_number_(other.thread_number_),
      serial_(std::exchange(other.serial_, 0)) {}

SessionCore& SessionCore::operator=(SessionCore&& other) noexcept {
  if (this == &other) return *this;
  close();
  Guest::operator=(other);
  interpreter_ = std::move(other.interpreter_);
  thread_number_ = other.thread_number_;
  serial_ = std::exchange(other.serial_, 0);
  return *this;
}

void SessionCore::set_deadline(Deadline deadline) {
  auto& all = thread_->deadlines;
  std::erase_if(all, [this](const auto& each) { return each.first == serial_; });
  if (deadline != kNoDeadline) all.emplace_back(serial_, deadline);
  thread_->deadline = kNoDeadline;
  for (const auto& each : all) thread_->deadline = std::min(thread_->deadline, each.second);
}

void SessionCore::close() noexcept {
  if (serial_ != 0 && thread_number_ == this_thread_number() && !thread_->deadlines.empty()) set_deadline(kNoDeadline);
  const std::uint64_t serial = std::exchange(serial_, 0);
  if (serial == 0) return;
  const std::shared_ptr<InterpreterCore> core = std::move(interpreter_);
  if (thread_number_ != this_thread_number() || OutputScope::is_open(*core)) {
    core->leave_to_thread_end(serial);
    return;
  }
  std::erase(thread_->open, serial);
  detach(*core, *thread_);
  core->gate().release(core->seat());
}

Result<void> SessionCore::check() const {
  if (serial_ == 0) return Failure{ErrorCode::kClosed, "the session is closed"};
  if (thread_number_ != this_thread_number()) {
    return Failure{ErrorCode::kWrongSession, "a session of interpreter " + std::to_string(core_->id()) +
                                                 " was used on another thread than the one that acquired it"};
  }
  return {};
}

Object SessionCore::object(Reference reference, std::optional<GradMode> grad_mode) const {
  return Object(std::make_shared<Object::Handle>(std::move(reference), core_->slot(), core_->id(), serial_, grad_mode));
}

Result<deploy_object> SessionCore::unwrap(const Object& object) const { return usable_object(object, *core_); }

}  // namespace deploy::detail
