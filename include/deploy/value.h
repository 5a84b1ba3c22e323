#pragma once

#include <complex>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "deploy/export.h"
#include "deploy/object.h"
#include "deploy/tensor.h"

namespace deploy {

// What crosses between the host and an interpreter: a tree of Python's plain data types, with tensors as leaves.
// A Value owns its tree (tensors are shared handles) and belongs to no interpreter. Const access is thread-safe. A tree may be as
// deep and as large as there is memory; how much of it crosses is bounded (deploy/value_limits.h).
//
//   None bool int float complex str bytes   list tuple dict   Tensor   Object
//
// From Python: a subclass converts as its base; any Mapping (Hugging Face's ModelOutput too) is a dict, a named tuple a tuple, a
// dataclass a dict of its fields; whatever has __dlpack__ is a Tensor, except a numpy.ma.MaskedArray, whose mask would be lost. An
// int outside int64 and any other type have no Value form. In the result of a ReplicatedObject's call they are Objects that belong
// to no session (deploy/object.h); Object::to_value() throws kNotAValue, naming the type. In arguments an Object is of the session
// that the call is made in, or of none. docs/values.md has examples.
class DEPLOY_API Value {
 public:
  enum class Kind : std::uint8_t { kNone, kBool, kInt, kFloat, kComplex, kStr, kBytes, kList, kTuple, kDict, kTensor, kObject };

  struct Bytes {
    std::string data;
    bool operator==(const Bytes&) const = default;
  };
  struct List {
    std::vector<Value> items;
  };
  struct Tuple {
    std::vector<Value> items;
  };
  struct Dict {
    std::vector<std::pair<Value, Value>> items;  // in Python's order; keys are unique where they came from Python
  };

  Value() noexcept = default;  // None
  Value(const Value& other) : data_(other.is_container() ? Data() : Data(other.data_)) {
    if (other.is_container()) copy_items(other);
  }
  Value(Value&& other) noexcept = default;
  Value& operator=(const Value& other) { return *this = Value(other); }
  Value& operator=(Value&& other) noexcept {
    const Data previous = is_container() ? std::move(data_) : Data();  // `other` may be inside it
    data_ = std::move(other.data_);
    return *this;
  }
  ~Value() {
    if (is_container()) destroy_items();
  }
  Value(std::nullptr_t) noexcept {}
  Value(bool value) noexcept : data_(value) {}
  template <class T>
    requires(std::integral<T> && !std::same_as<T, bool>)
  Value(T value) : data_(checked_int(value)) {}
  template <std::floating_point T>
  Value(T value) noexcept : data_(static_cast<double>(value)) {}
  Value(std::complex<double> value) noexcept : data_(value) {}
  Value(const char* utf8) : data_(std::string(utf8)) {}
  Value(std::string_view utf8) : data_(std::string(utf8)) {}
  Value(std::string utf8) noexcept : data_(std::move(utf8)) {}
  Value(Bytes bytes) noexcept : data_(std::move(bytes)) {}
  Value(List list) noexcept : data_(std::move(list)) {}
  Value(Tuple tuple) noexcept : data_(std::move(tuple)) {}
  Value(Dict dict) noexcept : data_(std::move(dict)) {}
  Value(Tensor tensor) noexcept : data_(std::move(tensor)) {}
  Value(Object object) noexcept : data_(std::move(object)) {}

  static Value list(std::vector<Value> items) { return List{std::move(items)}; }
  static Value tuple(std::vector<Value> items) { return Tuple{std::move(items)}; }
  static Value dict(std::vector<std::pair<Value, Value>> items) { return Dict{std::move(items)}; }
  static Value bytes(std::string data) { return Bytes{std::move(data)}; }

  Kind kind() const noexcept { return static_cast<Kind>(data_.index()); }
  // "None", "int", "Tensor", ...: as Python says it.
  std::string_view kind_name() const noexcept;
  bool is_none() const noexcept { return kind() == Kind::kNone; }
  bool is_tensor() const noexcept { return kind() == Kind::kTensor; }

  // Each throws kInvalidArgument, naming the kind found, where the value is of another kind. as_float takes an int too.
  bool as_bool() const;
  std::int64_t as_int() const;
  double as_float() const;
  std::complex<double> as_complex() const;
  const std::string& as_str() const;
  const std::string& as_bytes() const;
  const std::vector<Value>& items() const;  // of a list or a tuple
  const std::vector<std::pair<Value, Value>>& dict_items() const;
  const Tensor& as_tensor() const;
  const Object& as_object() const;

  // Element of a list or tuple. Throws kInvalidArgument for an index outside [0, size()).
  const Value& at(std::size_t index) const;
  // Element of a dict with str keys. Throws kNotFound, naming the keys there are.
  const Value& at(std::string_view key) const;
  // The same, or null where there is no such key.
  const Value* find(std::string_view key) const;
  // Of a list, tuple, dict, str or bytes.
  std::size_t size() const;

  // A short, readable form for messages and logs: {"logits": Tensor(float32[1, 2])}.
  std::string repr() const;

 private:
  using Data = std::variant<std::monostate, bool, std::int64_t, double, std::complex<double>, std::string, Bytes, List, Tuple, Dict,
                            Tensor, Object>;

  bool is_container() const noexcept { return kind() >= Kind::kList && kind() <= Kind::kDict; }
  void copy_items(const Value& container);
  void destroy_items() noexcept;
  static Value* last_item(Value& container) noexcept;
  static void drop_last_item(Value& container) noexcept;

  template <class T>
  static std::int64_t checked_int(T value) {
    if (std::in_range<std::int64_t>(value)) return static_cast<std::int64_t>(value);
    throw_int_out_of_range();
  }
  [[noreturn]] static void throw_int_out_of_range();
  [[noreturn]] void throw_wrong_kind(std::string_view expected) const;

  Data data_;
};

// Positional and keyword arguments of a call.
using Args = std::vector<Value>;
using Kwargs = std::vector<std::pair<std::string, Value>>;

template <class... Ts>
Object Object::operator()(Ts&&... args) const {
  Args values;
  values.reserve(sizeof...(args));
  (values.emplace_back(std::forward<Ts>(args)), ...);
  return call(std::move(values), {});
}

}  // namespace deploy
