#include "bindings/text.h"

#include <limits>

#include "deploy/error.h"

namespace deploy::bindings {

namespace {

constexpr Py_ssize_t kLongestRepr = 200;
constexpr Py_ssize_t kLongestName = 200;

nb::object or_nothing(PyObject* object) noexcept {
  if (!object) PyErr_Clear();
  return nb::steal(object);
}

// The first `length` characters in UTF-8; empty for what is no str.
std::string text_of(const nb::object& str, Py_ssize_t length = std::numeric_limits<Py_ssize_t>::max()) noexcept {
  if (!str.is_valid() || !PyUnicode_Check(str.ptr())) return {};
  const bool is_cut = PyUnicode_GET_LENGTH(str.ptr()) > length;
  const nb::object part = is_cut ? or_nothing(PyUnicode_Substring(str.ptr(), 0, length)) : str;
  const nb::object bytes =
      or_nothing(part.is_valid() ? PyUnicode_AsEncodedString(part.ptr(), "utf-8", "backslashreplace") : nullptr);
  if (!bytes.is_valid()) return {};
  return std::string(PyBytes_AS_STRING(bytes.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.ptr()))) +
         (is_cut ? "..." : "");
}

std::string attribute_text(nb::handle type, const char* name) noexcept {
  return text_of(or_nothing(PyObject_GetAttrString(type.ptr(), name)), kLongestName);
}

[[noreturn]] void throw_wrong(std::string_view what, nb::handle found, const std::string& expected) {
  throw Error(ErrorCode::kInvalidArgument, std::string(what) + ": found " + short_repr(found) + ", expected " + expected);
}

bool is_one_text(nb::handle object) {
  return PyUnicode_Check(object.ptr()) || PyBytes_Check(object.ptr()) || PyByteArray_Check(object.ptr());
}

// A list of the items of anything that can be iterated over, a single text aside.
nb::object to_list(nb::handle object, std::string_view what, const std::string& expected) {
  if (is_one_text(object)) throw_wrong(what, object, expected + ": [" + short_repr(object) + "]");
  if (!Py_TYPE(object.ptr())->tp_iter && !PySequence_Check(object.ptr())) throw_wrong(what, object, expected);
  // Not PySequence_List: it makes room first, for as many as the object says.
  const nb::object items = nb::steal(PyObject_GetIter(object.ptr()));
  if (!items.is_valid()) throw nb::python_error();
  nb::list list;
  while (PyObject* item = PyIter_Next(items.ptr())) list.append(nb::steal(item));
  if (PyErr_Occurred()) throw nb::python_error();
  return list;
}

}  // namespace

std::string shown(nb::handle object) noexcept {
  const nb::object str = or_nothing(PyObject_Str(object.ptr()));
  return str.is_valid() ? text_of(str) : "<a " + name_of_type(object) + " without a text>";
}

std::string short_repr(nb::handle object) noexcept {
  const nb::object repr = or_nothing(PyObject_Repr(object.ptr()));
  return repr.is_valid() ? text_of(repr, kLongestRepr) : "<a " + name_of_type(object) + " without a text>";
}

std::string name_of_type(nb::handle object) noexcept {
  const nb::handle type = object.type();
  const std::string module = attribute_text(type, "__module__");
  std::string name = attribute_text(type, "__qualname__");
  if (name.empty()) name = Py_TYPE(object.ptr())->tp_name;
  return module.empty() || module == "builtins" ? name : module + "." + name;
}

std::string_view to_utf8(nb::handle text, std::string_view what) {
  if (!PyUnicode_Check(text.ptr())) throw_wrong(what, text, "a str");
  Py_ssize_t size = 0;
  if (const char* utf8 = PyUnicode_AsUTF8AndSize(text.ptr(), &size)) return {utf8, static_cast<std::size_t>(size)};
  if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) throw nb::python_error();
  PyErr_Clear();
  throw_wrong(what, text, "a str without surrogates, which have no UTF-8 form");
}

std::vector<std::string> to_texts(nb::handle list, std::string_view what) {
  std::vector<std::string> result;
  for (nb::handle item : to_list(list, what, "a list of str")) {
    if (!PyUnicode_Check(item.ptr())) throw_wrong(what, list, "a list of str");
    result.emplace_back(to_utf8(item, what));
  }
  return result;
}

bool to_bool(nb::handle flag, std::string_view what) {
  if (!PyBool_Check(flag.ptr())) throw_wrong(what, flag, "True or False");
  return flag.ptr() == Py_True;
}

std::size_t to_size(nb::handle number, std::string_view what) {
  const nb::object integer = or_nothing(PyNumber_Index(number.ptr()));
  const std::size_t size = integer.is_valid() ? PyLong_AsSize_t(integer.ptr()) : 0;
  const bool is_outside = PyErr_Occurred() != nullptr;
  if (is_outside) PyErr_Clear();
  if (!integer.is_valid() || is_outside) throw_wrong(what, number, "an int of 0 or more, below 2**64");
  return size;
}

std::pair<int, int> to_ints(nb::handle pair, std::string_view what) {
  const std::string expected = "a tuple of two int";
  if ((!PyTuple_Check(pair.ptr()) && !PyList_Check(pair.ptr())) || PySequence_Fast_GET_SIZE(pair.ptr()) != 2) {
    throw_wrong(what, pair, expected);
  }
  int numbers[2];
  for (int i = 0; i < 2; ++i) {
    const nb::object integer = or_nothing(PyNumber_Index(PySequence_Fast_GET_ITEM(pair.ptr(), i)));
    int overflow = 0;
    const long number = integer.is_valid() ? PyLong_AsLongAndOverflow(integer.ptr(), &overflow) : 0;
    if (!integer.is_valid() || overflow != 0 || !std::in_range<int>(number)) throw_wrong(what, pair, expected);
    numbers[i] = static_cast<int>(number);
  }
  return {numbers[0], numbers[1]};
}

std::string to_path(nb::handle path, std::string_view what) {
  PyObject* bytes = nullptr;
  if (PyUnicode_FSConverter(path.ptr(), &bytes)) {
    nb::object owner = nb::steal(bytes);
    return {PyBytes_AS_STRING(bytes), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))};
  }
  // The same, with the name of the argument.
  for (PyObject* type : {PyExc_TypeError, PyExc_ValueError}) {
    if (!PyErr_ExceptionMatches(type)) continue;
    nb::python_error error;
    const std::string message = std::string(what) + ": " + shown(error.value());
    PyErr_SetString(PyErr_GivenExceptionMatches(error.type().ptr(), PyExc_UnicodeError) ? PyExc_ValueError : type, message.c_str());
    break;
  }
  throw nb::python_error();
}

std::vector<std::string> to_paths(nb::handle list, std::string_view what) {
  std::vector<std::string> result;
  if (PyObject_HasAttrString(list.ptr(), "__fspath__")) throw_wrong(what, list, "a list of paths: [" + short_repr(list) + "]");
  for (nb::handle item : to_list(list, what, "a list of paths")) result.push_back(to_path(item, what));
  return result;
}

}  // namespace deploy::bindings
