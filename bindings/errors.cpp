#include "bindings/errors.h"

#include <nanobind/stl/string.h>

#include <algorithm>

#include "bindings/exports.h"
#include "bindings/text.h"

namespace deploy::bindings {

namespace {

constexpr std::size_t kLongestMessage = 1000;

// Text that may come from anywhere, a guest's traceback for one: bytes that are no UTF-8 are replaced.
nb::object text(const std::string& utf8) {
  return nb::steal(PyUnicode_DecodeUTF8(utf8.data(), static_cast<Py_ssize_t>(utf8.size()), "replace"));
}

void translate(const std::exception_ptr& exception, void*) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    nb::object instance = to_python_error(error);
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(instance.ptr())), instance.ptr());
  } catch (const nb::cast_error&) {
    PyErr_SetString(PyExc_TypeError, "an object of another type than this call can take");
  }
}

}  // namespace

nb::object to_python_error(const Error& error) {
  nb::object type = nb::module_::import_("deploy").attr("Error");
  return type(nb::cast(error.code()), text(error.message()), text(error.python_type()), text(error.traceback()));
}

std::string describe(const nb::python_error& error) {
  const std::string type = name_of_type(error.value());
  const std::string message = shown(error.value());
  // PyTorch puts a C++ stack below its first line.
  const std::string first_line = message.substr(0, std::min(message.find('\n'), kLongestMessage));
  return first_line.empty() ? type : type + ": " + first_line;
}

void export_errors(nb::module_& m) {
  nb::enum_<ErrorCode>(m, "ErrorCode",
                       "What kind of thing went wrong. Compare `Error.code` with these; new ones are added at the end.")
      .value("INTERNAL", ErrorCode::kInternal, "A defect of deploy itself.")
      .value("INVALID_ARGUMENT", ErrorCode::kInvalidArgument, "An argument that no call of this kind can take.")
      .value("NOT_FOUND", ErrorCode::kNotFound, "A file, module, record or attribute that does not exist.")
      .value("INVALID_PACKAGE", ErrorCode::kInvalidPackage, "A file that is no package, or a damaged one.")
      .value("MISSING_EXTERN", ErrorCode::kMissingExtern, "Modules that a package needs and the environment does not have.")
      .value("ENVIRONMENT", ErrorCode::kEnvironment, "An environment that cannot be used: another Python version, no such folder.")
      .value("PYTHON", ErrorCode::kPython, "An exception raised by code in an interpreter; see python_type and traceback.")
      .value("NOT_A_VALUE", ErrorCode::kNotAValue, "An object that cannot cross between the host and an interpreter.")
      .value("WRONG_SESSION", ErrorCode::kWrongSession, "An Object used after its session ended, or on another interpreter.")
      .value("CLOSED", ErrorCode::kClosed, "The manager, session or interpreter is closed or closing.")
      .value("LOADER", ErrorCode::kLoader, "A shared library that could not be loaded.")
      .value("SYSTEM", ErrorCode::kSystem, "The operating system refused: no memory, no descriptor, no thread.")
      .value("CANCELLED", ErrorCode::kCancelled, "A call that was interrupted.")
      .value("DEADLINE_EXCEEDED", ErrorCode::kDeadlineExceeded, "A call that waited or ran until its deadline.")
      .value("UNTRUSTED", ErrorCode::kUntrusted,
             "A package that is not what the caller trusts: digest, signature, modules that it must not import.");
  nb::register_exception_translator(translate);
}

}  // namespace deploy::bindings
