#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "deploy/export.h"
#include "deploy/value_limits.h"

namespace deploy {

class InterpreterSession;
class Value;

// A handle on one Python object of one interpreter. Copies share the reference; the last one releases it. Dropping a handle is
// allowed anywhere at any time: the reference is then given back when the interpreter is next entered.
//
// One that a session gave belongs to that session (has_session()): it is usable only while the session is open, and only on its
// thread. Any use after the session ended, or as an argument on another interpreter, throws kWrongSession.
//
// One in the result of a ReplicatedObject's call stands for a part that has no Value form. It belongs to no session: any thread may
// use it at any time. Each use of it waits until its interpreter is free and enters it for as long as it takes, and the Objects
// that it gives are of this kind too. Sessions of its interpreter take it as an argument; a call of a ReplicatedObject with it runs
// on its interpreter. It does not keep the interpreter: kClosed once that has ended, or while its manager closes.
//
// A Python exception throws kPython, and the session goes on.
class DEPLOY_API Object {
 public:
  Object() noexcept = default;

  bool defined() const noexcept { return handle_ != nullptr; }

  // Calls the object. f({x, y}) or f(x, y).
  Object operator()(std::vector<Value> args) const;
  template <class... Ts>
  Object operator()(Ts&&... args) const;  // deploy/value.h, as a Value has to be complete in it
  // Overloads instead of default arguments, for which compilers want a complete Value.
  Object call(std::vector<Value> args) const;
  Object call(std::vector<Value> args, std::vector<std::pair<std::string, Value>> kwargs) const;
  Object call_method(std::string_view name) const;
  Object call_method(std::string_view name, std::vector<Value> args) const;
  Object call_method(std::string_view name, std::vector<Value> args, std::vector<std::pair<std::string, Value>> kwargs) const;

  Object attr(std::string_view name) const;
  // False only for AttributeError; any other exception is thrown.
  bool hasattr(std::string_view name) const;

  // Whether it belongs to a session (see above).
  bool has_session() const noexcept;

  // The plain data form (see Value). Throws kNotAValue, naming the type, where it has none.
  Value to_value() const;

  // How much may cross to and from its interpreter; the defaults where its session has ended.
  ValueLimits value_limits() const noexcept;

  // The type's qualified name, and str(object).
  std::string type_name() const;
  std::string str() const;

  // Whether the object belongs to `session`'s interpreter and may be used through it.
  bool is_owner(const InterpreterSession& session) const noexcept;

  struct Handle;  // internal
  explicit Object(std::shared_ptr<Handle> handle) noexcept : handle_(std::move(handle)) {}
  const std::shared_ptr<Handle>& handle() const noexcept { return handle_; }

 private:
  std::shared_ptr<Handle> handle_;
};

}  // namespace deploy

#include "deploy/value.h"  // completes Value, which is made of Objects
