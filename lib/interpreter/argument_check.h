#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "deploy/value.h"
#include "deploy/value_limits.h"
#include "lib/interpreter/interpreter_core.h"
#include "lib/support/result.h"

namespace deploy::detail {

// Looks through the arguments of one call before anything of them goes to the guest, and counts them.
class ArgumentCheck {
 public:
  // For a guest of `core`, on a thread inside a session of it.
  explicit ArgumentCheck(const InterpreterCore& core) : core_(core), limits_(core.value_limits()) {}
  ArgumentCheck(const ArgumentCheck&) = delete;
  ArgumentCheck& operator=(const ArgumentCheck&) = delete;

  // The next argument; `keyword`: its name, or null. Fails for an empty tensor handle and for more than the limits
  // (kInvalidArgument), and for an Object of another session (kWrongSession). Throws std::bad_alloc.
  Result<void> add(const Value& value, const std::string* keyword) {
    ++arguments_;
    if (value.is_tensor() && value.as_tensor().defined()) return {};
    return look_into(value, keyword);
  }

  // How many Values there were: arguments, and items of containers.
  std::size_t values() const { return arguments_ + items_; }

 private:
  struct Level {
    const Value* container;
    std::size_t next;  // index of the item that comes next; of a dict, keys and values have one each
  };

  Result<void> look_into(const Value& value, const std::string* keyword);
  Result<void> add_leaf(const Value& value, const std::string* keyword);
  Result<void> open(const Value& container, const std::string* keyword);
  Result<void> add_bytes(std::size_t bytes);
  std::string name(const std::string* keyword) const;

  const InterpreterCore& core_;
  const ValueLimits& limits_;
  std::size_t arguments_ = 0, items_ = 0, bytes_ = 0;
  std::vector<Level> levels_;  // the containers around the one that is looked at
};

}  // namespace deploy::detail
