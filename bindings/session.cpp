#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <string>

#include "bindings/exports.h"
#include "bindings/gil.h"
#include "bindings/handles.h"
#include "bindings/text.h"
#include "bindings/timeout.h"
#include "bindings/values.h"

namespace deploy::bindings {

namespace {

constexpr const char* kSessionDoc =
    "One thread's hold on one interpreter, from acquire_session() to close() or the end of the with statement. Every member must "
    "be used on the thread\n"
    "that acquired it (Error with code WRONG_SESSION otherwise). Sessions nest. The other calls of the manager wait for the "
    "interpreter\n"
    "while it is held: keep sessions short.";

// For debuggers and logs, and so never an error.
std::string repr(const SessionHandle& self) {
  if ((*self).closed()) return "<deploy.InterpreterSession (closed)>";
  try {
    return "<deploy.InterpreterSession of interpreter " + std::to_string((*self).interpreter().id()) + ">";
  } catch (const Error&) {
    return "<deploy.InterpreterSession (another thread's)>";
  }
}

}  // namespace

void export_session(nb::module_& m) {
  nb::class_<SessionHandle>(m, "InterpreterSession", kSessionDoc)
      .def(
          "global_",
          [](SessionHandle& self, Text module, Text name) {
            const std::string_view module_name = module.utf8("module"), attribute = name.utf8("name");
            return without_gil([&] { return self->global(module_name, attribute); });
          },
          nb::arg("module"), nb::arg("name"),
          "Attribute `name` of module `module`, which is imported if need be: global_(\"torch\", \"sigmoid\").")
      .def(
          "import_module",
          [](SessionHandle& self, Text name) {
            const std::string_view module = name.utf8("name");
            return without_gil([&] { return self->import_module(module); });
          },
          nb::arg("name"))
      .def(
          "from_value",
          [](SessionHandle& self, nb::object value) {
            Value converted = to_value(value, "the value", self->interpreter().value_limits());
            return without_gil([&] { return self->from_value(converted); });
          },
          nb::arg("value").none(), "An Object equal to plain data. Tensors share memory.")
      .def(
          "from_replicated",
          [](SessionHandle& self, const ReplicaHandle& replica) {
            return without_gil([&] { return self->from_replicated(replica.object); });
          },
          nb::arg("object"), "The replica of a ReplicatedObject on this interpreter, made at first use.")
      .def(
          "replicate",
          [](SessionHandle& self, const Object& object) {
            return ReplicaHandle{self.manager(), without_gil([&] { return self->replicate(object); }), "of an object of a session"};
          },
          nb::arg("object"),
          "A copy of an Object that every interpreter of the manager can make: pickled now, its tensors moved into memory that all "
          "interpreters map "
          "copy-on-write. Raises Error with code PYTHON where it cannot be pickled, and INVALID_ARGUMENT on an interpreter that "
          "has no manager.")
      .def(
          "set_timeout",
          [](SessionHandle& self, std::optional<double> seconds) {
            self->set_timeout(seconds ? std::optional(to_timeout(*seconds)) : std::nullopt);
          },
          nb::arg("seconds").none(),
          "All that runs through this session has to be over `seconds` from now, or raises Error with code DEADLINE_EXCEEDED; None "
          "lifts that.")
      .def(
          "interrupt", [](SessionHandle& self) { self->interrupt(); },
          "Stops what the session's thread runs in the interpreter at this moment, if anything: a KeyboardInterrupt at its next "
          "byte "
          "code. That call\n"
          "raises Error with code CANCELLED; the session goes on. Any thread may call this, and returns at once.")
      .def("__repr__", &repr)
      .def_prop_ro("interpreter",
                   [](SessionHandle& self) { return std::make_shared<InterpreterHandle>(self.manager(), self->interpreter()); })
      .def_prop_ro("closed", [](SessionHandle& self) { return self->closed(); })
      .def("close", &SessionHandle::close, "Ends the session: its Objects cannot be used any more. Idempotent.")
      .def("__enter__", [](nb::object self) { return self; })
      .def("__exit__", [](SessionHandle& self, nb::args) { self.close(); }, nb::sig("def __exit__(self, *args) -> None"));
}

}  // namespace deploy::bindings
