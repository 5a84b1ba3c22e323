#pragma once

// The bridge to libtorch, for hosts that link it: header-only, so that libdeploy itself depends on no libtorch (D2). Needs
// PyTorch 2.9 or later, and RTTI and exceptions, as libtorch's own headers do.
//
//   deploy::Value y = model(deploy::from_tensor(x));
//   at::Tensor t = deploy::to_tensor(y);
//
// Tensors share memory in both directions, whatever their device and strides; the memory lives until the last of both sides is
// gone. What is not memory does not cross: an at::Tensor that requires grad crosses as its detached data (writes on the other side
// are seen, gradients do not flow), and what comes back never requires grad. All functions are thread-safe, and throw
// deploy::Error.

#include <ATen/ATen.h>
#include <ATen/DLConvertor.h>
#include <ATen/core/Dict.h>
#include <ATen/core/List.h>
#include <ATen/core/ivalue.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "deploy/error.h"
#include "deploy/tensor.h"
#include "deploy/value.h"
#include "deploy/value_limits.h"

namespace deploy {

// An at::Tensor as a Value of kind Tensor, over the same memory; an undefined one is None. A lazy conjugate or negation is computed
// first, into a copy. Throws kInvalidArgument for what is no strided memory (sparse, quantized, meta), and for element types that
// DLPack does not have.
inline Value from_tensor(const at::Tensor& tensor);

// An at::Tensor over the same memory. Throws kInvalidArgument for an empty handle, a value that is no tensor, and element types or
// devices that this libtorch does not have. PyTorch has no read-only tensors: do not write to one made from a tensor that is
// read_only().
inline at::Tensor to_tensor(const Tensor& tensor);
inline at::Tensor to_tensor(const Value& value);

// None, bool, int, double, complex, str, Tensor; lists, tuples and dicts of these. Throws kNotAValue, naming the tag, for anything
// else, and for more than the default ValueLimits, in depth or number: a list that is inside itself ends there.
inline Value from_ivalue(const c10::IValue& value);

// The reverse, typed as TorchScript wants it: a list whose items are all tensors (int, float, bool, str) is a List[Tensor]
// (List[int] ...), any other a List[Any]; a dict's keys and values likewise, with keys of one type: str, int, float or bool. Throws
// kInvalidArgument for bytes, Objects and other dict keys, which TorchScript does not have, and for a value that is nested deeper
// than the default ValueLimits, which libtorch could not destroy.
inline c10::IValue to_ivalue(const Value& value);

namespace detail {

// Of the exception that is being handled.
[[noreturn]] inline void throw_not_convertible(const std::string& what) {
  std::string reason;
  try {
    throw;
  } catch (const c10::Error& error) {
    reason = error.what_without_backtrace();
  } catch (const std::exception& error) {
    reason = error.what();
  }
  throw Error(ErrorCode::kInvalidArgument, what + ": " + reason);
}

// The type that the items have in common, for a typed list or dict; Any where they differ or there are none.
inline c10::TypePtr common_type(const std::vector<const Value*>& items) {
  if (items.empty()) return c10::AnyType::get();
  for (const Value* item : items) {
    if (item->kind() != items[0]->kind()) return c10::AnyType::get();
  }
  switch (items[0]->kind()) {
    case Value::Kind::kTensor:
      return c10::TensorType::get();
    case Value::Kind::kInt:
      return c10::IntType::get();
    case Value::Kind::kFloat:
      return c10::FloatType::get();
    case Value::Kind::kBool:
      return c10::BoolType::get();
    case Value::Kind::kStr:
      return c10::StringType::get();
    default:
      return c10::AnyType::get();
  }
}

// What one conversion may still do: how deep it is, and how many items it has met.
class Conversion {
 public:
  // One level deeper, for as long as it lives.
  class Level {
   public:
    Level(Conversion& conversion, ErrorCode code, std::size_t items) : conversion_(conversion) {
      const ValueLimits limits;
      conversion.items_ += items;
      if (conversion.depth_ == limits.depth || conversion.items_ > limits.items) {
        const std::string limit = conversion.depth_ == limits.depth
                                      ? "containers more than " + std::to_string(limits.depth) + " levels deep inside each other"
                                      : "more than " + std::to_string(limits.items) + " items";
        throw Error(code, "a value with " + limit + " cannot be converted; is a container inside itself?");
      }
      ++conversion.depth_;
    }
    ~Level() { --conversion_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Conversion& conversion_;
  };

