#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "deploy/error.h"

namespace deploy {

// A failure as data, for code that does not throw: the loader, parsers, everything below the public API.
struct Failure {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
  std::string python_type = {};
  std::string traceback = {};

  [[noreturn]] void raise() const { throw Error(code, message, python_type, traceback); }

  // The same failure, said of a larger thing: "libx.so: not an ELF file" -> "liby.so needs libx.so: ...".
  Failure within(std::string_view context) && {
    message.insert(0, std::string(context) + ": ");
    return std::move(*this);
  }
};

// Either a T or a Failure. Test before use; value() of a failure throws deploy::Error.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Failure failure) : state_(std::in_place_index<1>, std::move(failure)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& operator*() & { return std::get<0>(state_); }
  const T& operator*() const& { return std::get<0>(state_); }
  T&& operator*() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }
  T value() && {
    if (!ok()) failure().raise();
    return std::get<0>(std::move(state_));
  }
  Failure& failure() { return std::get<1>(state_); }
  const Failure& failure() const { return std::get<1>(state_); }

 private:
  std::variant<T, Failure> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Failure failure) : failure_(std::move(failure)) {}

  bool ok() const { return !failure_; }
  explicit operator bool() const { return ok(); }
  void value() const {
    if (failure_) failure_->raise();
  }
  Failure& failure() { return *failure_; }
  const Failure& failure() const { return *failure_; }

 private:
  std::optional<Failure> failure_;
};

}  // namespace deploy
