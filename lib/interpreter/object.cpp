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

bool has_no_session(const Object::Handle& handle) { return handle.serial == Object::Handle::kNoSession; }

// A session for one use of an object that belongs to none.
detail::SessionCore own_session(const Object::Handle& handle) {
  std::shared_ptr<detail::InterpreterCore> core = handle.core.lock();
  if (!core) {
    throw Error(ErrorCode::kClosed, "interpreter " + std::to_string(handle.core_id) + ", which an Object is of, has ended");
  }
  return detail::SessionCore::open(std::move(core)).value();
}

// What `function` gives for the guest that `handle` is of; throws where the object may not be used.
template <class F>
auto inside(const std::shared_ptr<Object::Handle>& handle, F&& function) {
  if (!handle) empty_handle().raise();
  if (has_no_session(*handle)) {
    detail::SessionCore session = own_session(*handle);
    return function(static_cast<Guest&>(session)).value();
  }
  detail::ThreadEntry* entry = entry_of_open_session(*handle);
  if (!entry) not_in_session(*handle).raise();
  Guest guest(*entry->attached_core, *entry);
  return function(guest).value();
}

// What `function` makes of `handle`: it belongs to the same session, or to none. The name of its type is asked for with it there,
// so that it never has to be waited for.
template <class F>
Object made_of(const std::shared_ptr<Object::Handle>& handle, F&& function) {
  const auto make = [&](Guest& guest) -> Result<Object> {
    Result<detail::Reference> reference = function(guest);
    if (!reference) return std::move(reference.failure());
    Result<std::string> type = has_no_session(*handle) ? guest.type_name(reference->get()) : Result<std::string>(std::string());
    if (!type) return std::move(type.failure());
    return Object(std::make_shared<Object::Handle>(*std::move(reference), handle->slot, handle->core_id, handle->serial,
                                                   handle->grad_mode, handle->core, *std::move(type)));
  };
  return inside(handle, make);
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
  return made_of(handle_,
                 [&](Guest& guest) { return guest.call(handle_->reference.get(), name, args, kwargs, handle_->grad_mode); });
}

Object Object::attr(std::string_view name) const {
  return made_of(handle_, [&](Guest& guest) { return guest.attr(handle_->reference.get(), name); });
}

bool Object::hasattr(std::string_view name) const {
  return inside(handle_, [&](Guest& guest) { return guest.hasattr(handle_->reference.get(), name); });
}

Value Object::to_value() const {
  return inside(handle_, [&](Guest& guest) { return guest.to_value(handle_->reference.get()); });
}

bool Object::has_session() const noexcept { return handle_ && !has_no_session(*handle_); }

ValueLimits Object::value_limits() const noexcept {
  if (handle_ && has_no_session(*handle_)) {
    const detail::MustNotBlock scope;
    const std::shared_ptr<detail::InterpreterCore> core = handle_->core.lock();
    return core ? core->value_limits() : ValueLimits();
  }
  const detail::ThreadEntry* entry = handle_ ? detail::find_thread_entry(handle_->slot, handle_->core_id) : nullptr;
  return entry && entry->depth > 0 ? entry->attached_core->value_limits() : ValueLimits();
}

std::string Object::type_name() const {
  if (handle_ && !handle_->type.empty()) return handle_->type;
  return inside(handle_, [&](Guest& guest) { return guest.type_name(handle_->reference.get()); });
}

std::string Object::str() const {
  return inside(handle_, [&](Guest& guest) { return guest.str(handle_->reference.get()); });
}

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
  if (!has_no_session(handle) && !entry_of_open_session(handle)) return not_in_session(handle);
  return handle.reference.get();
}

}  // namespace detail
}  // namespace deploy
