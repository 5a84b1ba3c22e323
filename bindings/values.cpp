#include "bindings/values.h"

#include <nanobind/stl/string.h>

#include <complex>
#include <string>
#include <utility>
#include <vector>

#include "bindings/errors.h"
#include "bindings/host_tensors.h"

namespace deploy::bindings {

namespace {

// Nesting that no sane argument reaches; one that does contains itself.
constexpr int kMaxDepth = 500;

// What could not be converted. Each container on the way out puts its own step in front of `path`.
struct NoValue {
  std::string path;
  std::string message;
};

std::string name_of_type(nb::handle object) {
  nb::handle type = object.type();
  std::string module = nb::cast<std::string>(nb::str(type.attr("__module__")));
  std::string name = nb::cast<std::string>(nb::str(type.attr("__qualname__")));
  return module == "builtins" ? name : module + "." + name;
}

Value convert(nb::handle object, int depth);

// Runs `body`, and puts `step` in front of the path of what it could not convert.
template <class Step, class Body>
auto on_path(Step&& step, Body&& body) {
  try {
    return body();
  } catch (NoValue& found) {
    found.path.insert(0, step());
    throw;
  }
}

Value convert_int(nb::handle object) {
  int overflow = 0;
  long long value = PyLong_AsLongLongAndOverflow(object.ptr(), &overflow);
  if (overflow) throw NoValue{{}, "an int outside the range of int64"};
  if (value == -1 && PyErr_Occurred()) throw nb::python_error();
  return value;
}

Value convert_str(nb::handle object) {
  Py_ssize_t size = 0;
  const char* utf8 = PyUnicode_AsUTF8AndSize(object.ptr(), &size);
  if (!utf8) {
    PyErr_Clear();
    throw NoValue{{}, "a str with surrogates, which has no UTF-8 form"};
  }
  return std::string(utf8, static_cast<std::size_t>(size));
}

template <class Sequence>
Value convert_sequence(nb::handle object, int depth) {
  Sequence result;
  // The length is asked again each time: __dlpack__ of an element may run any code.
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(object.ptr()); ++i) {
    nb::object item = nb::borrow(PySequence_Fast_GET_ITEM(object.ptr(), i));
    result.items.push_back(on_path([&] { return "[" + std::to_string(i) + "]"; }, [&] { return convert(item, depth + 1); }));
  }
  return result;
}

Value convert_mapping(nb::handle object, int depth) {
  nb::object items = nb::steal(PyMapping_Items(object.ptr()));
  if (!items.is_valid()) throw nb::python_error();
  Value::Dict result;
  result.items.reserve(nb::len(items));
  for (nb::handle pair : items) {
    nb::object key = pair[0], item = pair[1];
    auto step = [&] { return "[" + nb::cast<std::string>(nb::repr(key)) + "]"; };
    on_path(step, [&] { result.items.emplace_back(convert(key, depth + 1), convert(item, depth + 1)); });
  }
  return result;
}

Value convert_tensor(nb::handle object) {
  try {
    return from_host_tensor(object);
  } catch (const nb::python_error& error) {
    throw NoValue{{}, "a " + name_of_type(object) + " that cannot be exported with DLPack (" + describe(error) + ")"};
  } catch (const Error& error) {
    throw NoValue{{}, "a " + name_of_type(object) + " that cannot be exported with DLPack (" + error.message() + ")"};
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

[[noreturn]] void throw_no_value(nb::handle object) {
  throw NoValue{{},
                "a " + name_of_type(object) +
                    ", expected None, bool, int, float, complex, str, bytes, list, tuple, a mapping, anything with "
                    "__dlpack__, or an Object of the same session"};
}

// The types that are not one of Python's own, cheapest question first.
Value convert_other(nb::handle object, int depth) {
  if (nb::isinstance<Tensor>(object)) return *nb::inst_ptr<Tensor>(object);
  if (nb::isinstance<Object>(object)) return *nb::inst_ptr<Object>(object);
  if (is_host_tensor(object)) return convert_tensor(object);
  if (is_mapping(object)) return convert_mapping(object, depth);
  if (is_numpy_scalar(object)) {
    nb::object item = object.attr("item")();
    if (!is_numpy_scalar(item)) return convert(item, depth + 1);
  }
  throw_no_value(object);
}

Value convert(nb::handle object, int depth) {
  PyObject* o = object.ptr();
  if (depth > kMaxDepth)
    throw NoValue{{}, "nesting deeper than " + std::to_string(kMaxDepth) + " levels; a container that contains itself?"};
  if (o == Py_None) return nullptr;
  if (PyBool_Check(o)) return o == Py_True;
  if (PyLong_Check(o)) return convert_int(object);
  if (PyFloat_Check(o)) return PyFloat_AS_DOUBLE(o);
  if (PyUnicode_Check(o)) return convert_str(object);
  if (PyList_Check(o)) return convert_sequence<Value::List>(object, depth);
  if (PyTuple_Check(o)) return convert_sequence<Value::Tuple>(object, depth);
  if (PyDict_Check(o)) return convert_mapping(object, depth);
  if (PyBytes_Check(o)) return Value::bytes({PyBytes_AS_STRING(o), static_cast<std::size_t>(PyBytes_GET_SIZE(o))});
  if (PyByteArray_Check(o)) return Value::bytes({PyByteArray_AS_STRING(o), static_cast<std::size_t>(PyByteArray_GET_SIZE(o))});
  if (PyComplex_Check(o)) return std::complex<double>(PyComplex_RealAsDouble(o), PyComplex_ImagAsDouble(o));
  return convert_other(object, depth);
}

[[noreturn]] void throw_not_a_value(std::string what, const NoValue& found) {
  throw Error(ErrorCode::kNotAValue, std::move(what) + found.path + " cannot be handed to an interpreter: found " + found.message);
}

nb::object checked(PyObject* object) {
  if (!object) throw nb::python_error();
  return nb::steal(object);
}

nb::object to_python_dict(const Value& value) {
  nb::dict result;
  for (const auto& [key, item] : value.dict_items()) {
    if (PyDict_SetItem(result.ptr(), to_python(key).ptr(), to_python(item).ptr()) != 0) throw nb::python_error();
  }
  return result;
}

}  // namespace

Value to_value(nb::handle object, std::string_view what) {
  try {
    return convert(object, 0);
  } catch (const NoValue& found) {
    throw_not_a_value(std::string(what), found);
  }
}

Args to_args(const nb::args& args) {
  Args result;
  result.reserve(args.size());
  for (nb::handle item : args) {
    try {
      result.push_back(convert(item, 0));
    } catch (const NoValue& found) {
      throw_not_a_value("argument " + std::to_string(result.size()), found);
    }
  }
  return result;
}

Kwargs to_kwargs(const nb::kwargs& kwargs) {
  Kwargs result;
  if (!kwargs.is_valid()) return result;
  result.reserve(kwargs.size());
  for (auto [key, item] : kwargs) {
    std::string name = nb::cast<std::string>(key);
    Value value = to_value(item, "argument " + name);
    result.emplace_back(std::move(name), std::move(value));
  }
  return result;
}

nb::object to_python(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kNone:
      return nb::none();
    case Value::Kind::kBool:
      return nb::bool_(value.as_bool());
    case Value::Kind::kInt:
      return checked(PyLong_FromLongLong(value.as_int()));
    case Value::Kind::kFloat:
      return checked(PyFloat_FromDouble(value.as_float()));
    case Value::Kind::kComplex:
      return checked(PyComplex_FromDoubles(value.as_complex().real(), value.as_complex().imag()));
    case Value::Kind::kStr:
      return checked(PyUnicode_DecodeUTF8(value.as_str().data(), static_cast<Py_ssize_t>(value.as_str().size()), nullptr));
    case Value::Kind::kBytes:
      return checked(PyBytes_FromStringAndSize(value.as_bytes().data(), static_cast<Py_ssize_t>(value.as_bytes().size())));
    case Value::Kind::kList: {
      nb::object result = checked(PyList_New(static_cast<Py_ssize_t>(value.size())));
      Py_ssize_t i = 0;
      for (const Value& item : value.items()) PyList_SET_ITEM(result.ptr(), i++, to_python(item).release().ptr());
      return result;
    }
    case Value::Kind::kTuple: {
      nb::object result = checked(PyTuple_New(static_cast<Py_ssize_t>(value.size())));
      Py_ssize_t i = 0;
      for (const Value& item : value.items()) PyTuple_SET_ITEM(result.ptr(), i++, to_python(item).release().ptr());
      return result;
    }
    case Value::Kind::kDict:
      return to_python_dict(value);
    case Value::Kind::kTensor:
      return nb::cast(value.as_tensor());
    case Value::Kind::kObject:
      return nb::cast(value.as_object());
  }
  throw Error(ErrorCode::kInternal, "a Value of unknown kind");
}

}  // namespace deploy::bindings
