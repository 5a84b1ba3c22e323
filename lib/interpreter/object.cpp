#include "deploy/object.h"

#include <algorithm>
#include <string>

#include "deploy/error.h"
#include "deploy/interpreter.h"
#include "deploy/value.h"
#include "lib/interpreter/object_handle.h"
#include "lib/interpreter/process.h"
#include "lib/interpreter/session_core.h"

namespace deploy {

namespace {

using detail::Guest;

// The calling thread's entry, where it is inside the very session that made the object.
detail::ThreadEntry* entry_of_open_session(const Object::Handle& handle) {
  detail::ThreadEntry* entry = detail::find_thread_entry(handle.slot, handle.core_id);
  return entry && std::ranges::find(entry->open, handle.serial) != entry->open.end() ? entry : nullptr;
}

Failure not_in_session(const Object::Handle& handle) {
  const std::string which = "an Object of interpreter " + std::to_string(handle.core_id);
  const detail::ThreadEntry* entry = detail::find_thread_entry(handle.slot, handle.core_id);
  if (entry && entry->depth > 0) {
    return {ErrorCode::kWrongSession, which + " was used in another session than its own, which has ended or is another thread's"};
  }
  return {ErrorCode::kWrongSession, which +
                                        " was used outside of its session, which has ended or is another thread's; an Object lives "
                                        "as long as the session it came from"};
}

Failure empty_handle() { return {ErrorCode::kInvalidArgument, "an empty deploy::Object was used"}; }

// The guest, for a call on `handle`; throws where the object may not be used.
Guest enter(const std::shared_ptr<Object::Handle>& handle) {
  if (!handle) empty_handle().raise();
  detail::ThreadEntry* entry = entry_of_open_session(*handle);
  if (!entry) not_in_session(*handle).raise();
  return Guest(*entry->attached_core, *entry);
}

// The result of a call on `handle` belongs to the same session.
Object same_session(const Object::Handle& handle, detail::Reference reference) {
  return Object(
      std::make_shared<Object::Handle>(std::move(reference), handle.slot, handle.core_id, handle.serial, handle.grad_mode));
}

}  // namespace

Object Object::operator()(std::vector<Value> args) const { return call(std::move(args), {}); }

Object Object::call(std::vector<Value> args) const { return call(std::move(args), {}); }

Object Object::call(std::vector<Value> args, std::vector<std::pair<std::string, Value>> kwargs) const {
  return call_method({}, std::move(args), std::move(kwargs));
}

Object Object::call_method(std::string_view name) const { return call_method(name, {}, {}); }

Object Object::call_method(std::string_view name, std::vector<Value> args) const { return call_method(name, std::move(args), {}); }

Object Object::call_method(std::string_view name, std::vector<Value> args,
                           std::vector<std::pair<std::string, Value>> kwargs) const {
  Guest guest = enter(handle_);
  return same_session(*handle_, guest.call(handle_->reference.get(), name, args, kwargs, handle_->grad_mode).value());
}

Object Object::attr(std::string_view name) const {
  Guest guest = enter(handle_);
  return same_session(*handle_, guest.attr(handle_->reference.get(), name).value());
}

bool Object::hasattr(std::string_view name) const { return enter(handle_).hasattr(handle_->reference.get(), name).value(); }
Value Object::to_value() const { return enter(handle_).to_value(handle_->reference.get()).value(); }

ValueLimits Object::value_limits() const noexcept {
  const detail::ThreadEntry* entry = handle_ ? detail::find_thread_entry(handle_->slot, handle_->core_id) : nullptr;
  return entry && entry->depth > 0 ? entry->attached_core->value_limits() : ValueLimits();
}

std::string Object::type_name() const { return enter(handle_).type_name(handle_->reference.get()).value(); }
std::string Object::str() const { return enter(handle_).str(handle_->reference.get()).value(); }

bool Object::is_owner(const InterpreterSession& session) const noexcept {
  if (!handle_ || session.closed()) return false;
  try {
    return session.core().unwrap(*this).ok();
  } catch (const Error&) {  // the session is another thread's
    return false;
  }
}

namespace detail {

Result<deploy_object> usable_object(const Object& object, const InterpreterCore& core) {
  if (!object.defined()) return empty_handle();
  const Object::Handle& handle = *object.handle();
  if (handle.core_id != core.id()) {
    return Failure{ErrorCode::kWrongSession, "an Object of interpreter " + std::to_string(handle.core_id) +
                                                 " was used in a session of interpreter " + std::to_string(core.id()) +
                                                 "; only Values cross between interpreters"};
  }
  if (!entry_of_open_session(handle)) return not_in_session(handle);
  return handle.reference.get();
}

}  // namespace detail
}  // namespace deploy
