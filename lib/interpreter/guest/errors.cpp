#include "lib/interpreter/guest/errors.h"

#include <cstdarg>

#include "lib/interpreter/guest/names.h"

namespace deploy::guest {
namespace {

// Longer texts of exceptions are cut: they go into logs, and through several copies on their way.
constexpr Py_ssize_t kLongestMessage = 20'000;
constexpr Py_ssize_t kLongestTraceback = 200'000;

constexpr std::string_view kOutOfMemory = "Python has no memory left to say what went wrong";

void send(deploy_error* error, int32_t code, std::string_view message, std::string_view type = {},
          std::string_view traceback = {}) {
  error->report(error, code, text(message.empty() ? kOutOfMemory : message), text(type), text(traceback));
}

PyTypeObject* type_of(const Ref& exception) { return Py_TYPE(exception.get()); }

// Without what is in its middle, where it is longer than `length`. Null with an exception set.
Ref cut(Ref text, Py_ssize_t length) {
  const Py_ssize_t whole = text ? PyUnicode_GetLength(text.get()) : 0;
  if (whole <= length) return text;
  Ref begin(PyUnicode_Substring(text.get(), 0, length / 2));
  Ref end(begin ? PyUnicode_Substring(text.get(), whole - length / 2, whole) : nullptr);
  if (!end) return Ref();
  return Ref(PyUnicode_FromFormat("%U [... %zd characters are left out ...] %U", begin.get(), whole - length / 2 * 2, end.get()));
}

// str(exception), or what stands for it where that raises.
Ref text_of(const Ref& exception) {
  Ref text = cut(Ref(PyObject_Str(exception.get())), kLongestMessage);
  if (text) return text;
  PyErr_Clear();
  return Ref(PyUnicode_FromString("<exception str() failed>"));
}

Ref message_of(const Ref& exception) {
  Ref type = qualified_name(type_of(exception));
  Ref text = text_of(exception);
  if (!type || !text) return Ref();
  return PyUnicode_GetLength(text.get()) > 0 ? Ref(PyUnicode_FromFormat("%U: %U", type.get(), text.get())) : std::move(type);
}

// "".join(traceback.format_exception(exception)): causes, contexts and source lines included.
Ref traceback_of(const Ref& exception) {
  Ref module(PyImport_ImportModule("traceback"));
  if (!module) return Ref();
  Ref lines(PyObject_CallMethod(module.get(), "format_exception", "O", exception.get()));
  if (!lines) return Ref();
  Ref empty(PyUnicode_FromStringAndSize(nullptr, 0));
  return empty ? cut(Ref(PyUnicode_Join(empty.get(), lines.get())), kLongestTraceback) : Ref();
}

}  // namespace

void report(deploy_error* error, ErrorCode code, const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  Ref message(PyUnicode_FromFormatV(format, arguments));
  va_end(arguments);
  if (!message) PyErr_Clear();
  send(error, static_cast<int32_t>(code), Utf8(message.get()).view());
}

void report(deploy_error* error, int32_t code, std::string_view message) { send(error, code, message); }

void report_exception(deploy_error* error) { report_exception(error, take_exception()); }

Ref take_exception() {
#if PY_VERSION_HEX >= 0x030C0000
  return Ref(PyErr_GetRaisedException());
#else
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (value && traceback) PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return Ref(value);
#endif
}

void set_exception(Ref exception) {
#if PY_VERSION_HEX >= 0x030C0000
  PyErr_SetRaisedException(exception.release());
#else
  PyObject* type = Py_NewRef(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())));
  PyObject* traceback = PyException_GetTraceback(exception.get());
  PyErr_Restore(type, exception.release(), traceback);
#endif
}

void report_exception(deploy_error* error, const Ref& exception) {
  if (!exception) return report(error, ErrorCode::kInternal, "a Python function failed without saying why");
  Ref type = qualified_name(type_of(exception));
  Ref message = message_of(exception);
  Ref traceback = traceback_of(exception);
  if (!traceback) {
    PyErr_Clear();
    traceback = message ? Ref(PyUnicode_FromFormat("%U\n", message.get())) : Ref();
  }
  PyErr_Clear();
  Utf8 type_text(type.get()), message_text(message.get()), traceback_text(traceback.get());
  send(error, static_cast<int32_t>(ErrorCode::kPython), message_text.view(), type_text.view(), traceback_text.view());
}

Ref summary(const Ref& exception) {
  Ref message = exception ? message_of(exception) : Ref(PyUnicode_FromString("no reason given"));
  if (!message) return message;
  Py_ssize_t length = PyUnicode_GetLength(message.get());
  Py_ssize_t line_end = PyUnicode_FindChar(message.get(), '\n', 0, length, 1);
  return line_end < 0 ? std::move(message) : Ref(PyUnicode_Substring(message.get(), 0, line_end));
}

bool is_refusal(const Ref& exception) {
  PyObject* value = exception.get();
  return value && PyErr_GivenExceptionMatches(value, PyExc_Exception) && !PyErr_GivenExceptionMatches(value, PyExc_MemoryError) &&
         !PyErr_GivenExceptionMatches(value, PyExc_RecursionError);
}

}  // namespace deploy::guest
