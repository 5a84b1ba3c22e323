#include "bindings/values.h"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <complex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/errors.h"
#include "bindings/host_tensors.h"
#include "bindings/refusals.h"
#include "bindings/text.h"

namespace deploy::bindings {

namespace {

// A message spells this many of the innermost steps.
constexpr std::size_t kSpeltSteps = 12;

// A container that is inside itself is looked for from this many of the outermost levels.
constexpr std::size_t kCheckedLevels = 64;

// A key of a path has at most so many characters.
constexpr std::size_t kSpeltKey = 60;

// Once in so many objects Ctrl-C is looked for.
constexpr std::size_t kSignals = 65536;

// Where the interpreter's limit is not known.
constexpr std::size_t kDefaultBytes = std::size_t{4} << 30;

// What could not be converted.
struct NoValue {
  std::string message;
};

nb::object checked(PyObject* object) {
  if (!object) throw nb::python_error();
  return nb::steal(object);
}

Value convert_int(nb::handle object) {
  int overflow = 0;
  long long value = PyLong_AsLongLongAndOverflow(object.ptr(), &overflow);
  if (overflow) throw NoValue{"an int outside the range of int64"};
  if (value == -1 && PyErr_Occurred()) throw nb::python_error();
  return value;
}

std::string_view utf8_of(nb::handle object) {
  Py_ssize_t size = 0;
  const char* utf8 = PyUnicode_AsUTF8AndSize(object.ptr(), &size);
  if (utf8) return {utf8, static_cast<std::size_t>(size)};
  if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) throw nb::python_error();
  PyErr_Clear();
  throw NoValue{"a str with surrogates, which has no UTF-8 form"};
}

Value convert_tensor(nb::handle object) {
  try {
    return from_host_tensor(object);
  } catch (const nb::python_error& error) {
    const std::string type = name_of_type(object);
    throw NoValue{"a " + type + " that cannot be exported with DLPack (" + describe(error) + ")" +
                  (type == "numpy.ndarray"  ? "; pass array.tolist(), or an array of numbers"
                   : type == "torch.Tensor" ? "; pass tensor.to_dense(), tensor.dequantize(), or its parts"
                                            : "")};
  } catch (const Error& error) {
    throw NoValue{"a " + name_of_type(object) + " that cannot be exported with DLPack (" + error.message() + ")"};
  }
}

bool is_mapping(nb::handle object) {
  static PyObject* const mapping = nb::module_::import_("collections.abc").attr("Mapping").inc_ref().ptr();
  int result = PyObject_IsInstance(object.ptr(), mapping);
  if (result < 0) throw nb::python_error();
  return result == 1;
}

// float32(1.5), int64(7), bool_(True) and so on, where the process has numpy at all.
bool is_numpy_scalar(nb::handle object) {
  PyObject* numpy = PyDict_GetItemString(PyImport_GetModuleDict(), "numpy");
  if (!numpy || !nb::hasattr(numpy, "generic")) return false;
  int result = PyObject_IsInstance(object.ptr(), nb::handle(numpy).attr("generic").ptr());
  if (result < 0) PyErr_Clear();
  return result == 1;
}

[[noreturn]] void throw_no_value(nb::handle object, const std::string& instead) {
  throw NoValue{"a " + name_of_type(object) +
                ", expected None, bool, int, float, complex, str, bytes, list, tuple, a mapping, anything with "
                "__dlpack__, or an Object of the same session" +
                instead};
}

// Converts one object after the other, depth first; the containers around the one that is converted are on a stack.
class Reader {
 public:
  explicit Reader(const ValueLimits& limits)
      : limits_(limits), items_left_(limits.items), bytes_left_(limits.bytes ? limits.bytes : kDefaultBytes) {}

  // Throws kNotAValue; messages call the object `what`.
  Value read(nb::handle object, std::string_view what);

