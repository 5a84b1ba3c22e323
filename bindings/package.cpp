#include "deploy/package.h"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include "bindings/exports.h"
#include "bindings/files.h"
#include "bindings/gil.h"
#include "bindings/handles.h"
#include "bindings/refusals.h"
#include "bindings/text.h"
#include "bindings/timeout.h"
#include "bindings/values.h"

namespace deploy::bindings {

namespace {

constexpr const char* kReplicaDoc =
    "A Python object that every interpreter of a manager has, or makes at its first use there: out of a package, or out of an "
    "object that a\n"
    "session replicated. Calls may come from any thread; they run on any free interpreter, in parallel up to the number of "
    "interpreters, and wait\n"
    "in order of arrival when none is free. Attribute writes stay in the interpreter they were made in; tensors loaded from a "
    "package or a replica are\n"
    "shared between interpreters and copied on write. The caller's GIL is released during a call.";

constexpr const char* kCallDoc =
    "Calls the object. Arguments: None, bool, int, float, complex, str, bytes, list, tuple, mappings, and anything with "
    "__dlpack__, whose memory is\n"
    "shared (a PyTorch tensor that requires grad crosses as if detached) and which arrives as what it is: numpy's as numpy's, "
    "torch's as torch's. The result comes back as the same plain types, numpy arrays as numpy arrays, other tensors as "
    "deploy.Tensor; parts of it that have no plain form as deploy.Object, which any thread may use.\n"
    "Raises Error: PYTHON with the traceback, NOT_A_VALUE where an argument has no plain form, CLOSED while the "
    "manager closes.";

constexpr const char* kPackageDoc =
    "A container file in torch.package's format, opened by InterpreterManager.load_package(). Thread-safe. Weights are mapped "
    "from the file: it may be\n"
    "removed or replaced by a rename, but must not be rewritten in place or cut off while anything of it is alive, unless it was "
    "loaded "
    "with in_memory.\n"
    "When the last handle on it and on what was loaded from it is gone, its objects and modules leave every interpreter.";

nb::object call(const ReplicaHandle& self, nb::args args, nb::kwargs kwargs) {
  const ValueLimits limits = self.object.value_limits();
  Args values = to_args(args, limits);
  Kwargs keywords = to_kwargs(kwargs, limits);
  return to_python(without_gil([&] { return self.object.call(std::move(values), std::move(keywords)); }), self.manager);
}

nb::object call_method(const ReplicaHandle& self, Text name, nb::args args, nb::kwargs kwargs) {
  const std::string_view method = name.utf8("name");
  const ValueLimits limits = self.object.value_limits();
  Args values = to_args(args, limits);
  Kwargs keywords = to_kwargs(kwargs, limits);
  return to_python(without_gil([&] { return self.object.call_method(method, std::move(values), std::move(keywords)); }),
                   self.manager);
}

// The arguments that name a record.
struct Record {
  Record(Text package, Text resource) : package(package.utf8("package")), name(resource.utf8("resource")) {}
  std::string_view package, name;
};

nb::list interpreters(const PackageHandle& self) {
  nb::list result;
  for (const Interpreter& each : self.package.interpreters()) {
    result.append(std::make_shared<InterpreterHandle>(self.manager, each));
  }
  return result;
}

// For names that this type does not have.
nb::object no_attribute(const ReplicaHandle&, nb::str name) {
  const std::string text = attribute_name(name);
  throw nb::attribute_error(("deploy.ReplicatedObject has no attribute '" + text +
                             "'. A method of the object is called by model.call_method('" + text +
                             "', ...); an attribute is read in a session: with model.acquire_session() as session: "
                             "session.from_replicated(model).attr('" +
                             text + "')")
                                .c_str());
}

void no_attribute_write(const ReplicaHandle&, nb::str name, nb::handle) {
  throw nb::attribute_error(("deploy.ReplicatedObject takes no attribute '" + attribute_name(name) +
                             "'. Writes stay in one interpreter: set it before the object is packed, or give it to the call")
                                .c_str());
}

void export_replica(nb::module_& m) {
  nb::class_<ReplicaHandle>(m, "ReplicatedObject", kReplicaDoc)
      .def("__call__", &call, nb::sig("def __call__(self, /, *args, **kwargs) -> object"), kCallDoc)
      .def("call_method", &call_method, nb::sig("def call_method(self, name: str, /, *args, **kwargs) -> object"),
           "Calls the method `name`; otherwise as a call of the object.")
      .def(
          "with_timeout",
          [](const ReplicaHandle& self, double seconds) {
            return ReplicaHandle{self.manager, self.object.with_timeout(to_timeout(seconds)), self.origin};
          },
          nb::arg("seconds"),
          "The same object, whose calls have to be over `seconds` after they are made, the wait for an interpreter included: "
          "model.with_timeout(0.2)(x).\n"
          "They raise Error with code DEADLINE_EXCEEDED otherwise. Python code that runs is stopped with an exception at its next "
          "byte code.")
      .def(
          "preload", [](const ReplicaHandle& self) { without_gil([&] { self.object.preload(); }); },
          "Makes it on every interpreter now, in parallel, so that no later call pays for it.")
      .def(
          "acquire_session",
          [](const ReplicaHandle& self) {
            return std::make_unique<SessionHandle>(self.manager, without_gil([&] { return self.object.acquire_session(); }));
          },
          "A session on a free interpreter; session.from_replicated(this) is the object there.")
      .def("__repr__", [](const ReplicaHandle& self) { return text_object("<deploy.ReplicatedObject " + self.origin + ">"); })
      .def("__getattr__", &no_attribute)
      .def("__setattr__", &no_attribute_write);
}

}  // namespace

void export_package(nb::module_& m) {
  export_replica(m);
  nb::class_<PackageHandle>(m, "Package", kPackageDoc)
      .def(
          "load_pickle",
          [](const PackageHandle& self, Text package, Text resource) {
            const Record record(package, resource);
            return ReplicaHandle{self.manager, without_gil([&] { return self.package.load_pickle(record.package, record.name); }),
                                 std::string(record.package) + "/" + std::string(record.name) + " of " + self.package.path()};
          },
          nb::arg("package"), nb::arg("resource"),
          "Unpickles the record <package>/<resource> on one interpreter now, and on the others at their first use. Raises Error: "
          "NOT_FOUND with "
          "the records there are, MISSING_EXTERN, INVALID_PACKAGE, PYTHON.")
      .def(
          "load_text",
          [](const PackageHandle& self, Text package, Text resource) {
            const Record record(package, resource);
            return without_gil([&] { return self.package.load_text(record.package, record.name); });
          },
          nb::arg("package"), nb::arg("resource"), "A UTF-8 text record as str. Raises Error with code NOT_FOUND.")
      .def(
          "load_binary",
          [](const PackageHandle& self, Text package, Text resource) {
            const Record record(package, resource);
            std::string data = without_gil([&] { return self.package.load_binary(record.package, record.name); });
            return nb::bytes(data.data(), data.size());
          },
          nb::arg("package"), nb::arg("resource"), "The bytes of a record. Raises Error with code NOT_FOUND.")
      .def(
          "records", [](const PackageHandle& self) { return self.package.records(); },
          "The names of all records, in file order, without the archive's own root folder.")
      .def_prop_ro(
          "manifest",
          [](const PackageHandle& self) {
            const std::optional<Manifest>& manifest = self.package.manifest();
            return to_dict(manifest ? &*manifest : nullptr, self.package.path());
          },
          nb::sig("def manifest(self) -> dict[str, typing.Any] | None"),
          "What the package says of itself, as docs/format.md has it; None: it was written by plain torch.package.")
      .def_prop_ro("interpreters", &interpreters, nb::sig("def interpreters(self) -> list[Interpreter]"),
                   "Those that it runs on: the manager's; or its own, where its modules conflict with another package's or the "
                   "environment's.")
      .def_prop_ro("path",
                   [](const PackageHandle& self) {
                     return nb::steal(PyUnicode_DecodeFSDefaultAndSize(self.package.path().data(),
                                                                       static_cast<Py_ssize_t>(self.package.path().size())));
                   })
      .def("__repr__", [](nb::handle self) { return nb::str("<deploy.Package {}>").format(self.attr("path")); });
}

}  // namespace deploy::bindings