 private:
  std::size_t depth_ = 0, items_ = 0;
};

inline Value from_ivalue(const c10::IValue& value, Conversion& conversion);
inline c10::IValue to_ivalue(const Value& value, Conversion& conversion);

inline c10::IValue to_list(const Value& value, Conversion& conversion) {
  std::vector<const Value*> items;
  for (const Value& item : value.items()) items.push_back(&item);
  c10::impl::GenericList list(common_type(items));
  list.reserve(items.size());
  const Conversion::Level level(conversion, ErrorCode::kInvalidArgument, items.size());
  for (const Value* item : items) list.push_back(to_ivalue(*item, conversion));
  return list;
}

inline c10::IValue to_tuple(const Value& value, Conversion& conversion) {
  std::vector<c10::IValue> items;
  items.reserve(value.size());
  const Conversion::Level level(conversion, ErrorCode::kInvalidArgument, value.size());
  for (const Value& item : value.items()) items.push_back(to_ivalue(item, conversion));
  return c10::ivalue::Tuple::create(std::move(items));
}

inline c10::IValue to_dict(const Value& value, Conversion& conversion) {
  std::vector<const Value*> keys, values;
  for (const auto& [key, item] : value.dict_items()) {
    keys.push_back(&key);
    values.push_back(&item);
  }
  c10::TypePtr key_type = keys.empty() ? c10::TypePtr(c10::StringType::get()) : common_type(keys);
  if (key_type->kind() == c10::TypeKind::AnyType || key_type->kind() == c10::TypeKind::TensorType) {
    throw Error(ErrorCode::kInvalidArgument,
                "a dict for TorchScript needs keys of one type (str, int, float or bool); found " + value.repr());
  }
  c10::impl::GenericDict dict(key_type, common_type(values));
  const Conversion::Level level(conversion, ErrorCode::kInvalidArgument, 2 * keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) dict.insert(to_ivalue(*keys[i], conversion), to_ivalue(*values[i], conversion));
  return dict;
}

}  // namespace detail

inline Value from_tensor(const at::Tensor& tensor) {
  if (!tensor.defined()) return Value();
  if (tensor.layout() != at::kStrided || tensor.is_quantized() || tensor.is_meta()) {
    throw Error(ErrorCode::kInvalidArgument, "an at::Tensor that is " +
                                                 std::string(tensor.is_quantized() ? "quantized"
                                                             : tensor.is_meta()    ? "meta"
                                                                                   : "sparse") +
                                                 " has no strided memory to share; convert it first");
  }
  DLManagedTensorVersioned* managed = nullptr;
  try {
    managed = at::toDLPackVersioned(tensor.detach().resolve_conj().resolve_neg());
  } catch (const std::exception&) {
    detail::throw_not_convertible(std::string("an at::Tensor of ") + c10::toString(tensor.scalar_type()));
  }
  try {
    return Tensor::from_dlpack(managed).with_library(TensorLibrary::kTorch);
  } catch (...) {
    managed->deleter(managed);
    throw;
  }
}

inline at::Tensor to_tensor(const Tensor& tensor) {
  DLManagedTensorVersioned* managed = tensor.to_dlpack();
  try {
    return at::fromDLPackVersioned(managed);
  } catch (const std::exception&) {
    managed->deleter(managed);
    detail::throw_not_convertible("a deploy::Tensor of " + to_string(tensor.dtype()));
  }
}

inline at::Tensor to_tensor(const Value& value) { return to_tensor(value.as_tensor()); }

inline Value from_ivalue(const c10::IValue& value) {
  detail::Conversion conversion;
  return detail::from_ivalue(value, conversion);
}

inline c10::IValue to_ivalue(const Value& value) {
  detail::Conversion conversion;
  return detail::to_ivalue(value, conversion);
}

namespace detail {

inline Value from_ivalue(const c10::IValue& value, Conversion& conversion) {
  if (value.isNone()) return Value();
  if (value.isTensor()) return from_tensor(value.toTensor());
  if (value.isBool()) return value.toBool();
  if (value.isInt()) return value.toInt();
  if (value.isDouble()) return value.toDouble();
  if (value.isComplexDouble()) {
    const auto number = value.toComplexDouble();
    return std::complex<double>(number.real(), number.imag());
  }
  if (value.isString()) return value.toStringRef();
  std::vector<Value> items;
  if (value.isList()) {
    const c10::List<c10::IValue> list = value.toList();
    const Conversion::Level level(conversion, ErrorCode::kNotAValue, list.size());
    for (const c10::IValue& item : list.vec()) items.push_back(from_ivalue(item, conversion));
    return Value::list(std::move(items));
  }
  if (value.isTuple()) {
    const auto& elements = value.toTupleRef().elements();
    const Conversion::Level level(conversion, ErrorCode::kNotAValue, elements.size());
    for (const c10::IValue& item : elements) items.push_back(from_ivalue(item, conversion));
    return Value::tuple(std::move(items));
  }
  if (value.isGenericDict()) {
    std::vector<std::pair<Value, Value>> pairs;
    const auto dict = value.toGenericDict();
    const Conversion::Level level(conversion, ErrorCode::kNotAValue, 2 * dict.size());
    for (const auto& item : dict) pairs.emplace_back(from_ivalue(item.key(), conversion), from_ivalue(item.value(), conversion));
    return Value::dict(std::move(pairs));
  }
  throw Error(ErrorCode::kNotAValue, "a c10::IValue with the tag " + value.tagKind() + " has no deploy::Value form");
}

inline c10::IValue to_ivalue(const Value& value, Conversion& conversion) {
  switch (value.kind()) {
    case Value::Kind::kNone:
      return c10::IValue();
    case Value::Kind::kBool:
      return value.as_bool();
    case Value::Kind::kInt:
      return value.as_int();
    case Value::Kind::kFloat:
      return value.as_float();
    case Value::Kind::kComplex:
      return c10::complex<double>(value.as_complex().real(), value.as_complex().imag());
    case Value::Kind::kStr:
      return value.as_str();
    case Value::Kind::kList:
      return to_list(value, conversion);
    case Value::Kind::kTuple:
      return to_tuple(value, conversion);
    case Value::Kind::kDict:
      return to_dict(value, conversion);
    case Value::Kind::kTensor:
      return to_tensor(value);
    case Value::Kind::kBytes:
    case Value::Kind::kObject:
      break;
  }
  throw Error(ErrorCode::kInvalidArgument, "a value of kind " + std::string(value.kind_name()) + " has no c10::IValue form");
}

}  // namespace detail
}  // namespace deploy
