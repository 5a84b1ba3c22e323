#include "deploy/object.h"

#include <nanobind/stl/string.h>

#include "bindings/exports.h"
#include "bindings/gil.h"
#include "bindings/handles.h"
#include "bindings/text.h"
#include "bindings/values.h"

namespace deploy::bindings {

namespace {

constexpr const char* kObjectDoc =
    "A handle on one Python object of one interpreter, held through a session. Usable while its session is open and on that "
    "session's thread\n"
    "only; any other use raises Error with code WRONG_SESSION. Exceptions of the code inside raise Error with code PYTHON, and the "
    "session goes on.\n"
    "Calls and attributes give Objects again; to_value() brings plain data and tensors out.";

Object call(const Object& self, nb::args args, nb::kwargs kwargs) {
  const ValueLimits limits = self.value_limits();
  Args values = to_args(args, limits);
  Kwargs keywords = to_kwargs(kwargs, limits);
  return without_gil([&] { return self.call(std::move(values), std::move(keywords)); });
}

Object call_method(const Object& self, Text name, nb::args args, nb::kwargs kwargs) {
  const std::string_view method = name.utf8("name");
  const ValueLimits limits = self.value_limits();
  Args values = to_args(args, limits);
  Kwargs keywords = to_kwargs(kwargs, limits);
  return without_gil([&] { return self.call_method(method, std::move(values), std::move(keywords)); });
}

// For debuggers and logs, and so never an error.
std::string repr(const Object& self) {
  try {
    return without_gil([&] { return "<deploy.Object " + self.type_name() + ": " + self.str() + ">"; });
  } catch (const Error& error) {
    return "<deploy.Object (" + std::string(to_string(error.code())) + ")>";
  }
}

}  // namespace

void export_object(nb::module_& m) {
  nb::class_<Object>(m, "Object", kObjectDoc)
      .def("__call__", &call, nb::sig("def __call__(self, /, *args, **kwargs) -> Object"),
           "Calls the object. Arguments are plain data, anything with __dlpack__, and Objects of the same session.")
      .def("call_method", &call_method, nb::sig("def call_method(self, name: str, /, *args, **kwargs) -> Object"),
           "Calls the method `name`.")
      .def(
          "attr", [](const Object& self, Text name) {
            const std::string_view attribute = name.utf8("name");
            return without_gil([&] { return self.attr(attribute); });
          },
          nb::arg("name"), "The attribute `name`.")
      .def(
          "hasattr", [](const Object& self, Text name) {
            const std::string_view attribute = name.utf8("name");
            return without_gil([&] { return self.hasattr(attribute); });
          },
          nb::arg("name"), "False only for AttributeError; any other exception is raised.")
      .def(
          "to_value", [](const Object& self) { return to_python(without_gil([&] { return self.to_value(); })); },
          "The plain data form, a copy; tensors become deploy.Tensor and share memory. Raises Error with code NOT_A_VALUE, which "
          "names the type, where "
          "there is none.")
      .def(
          "type_name", [](const Object& self) { return without_gil([&] { return self.type_name(); }); },
          "The qualified name of its type: \"torch.Tensor\".")
      .def(
          "is_owner", [](const Object& self, const SessionHandle& session) { return self.is_owner(*session); }, nb::arg("session"),
          "Whether the object belongs to the session's interpreter and may be used through it.")
      .def("__str__", [](const Object& self) { return without_gil([&] { return self.str(); }); })
      .def("__repr__", &repr);
}

}  // namespace deploy::bindings
