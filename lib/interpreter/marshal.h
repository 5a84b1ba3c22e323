#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "deploy/value.h"
#include "lib/interpreter/abi.h"
#include "lib/interpreter/interpreter_core.h"
#include "lib/interpreter/session_core.h"
#include "lib/support/result.h"

namespace deploy::detail {

inline deploy_text text(std::string_view view) { return {view.data(), view.size()}; }

// Value trees as the guest reads them. Points into the Values, which must outlive it. No allocation for a call with few arguments,
// the tensors' own aside.
class Arguments {
 public:
  // For a guest of `core`, on a thread inside a session of it.
  explicit Arguments(InterpreterCore& core) : core_(core) {}
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;
  ~Arguments();

  // Once, one of them. Fails for an empty tensor handle and for more than the interpreter's ValueLimits (kInvalidArgument), for an
  // Object of another session (kWrongSession), and where there is no memory (kSystem).
  Result<void> set(std::span<const Value> positional, std::span<const std::pair<std::string, Value>> keyword);
  Result<void> set(const Value& value) { return set({&value, 1}, {}); }

  // To be handed to the guest, exactly once: the tensors are its own from then on.
  const deploy_value* hand_over() {
    handed_over_ = true;
    return values_;
  }
  std::size_t size() const { return size_; }
  const deploy_text* keywords() const { return keywords_; }
  std::size_t keyword_count() const { return keyword_count_; }

 private:
  void lay_out(std::span<const Value> positional, std::span<const std::pair<std::string, Value>> keyword, std::size_t total);
  void expect(const Value& value);
  void fill(deploy_value& out);

  InterpreterCore& core_;
  bool handed_over_ = false;
  std::size_t size_ = 0, keyword_count_ = 0;
  std::size_t used_ = 0;  // of values_: the arguments, then what is inside containers
  deploy_value* values_ = nullptr;
  deploy_text* keywords_ = nullptr;
  std::array<deploy_value, 24> few_values_;
  std::array<deploy_text, 8> few_keywords_;
  std::unique_ptr<deploy_value[]> many_values_;
  std::unique_ptr<deploy_text[]> many_keywords_;
};

// Builds the Value that the guest describes.
class ValueSink : public deploy_sink {
 public:
  // `grad_mode`: of calls of the Objects that come.
  explicit ValueSink(InterpreterCore& core, Opaque opaque = Opaque::kFail, std::optional<GradMode> grad_mode = {});
  ValueSink(const ValueSink&) = delete;
  ValueSink& operator=(const ValueSink&) = delete;

  // What came, after the guest said that it succeeded.
  Result<Value> take();
  // Why there is nothing, after the guest has `reported` that it failed.
  Failure failed(Failure reported);

 private:
  struct Frame {
    Value::Kind kind;
    std::size_t size;
    bool has_key = false;  // a dict's last pair waits for its value
    std::vector<Value> items = {};
    std::vector<std::pair<Value, Value>> pairs = {};
  };

  template <class F>
  static void guarded(deploy_sink* self, F&& add) noexcept;
  void open(Value::Kind kind, std::size_t size);
  void place(Value value);
  static Value container(Frame frame);
  void add_tensor(DLManagedTensorVersioned* tensor, std::uint32_t library);
  void add_object(deploy_object object, deploy_text type);
  void fail(Failure failure);

  InterpreterCore& core_;
  const std::optional<GradMode> grad_mode_;
  std::vector<Frame> frames_;
  Value root_;
  bool complete_ = false;
  std::optional<Failure> failure_;
};

// Keeps the error that the guest reports.
class ErrorSink : public deploy_error {
 public:
  ErrorSink();
  ErrorSink(const ErrorSink&) = delete;
  ErrorSink& operator=(const ErrorSink&) = delete;

  // After the guest said that it failed.
  Failure take();

 private:
  std::optional<Failure> failure_;
};

}  // namespace deploy::detail
