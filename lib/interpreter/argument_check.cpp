#include "lib/interpreter/argument_check.h"

#include "lib/interpreter/object_handle.h"

namespace deploy::detail {

namespace {

bool is_container(const Value& value) { return value.kind() >= Value::Kind::kList && value.kind() <= Value::Kind::kDict; }

std::size_t item_count(const Value& container) {
  return container.kind() == Value::Kind::kDict ? 2 * container.size() : container.size();
}

const Value& item_at(const Value& container, std::size_t index) {
  if (container.kind() != Value::Kind::kDict) return container.items()[index];
  const auto& [key, item] = container.dict_items()[index / 2];
  return index % 2 ? item : key;
}

}  // namespace

std::string ArgumentCheck::name(const std::string* keyword) const {
  return "argument " + (keyword ? *keyword : std::to_string(arguments_ - 1));
}

Result<void> ArgumentCheck::add_bytes(std::size_t bytes) {
  bytes_ += bytes;
  if (bytes_ <= limits_.bytes) return {};
  return Failure{ErrorCode::kInvalidArgument, "the arguments of the call take more than " + std::to_string(limits_.bytes) +
                                                  " bytes, which is the limit (Environment::value_limits.bytes); pass large data "
                                                  "as tensors, or raise the limit"};
}

Result<void> ArgumentCheck::add_leaf(const Value& value, const std::string* keyword) {
  switch (value.kind()) {
    case Value::Kind::kStr:
    case Value::Kind::kBytes:
      return add_bytes(value.size());
    case Value::Kind::kTensor:
      if (value.as_tensor().defined()) return {};
      return Failure{ErrorCode::kInvalidArgument,
                     name(keyword) + " is an empty deploy::Tensor; pass None (deploy::Value()) where a model takes none"};
    case Value::Kind::kObject:
      if (auto object = usable_object(value.as_object(), core_); !object) return object.failure();
      return {};
    default:
      return {};
  }
}

Result<void> ArgumentCheck::open(const Value& container, const std::string* keyword) {
  const std::size_t count = item_count(container);
  items_ += count;
  if (levels_.size() >= limits_.depth) {
    return Failure{ErrorCode::kInvalidArgument, name(keyword) + " has containers more than " + std::to_string(limits_.depth) +
                                                    " levels deep inside each other, which is the limit "
                                                    "(Environment::value_limits.depth); pass it flatter, or raise the limit"};
  }
  if (items_ > limits_.items) {
    return Failure{ErrorCode::kInvalidArgument, "the arguments of the call hold more than " + std::to_string(limits_.items) +
                                                    " items, which is the limit (Environment::value_limits.items); pass large data "
                                                    "as tensors, or raise the limit"};
  }
  levels_.push_back({&container, 0});
  return add_bytes(count * sizeof(Value));
}

Result<void> ArgumentCheck::look_into(const Value& value, const std::string* keyword) {
  levels_.clear();
  if (!is_container(value)) return add_leaf(value, keyword);
  if (auto opened = open(value, keyword); !opened) return opened;
  while (!levels_.empty()) {
    const Value& container = *levels_.back().container;
    std::size_t next = levels_.back().next;
    const std::size_t end = item_count(container);
    while (next < end) {
      const Value& item = item_at(container, next++);
      if (is_container(item)) {
        levels_.back().next = next;
        if (auto opened = open(item, keyword); !opened) return opened;
        break;
      }
      if (auto added = add_leaf(item, keyword); !added) return added;
    }
    if (levels_.back().container == &container) levels_.pop_back();
  }
  return {};
}

}  // namespace deploy::detail