 private:
  struct Level {
    Value::Kind kind;
    nb::object container;
    nb::object source;  // a list or tuple; of a mapping the list of its items
    Py_ssize_t next = 0;
    nb::object key = {}, item = {};  // what is converted now; of a list or tuple there is no key
    bool at_key = false;
    std::vector<Value> items = {};
    std::vector<std::pair<Value, Value>> pairs = {};
  };

  std::optional<Value> begin(nb::handle object);
  std::optional<Value> begin_other(nb::handle object);
  void open(Value::Kind kind, nb::handle container, nb::object source);
  nb::object items_of(nb::handle mapping);
  nb::object next(Level& level);
  static bool is_at_end(const Level& level);
  static void add(Level& level, Value value);
  static Value close(Level level);
  Value convert(nb::handle object);
  Value convert_bytes(const char* data, Py_ssize_t size);
  std::string path() const;
  void check_depth(nb::handle container);
  void take_bytes(std::size_t bytes);
  [[noreturn]] void throw_too_many_items() const;

  const ValueLimits limits_;
  std::size_t items_left_, bytes_left_;
  std::size_t converted_ = 0;
  std::vector<Level> levels_;
};

void Reader::take_bytes(std::size_t bytes) {
  if (bytes > bytes_left_) {
    throw NoValue{"more than " + std::to_string(limits_.bytes ? limits_.bytes : kDefaultBytes) +
                  " bytes, which is the limit (Environment.value_limits.bytes); pass large data as tensors, or raise the limit"};
  }
  bytes_left_ -= bytes;
}

void Reader::throw_too_many_items() const {
  throw NoValue{"more than " + std::to_string(limits_.items) +
                " items in all, which is the limit (Environment.value_limits.items; a container that is in several places counts "
                "in each); pass large data as tensors, or raise the limit"};
}

// Fails, for containers that are inside each other too deep. Where one is inside itself, the path ends at the place where it is met
// again.
void Reader::check_depth(nb::handle container) {
  const auto is_same = [](nb::handle one, const Level& other) { return one.is(other.container); };
  for (std::size_t first = 0; first < levels_.size(); ++first) {
    for (std::size_t again = first + 1; again <= levels_.size(); ++again) {
      const nb::handle found = again < levels_.size() ? nb::handle(levels_[again].container) : container;
      if (!is_same(found, levels_[first])) continue;
      const std::string type = name_of_type(found);
      levels_.resize(again);
      throw NoValue{"a " + type + " that contains itself, " + std::to_string(again - first) +
                    (again - first == 1 ? " level" : " levels") + " further in; pass a tree"};
    }
    if (first == kCheckedLevels) break;
  }
  throw NoValue{"nesting deeper than " + std::to_string(limits_.depth) +
                " levels, which is the limit (Environment.value_limits.depth)"};
}

// Checks the size as it is now; it may change while the items are converted, as __dlpack__ of one of them may run any code.
void Reader::open(Value::Kind kind, nb::handle container, nb::object source) {
  if (levels_.size() >= limits_.depth) check_depth(container);
  Level& level = levels_.emplace_back(Level{kind, nb::borrow(container), std::move(source)});
  const auto size = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(level.source.ptr()));
  if (size > (kind == Value::Kind::kDict ? items_left_ / 2 : items_left_)) throw_too_many_items();
  if (kind == Value::Kind::kDict) {
    level.pairs.reserve(size);
  } else {
    level.items.reserve(size);
  }
}

