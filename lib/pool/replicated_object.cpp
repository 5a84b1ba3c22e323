#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "deploy/package.h"
#include "lib/interpreter/object_handle.h"
#include "lib/interpreter/process.h"
#include "lib/pool/replica_core.h"

namespace deploy {

namespace {

using Timeout = std::optional<std::chrono::nanoseconds>;

detail::Deadline deadline_of(const Timeout& timeout) { return timeout ? detail::deadline_after(*timeout) : detail::kNoDeadline; }

// The seat of the manager's interpreter that an Object without a session is of; nothing for any other Value. Of containers, the
// first such Object inside counts.
std::optional<std::size_t> seat_of(const detail::ManagerCore& manager, const Value& value) {
  if (value.kind() == Value::Kind::kObject) {
    const detail::MustNotBlock scope;
    const auto& handle = value.as_object().handle();
    const std::shared_ptr<detail::InterpreterCore> core = handle ? handle->core.lock() : nullptr;
    return core && core->manager().get() == &manager ? std::optional(core->seat()) : std::nullopt;
  }
  std::vector<const Value*> left;
  const auto add_items = [&](const Value& container) {
    if (container.kind() == Value::Kind::kList || container.kind() == Value::Kind::kTuple) {
      for (const Value& item : container.items()) left.push_back(&item);
    } else if (container.kind() == Value::Kind::kDict) {
      for (const auto& [key, item] : container.dict_items()) left.insert(left.end(), {&key, &item});
    }
  };
  add_items(value);
  while (!left.empty()) {
    const Value& item = *left.back();
    left.pop_back();
    if (item.kind() == Value::Kind::kObject) {
      if (const auto seat = seat_of(manager, item)) return seat;
    }
    add_items(item);
  }
  return std::nullopt;
}

// What seat_of() gives for the first argument for which `is_asked`.
template <class F>
std::optional<std::size_t> seat_of_arguments(const detail::ManagerCore& manager, const Args& args, const Kwargs& kwargs,
                                             F&& is_asked) {
  for (const Value& value : args) {
    if (is_asked(value)) {
      if (const auto seat = seat_of(manager, value)) return seat;
    }
  }
  for (const auto& [name, value] : kwargs) {
    if (is_asked(value)) {
      if (const auto seat = seat_of(manager, value)) return seat;
    }
  }
  return std::nullopt;
}

Result<Value> call_in(Result<detail::SessionCore> session, detail::ReplicaCore& core, std::string_view method, const Args& args,
                      const Kwargs& kwargs) {
  if (!session) return std::move(session.failure());
  const Result<deploy_object> object = core.local(*session);
  if (!object) return object.failure();
  return session->call_value(*object, method, args, kwargs, core.grad_mode(), detail::Opaque::kObject);
}

// On any interpreter that is free; where an Object without a session is among the arguments, on its interpreter. To look for one
// inside of containers costs time, so that is done only after an interpreter has refused the arguments.
Value call_on_any(detail::ReplicaCore& core, const Timeout& timeout, std::string_view method, const Args& args,
                  const Kwargs& kwargs) {
  detail::ManagerCore& manager = core.manager();
  const detail::Deadline deadline = deadline_of(timeout);
  std::optional<std::size_t> seat =
      seat_of_arguments(manager, args, kwargs, [](const Value& value) { return value.kind() == Value::Kind::kObject; });
  // A thread that holds a seat must not wait for another one: others may wait for it the other way round.
  const auto may_choose = [&] { return !manager.gate().held(); };
  Result<Value> result =
      call_in(seat && may_choose() ? manager.enter(*seat, deadline) : manager.enter_any(deadline), core, method, args, kwargs);
  if (!result && result.failure().code == ErrorCode::kWrongSession && !seat && may_choose()) {
    seat = seat_of_arguments(manager, args, kwargs, [](const Value&) { return true; });
    if (seat) result = call_in(manager.enter(*seat, deadline), core, method, args, kwargs);
  }
  return std::move(result).value();
}

}  // namespace

ReplicatedObject::ReplicatedObject(std::shared_ptr<detail::ReplicaCore> core, Timeout timeout) noexcept
    : core_(std::move(core)), timeout_(timeout) {}

ReplicatedObject ReplicatedObject::with_timeout(std::chrono::nanoseconds timeout) const { return ReplicatedObject(core_, timeout); }

Value ReplicatedObject::call(Args args, Kwargs kwargs) const { return call_on_any(*core_, timeout_, {}, args, kwargs); }

Value ReplicatedObject::call_method(std::string_view name, Args args, Kwargs kwargs) const {
  if (name.empty())
    throw Error(ErrorCode::kInvalidArgument, "call_method needs the name of a method; call() calls the object itself");
  return call_on_any(*core_, timeout_, name, args, kwargs);
}

ValueLimits ReplicatedObject::value_limits() const noexcept { return core_->manager().value_limits(); }

void ReplicatedObject::preload() const { core_->preload().value(); }

InterpreterSession ReplicatedObject::acquire_session() const {
  return InterpreterSession(std::make_unique<detail::SessionCore>(core_->manager().enter_any(deadline_of(timeout_)).value()));
}

}  // namespace deploy
