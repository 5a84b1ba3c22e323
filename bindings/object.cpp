#include "deploy/object.h"

#include <nanobind/stl/string.h>

#include "bindings/exports.h"
#include "bindings/gil.h"
#include "bindings/handles.h"
#include "bindings/refusals.h"
#include "bindings/text.h"
#include "bindings/values.h"

namespace deploy::bindings {

namespace {

constexpr const char* kObjectDoc =
    "A handle on one Python object of one interpreter, held through a session. Usable while its session is open and on that "
    "session's thread\n"
    "only; any other use raises Error with code WRONG_SESSION. Exceptions of the code inside raise Error with code PYTHON, and the "
    "session goes on.\n"
    "Calls and attributes give Objects again; to_value() brings plain data and tensors out.\n"
    "One in the result of a ReplicatedObject's call belongs to no session: any thread may use it at any time; each use waits until "
    "its interpreter\n"
    "is free. A call of a ReplicatedObject that gets it as an argument runs on that interpreter.";

// An Object that came out of `self`, and where that has no session keeps what it keeps: the manager.
nb::object kept_by(const Object& self, Object object) {
  nb::object result = nb::cast(std::move(object));
  if (!self.has_session()) keep_with(result, nb::find(self));
  return result;
}

nb::object call(const Object& self, nb::args args, nb::kwargs kwargs) {
  const ValueLimits limits = self.value_limits();
  Args values = to_args(args, limits);
  Kwargs keywords = to_kwargs(kwargs, limits);
  return kept_by(self, without_gil([&] { return self.call(std::move(values), std::move(keywords)); }));
}

nb::object call_method(const Object& self, Text name, nb::args args, nb::kwargs kwargs) {
  const std::string_view method = name.utf8("name");
  const ValueLimits limits = self.value_limits();
  Args values = to_args(args, limits);
  Kwargs keywords = to_kwargs(kwargs, limits);
  return kept_by(self, without_gil([&] { return self.call_method(method, std::move(values), std::move(keywords)); }));
}

// For debuggers and logs, and so never an error, and no wait for an interpreter.
std::string repr(const Object& self) {
  try {
    if (!self.has_session()) return "<deploy.Object without a session: " + self.type_name() + ">";
    return without_gil([&] { return "<deploy.Object " + self.type_name() + ": " + self.str() + ">"; });
  } catch (const Error& error) {
    return "<deploy.Object (" + std::string(to_string(error.code())) + ")>";
  }
}

// For names that this type does not have.
nb::object no_attribute(const Object&, nb::str name) {
  const std::string text = attribute_name(name);
  throw nb::attribute_error(("deploy.Object has no attribute '" + text +
                             "'. It stands for an object in an interpreter, whose attribute is object.attr('" + text +
                             "'), and whose method is object.call_method('" + text + "', ...)")
                                .c_str());
}

void no_attribute_write(const Object&, nb::str name, nb::handle) {
  const std::string text = attribute_name(name);
  throw nb::attribute_error(
      ("deploy.Object takes no attribute '" + text +
       "'. It stands for an object in an interpreter, whose attributes are set by object.call_method('__setattr__', '" + text +
       "', value)")
          .c_str());
}

// What has a meaning for tensors and data, and is tried on an Object that stands for them.
void refuse_protocols(nb::handle type) {
  const std::string is_no = "a deploy.Object stands for an object in an interpreter, and is no ";
  const std::string instead = " itself; object.to_value() brings tensors and plain data out";
  for (const char* method : {"__array__", "__float__", "__int__", "__complex__"}) {
    refuse(type, method, is_no + (std::string_view(method) == "__array__" ? "array" : "number") + instead);
  }
  for (const char* method : {"__len__", "__getitem__", "__iter__"}) {
    refuse(type, method, is_no + "container" + instead + ", object.call_method('" + method + "', ...) asks the object inside");
  }
  refuse(type, "__await__",
         "a deploy.Object cannot be awaited: the call that gave it is over; await asyncio.to_thread(f, x) waits for "
         "a call f(x) on another thread");
}

}  // namespace

void export_object(nb::module_& m) {
  auto type = nb::class_<Object>(m, "Object", kObjectDoc);
  type.def("__call__", &call, nb::sig("def __call__(self, /, *args, **kwargs) -> Object"),
           "Calls the object. Arguments are plain data, anything with __dlpack__, and Objects of the same session.")
      .def("call_method", &call_method, nb::sig("def call_method(self, name: str, /, *args, **kwargs) -> Object"),
           "Calls the method `name`.")
      .def(
          "attr",
          [](const Object& self, Text name) {
            const std::string_view attribute = name.utf8("name");
            return kept_by(self, without_gil([&] { return self.attr(attribute); }));
          },
          nb::arg("name"), "The attribute `name`.")
      .def(
          "hasattr",
          [](const Object& self, Text name) {
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
      .def_prop_ro("has_session", &Object::has_session, "Whether it belongs to a session; one in a result does not.")
      .def("__bool__", [](const Object&) { return true; })
      .def("__getattr__", &no_attribute)
      .def("__setattr__", &no_attribute_write)
      .def("__str__", [](const Object& self) { return without_gil([&] { return self.str(); }); })
      .def("__repr__", &repr);
  refuse_protocols(type);
}

}  // namespace deploy::bindings