// A list of at most as many pairs as may cross: items() may go on for ever.
nb::object Reader::items_of(nb::handle mapping) {
  if (PyDict_CheckExact(mapping.ptr())) return checked(PyDict_Items(mapping.ptr()));
  nb::object view = mapping.attr("items")();
  if (!Py_TYPE(view.ptr())->tp_iter && !PySequence_Check(view.ptr())) {
    throw NoValue{"a " + name_of_type(mapping) + " whose items() gave a " + name_of_type(view) +
                  " instead of pairs of (key, value)"};
  }
  nb::object iterator = checked(PyObject_GetIter(view.ptr()));
  nb::object items = checked(PyList_New(0));
  for (;;) {
    nb::object item = nb::steal(PyIter_Next(iterator.ptr()));
    if (!item.is_valid()) break;
    const auto count = static_cast<std::size_t>(PyList_GET_SIZE(items.ptr()));
    if (count >= items_left_ / 2) throw_too_many_items();
    if (PyList_Check(item.ptr())) item = checked(PyList_AsTuple(item.ptr()));
    if (!PyTuple_Check(item.ptr()) || PyTuple_GET_SIZE(item.ptr()) != 2) {
      throw NoValue{"a " + name_of_type(mapping) + " whose items() gave a " + name_of_type(item) + " instead of a (key, value)"};
    }
    if (PyList_Append(items.ptr(), item.ptr()) != 0 || (count % kSignals == 0 && PyErr_CheckSignals() != 0))
      throw nb::python_error();
  }
  if (PyErr_Occurred()) throw nb::python_error();
  return items;
}

// The types that are not one of Python's own, cheapest question first. Nothing: a container was opened.
std::optional<Value> Reader::begin_other(nb::handle object) {
  if (nb::isinstance<Tensor>(object) || nb::isinstance<Object>(object)) {
    if (!nb::inst_ready(object)) throw NoValue{"a " + name_of_type(object) + " whose __init__ was not called"};
    if (nb::isinstance<Tensor>(object)) return Value(*nb::inst_ptr<Tensor>(object));
    return Value(*nb::inst_ptr<Object>(object));
  }
  if (is_host_tensor(object)) return convert_tensor(object);
  if (is_mapping(object)) {
    open(Value::Kind::kDict, object, items_of(object));
    return std::nullopt;
  }
  if (is_numpy_scalar(object)) {
    nb::object item = object.attr("item")();
    if (PyBool_Check(item.ptr()) || PyLong_CheckExact(item.ptr()) || PyFloat_Check(item.ptr()) || PyComplex_Check(item.ptr()) ||
        PyUnicode_Check(item.ptr()) || PyBytes_Check(item.ptr()) || PyTuple_Check(item.ptr())) {
      return begin(item);
    }
    throw_no_value(item, way_out(object));
  }
  throw_no_value(object, way_out(object));
}

std::optional<Value> Reader::begin(nb::handle object) {
  PyObject* o = object.ptr();
  if (o == Py_None) return Value();
  if (PyBool_Check(o)) return Value(o == Py_True);
  if (PyLong_Check(o)) return convert_int(object);
  if (PyFloat_Check(o)) return Value(PyFloat_AS_DOUBLE(o));
  if (PyUnicode_Check(o)) {
    const std::string_view text = utf8_of(object);
    take_bytes(text.size());
    return Value(text);
  }
  if (PyList_Check(o)) return open(Value::Kind::kList, object, nb::borrow(object)), std::nullopt;
  if (PyTuple_Check(o)) return open(Value::Kind::kTuple, object, nb::borrow(object)), std::nullopt;
  if (PyDict_Check(o)) return open(Value::Kind::kDict, object, items_of(object)), std::nullopt;
  if (PyBytes_Check(o)) return convert_bytes(PyBytes_AS_STRING(o), PyBytes_GET_SIZE(o));
  if (PyByteArray_Check(o)) return convert_bytes(PyByteArray_AS_STRING(o), PyByteArray_GET_SIZE(o));
  if (PyComplex_Check(o)) return Value(std::complex<double>(PyComplex_RealAsDouble(o), PyComplex_ImagAsDouble(o)));
  return begin_other(object);
}

Value Reader::convert_bytes(const char* data, Py_ssize_t size) {
  take_bytes(static_cast<std::size_t>(size));
  return Value::bytes({data, static_cast<std::size_t>(size)});
}

