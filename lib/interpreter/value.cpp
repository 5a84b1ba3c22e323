#include "deploy/value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "deploy/error.h"
#include "lib/interpreter/object_handle.h"

namespace deploy {

namespace {

constexpr std::array<std::string_view, 12> kKindNames = {"None",  "bool", "int",   "float", "complex", "str",
                                                         "bytes", "list", "tuple", "dict",  "Tensor",  "Object"};

// Longer texts and containers are cut in repr(): it is for messages.
constexpr std::size_t kMaxText = 80;
constexpr std::size_t kMaxItems = 8;
constexpr int kMaxDepth = 6;
constexpr std::size_t kMaxLength = 4000;

void append_float(std::string& out, double value) {
  if (std::isnan(value)) {
    out += "nan";
    return;
  }
  if (std::isinf(value)) {
    out += value < 0 ? "-inf" : "inf";
    return;
  }
  std::array<char, 32> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  const std::string_view text(digits.data(), static_cast<std::size_t>(end - digits.data()));
  out += text;
  if (text.find_first_of(".e") == std::string_view::npos) out += ".0";
}

// Text stays valid UTF-8: it is cut between characters, and of bytes everything but ASCII is escaped.
void append_quoted(std::string& out, std::string_view text, bool is_bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::size_t length = std::min(text.size(), kMaxText);
  while (!is_bytes && length > 0 && length < text.size() && (text[length] & 0xc0) == 0x80) --length;
  out += '"';
  for (const char c : text.substr(0, length)) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (code < 0x20 || (is_bytes && code >= 0x7f)) {
      out += "\\x";
      out += kHex[code >> 4];
      out += kHex[code & 15];
    } else {
      out += c;
    }
  }
  out += length < text.size() ? "...\"" : "\"";
}

void append_tensor(std::string& out, const Tensor& tensor) {
  if (!tensor.defined()) {
    out += "Tensor(empty handle)";
    return;
  }
  out += "Tensor(" + to_string(tensor.dtype()) + "[";
  const auto shape = tensor.shape();
  for (std::size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
  out += "])";
}

// The type is known without asking the interpreter where the object belongs to no session.
void append_object(std::string& out, const Object& object) {
  out += "Object";
  if (object.handle() && !object.handle()->type.empty()) out += "(" + object.handle()->type + ")";
}

void append(std::string& out, const Value& value, int depth);

void append_items(std::string& out, const std::vector<Value>& items, const char* brackets, int depth) {
  out += brackets[0];
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i) out += ", ";
    if (i == kMaxItems || depth == kMaxDepth || out.size() > kMaxLength) {
      out += "...";
      break;
    }
    append(out, items[i], depth + 1);
  }
  if (items.size() == 1 && brackets[0] == '(') out += ',';
  out += brackets[1];
}

void append_dict(std::string& out, const std::vector<std::pair<Value, Value>>& items, int depth) {
  out += '{';
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i) out += ", ";
    if (i == kMaxItems || depth == kMaxDepth || out.size() > kMaxLength) {
      out += "...";
      break;
    }
    append(out, items[i].first, depth + 1);
    out += ": ";
    append(out, items[i].second, depth + 1);
  }
  out += '}';
}

void append(std::string& out, const Value& value, int depth) {
  switch (value.kind()) {
    case Value::Kind::kNone:
      out += "None";
      break;
    case Value::Kind::kBool:
      out += value.as_bool() ? "True" : "False";
      break;
    case Value::Kind::kInt:
      out += std::to_string(value.as_int());
      break;
    case Value::Kind::kFloat:
      append_float(out, value.as_float());
      break;
    case Value::Kind::kComplex: {
      const auto number = value.as_complex();
      out += "complex(";
      append_float(out, number.real());
      out += ", ";
      append_float(out, number.imag());
      out += ")";
      break;
    }
    case Value::Kind::kStr:
      append_quoted(out, value.as_str(), false);
      break;
    case Value::Kind::kBytes:
      out += 'b';
      append_quoted(out, value.as_bytes(), true);
      break;
    case Value::Kind::kList:
      append_items(out, value.items(), "[]", depth);
      break;
    case Value::Kind::kTuple:
      append_items(out, value.items(), "()", depth);
      break;
    case Value::Kind::kDict:
      append_dict(out, value.dict_items(), depth);
      break;
    case Value::Kind::kTensor:
      append_tensor(out, value.as_tensor());
      break;
    case Value::Kind::kObject:
      append_object(out, value.as_object());
      break;
  }
}

}  // namespace