// Asked each time: a list may have got shorter or longer.
bool Reader::is_at_end(const Level& level) { return !level.at_key && level.next >= PySequence_Fast_GET_SIZE(level.source.ptr()); }

// The object that is to be converted next.
nb::object Reader::next(Level& level) {
  if (level.at_key) {
    level.at_key = false;
    return level.item;
  }
  nb::object item = nb::borrow(PySequence_Fast_GET_ITEM(level.source.ptr(), level.next++));
  if (level.kind != Value::Kind::kDict) return item;
  level.at_key = true;
  level.key = nb::borrow(PySequence_Fast_GET_ITEM(item.ptr(), 0));
  level.item = nb::borrow(PySequence_Fast_GET_ITEM(item.ptr(), 1));
  return level.key;
}

void Reader::add(Level& level, Value value) {
  if (level.kind != Value::Kind::kDict) {
    level.items.push_back(std::move(value));
  } else if (level.at_key) {
    level.pairs.emplace_back().first = std::move(value);
  } else {
    level.pairs.back().second = std::move(value);
  }
}

Value Reader::close(Level level) {
  if (level.kind == Value::Kind::kList) return Value::list(std::move(level.items));
  if (level.kind == Value::Kind::kTuple) return Value::tuple(std::move(level.items));
  return Value::dict(std::move(level.pairs));
}

Value Reader::convert(nb::handle object) {
  std::optional<Value> value = begin(object);
  while (!levels_.empty()) {
    if (value) add(levels_.back(), *std::exchange(value, std::nullopt));
    if (is_at_end(levels_.back())) {
      value = close(std::move(levels_.back()));
      levels_.pop_back();
      continue;
    }
    if (items_left_-- == 0) throw_too_many_items();
    take_bytes(sizeof(Value));
    if (++converted_ % kSignals == 0 && PyErr_CheckSignals() != 0) throw nb::python_error();
    const nb::object item = next(levels_.back());
    value = begin(item);
  }
  return *std::move(value);
}

std::string spelt_key(nb::handle key) {
  std::string text = short_repr(key);
  if (text.size() <= kSpeltKey) return text;
  std::size_t end = kSpeltKey;
  while (end > 0 && (text[end] & 0xc0) == 0x80) --end;  // not inside of a character
  return text.substr(0, end) + "...";
}

// "[1]['key'][0]".
std::string Reader::path() const {
  const std::size_t first = levels_.size() > kSpeltSteps ? levels_.size() - kSpeltSteps : 0;
  std::string text = first ? "[...]" : "";
  for (std::size_t i = first; i < levels_.size(); ++i) {
    const Level& level = levels_[i];
    text += level.kind == Value::Kind::kDict ? "[" + spelt_key(level.key) + "]" : "[" + std::to_string(level.next - 1) + "]";
  }
  return text;
}

Value Reader::read(nb::handle object, std::string_view what) {
  try {
    return convert(object);
  } catch (const NoValue& found) {
    throw Error(ErrorCode::kNotAValue, std::string(what) + path() + " cannot be handed to an interpreter: found " + found.message);
  }
}

}  // namespace

Value to_value(nb::handle object, std::string_view what, const ValueLimits& limits) { return Reader(limits).read(object, what); }

Args to_args(const nb::args& args, const ValueLimits& limits) {
  Args result;
  result.reserve(args.size());
  Reader reader(limits);
  for (nb::handle item : args) result.push_back(reader.read(item, "argument " + std::to_string(result.size())));
  return result;
}

Kwargs to_kwargs(const nb::kwargs& kwargs, const ValueLimits& limits) {
  Kwargs result;
  if (!kwargs.is_valid()) return result;
  result.reserve(kwargs.size());
  Reader reader(limits);
  for (auto [key, item] : kwargs) {
    std::string name(to_utf8(key, "the name of a keyword argument"));
    Value value = reader.read(item, "argument " + name);
    result.emplace_back(std::move(name), std::move(value));
  }
  return result;
}

}  // namespace deploy::bindings