std::string_view Value::kind_name() const noexcept { return kKindNames[data_.index()]; }

bool Value::as_bool() const {
  if (const auto* value = std::get_if<bool>(&data_)) return *value;
  throw_wrong_kind("bool");
}

std::int64_t Value::as_int() const {
  if (const auto* value = std::get_if<std::int64_t>(&data_)) return *value;
  throw_wrong_kind("int");
}

double Value::as_float() const {
  if (const auto* value = std::get_if<double>(&data_)) return *value;
  if (const auto* value = std::get_if<std::int64_t>(&data_)) return static_cast<double>(*value);
  throw_wrong_kind("float");
}

std::complex<double> Value::as_complex() const {
  if (const auto* value = std::get_if<std::complex<double>>(&data_)) return *value;
  throw_wrong_kind("complex");
}

const std::string& Value::as_str() const {
  if (const auto* value = std::get_if<std::string>(&data_)) return *value;
  throw_wrong_kind("str");
}

const std::string& Value::as_bytes() const {
  if (const auto* value = std::get_if<Bytes>(&data_)) return value->data;
  throw_wrong_kind("bytes");
}

const std::vector<Value>& Value::items() const {
  if (const auto* value = std::get_if<List>(&data_)) return value->items;
  if (const auto* value = std::get_if<Tuple>(&data_)) return value->items;
  throw_wrong_kind("list or tuple");
}

const std::vector<std::pair<Value, Value>>& Value::dict_items() const {
  if (const auto* value = std::get_if<Dict>(&data_)) return value->items;
  throw_wrong_kind("dict");
}

const Tensor& Value::as_tensor() const {
  if (const auto* value = std::get_if<Tensor>(&data_)) return *value;
  throw_wrong_kind("Tensor");
}

const Object& Value::as_object() const {
  if (const auto* value = std::get_if<Object>(&data_)) return *value;
  throw_wrong_kind("Object");
}

const Value& Value::at(std::size_t index) const {
  const auto& all = items();
  if (index < all.size()) return all[index];
  throw Error(ErrorCode::kInvalidArgument, "index " + std::to_string(index) + " of a " + std::string(kind_name()) + " of " +
                                               std::to_string(all.size()) + " elements");
}

const Value& Value::at(std::string_view key) const {
  if (const Value* value = find(key)) return *value;
  std::string keys;
  for (const auto& [name, value] : dict_items()) {
    if (!keys.empty()) keys += ", ";
    if (keys.size() > kMaxLength) {
      keys += "... (" + std::to_string(size()) + " in all)";
      break;
    }
    keys += name.repr();
  }
  throw Error(ErrorCode::kNotFound,
              "no key \"" + std::string(key) + "\" in a dict with " + (keys.empty() ? "no keys" : "the keys " + keys));
}

const Value* Value::find(std::string_view key) const {
  for (const auto& [name, value] : dict_items()) {
    const auto* text = std::get_if<std::string>(&name.data_);
    if (text && *text == key) return &value;
  }
  return nullptr;
}

std::size_t Value::size() const {
  switch (kind()) {
    case Kind::kStr:
      return as_str().size();
    case Kind::kBytes:
      return as_bytes().size();
    case Kind::kDict:
      return dict_items().size();
    case Kind::kList:
    case Kind::kTuple:
      return items().size();
    default:
      throw_wrong_kind("list, tuple, dict, str or bytes");
  }
}

std::string Value::repr() const {
  std::string out;
  append(out, *this, 0);
  return out;
}

void Value::throw_int_out_of_range() {
  throw Error(ErrorCode::kInvalidArgument,
              "an integer larger than 9223372036854775807, the largest int that a deploy::Value holds");
}

void Value::throw_wrong_kind(std::string_view expected) const {
  throw Error(ErrorCode::kInvalidArgument, "expected a value of kind " + std::string(expected) + ", found " +
                                               std::string(kind_name()) + (kind() == Kind::kNone ? "" : ": " + repr()));
}

}  // namespace deploy
