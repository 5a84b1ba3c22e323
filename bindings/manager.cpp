#include "deploy/manager.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include "bindings/environment.h"
#include "bindings/exports.h"
#include "bindings/files.h"
#include "bindings/gil.h"
#include "bindings/handles.h"
#include "bindings/text.h"

namespace deploy::bindings {

namespace {

constexpr const char* kManagerDoc =
    "Owns a set of interpreters with one environment and places calls on them. Boots all of them, in parallel; for Python-bound "
    "models take as many as\n"
    "there are cores. Without an environment they see the packages of the running Python. Thread-safe. Usable as a context "
    "manager, which\n"
    "closes it.";

constexpr const char* kLoadPackageDoc =
    "Opens and checks the file; one that is open already, unchanged and with equal options, is the same package. Raises Error: "
    "NOT_FOUND,\n"
    "INVALID_PACKAGE, UNTRUSTED, MISSING_EXTERN with all the modules that are missing or too old.\n"
    "sha256         the SHA-256 that the whole file has to have, in hexadecimal digits; empty: any\n"
    "trusted_keys   public keys (PEM files, or PEM texts), one of which must have signed the file; none: none has to\n"
    "in_memory      copies the whole file into memory, once for all interpreters: whatever becomes of the file, the package stays "
    "as it "
    "is\n"
    "check_weights  whether the weights' checksums are compared; None: those of up to 64 MB. All other records' always are";

std::shared_ptr<ManagerHandle> create(nb::handle interpreters, nb::handle environment) {
  const std::size_t count = to_size(interpreters, "interpreters");
  return ManagerHandle::create({.interpreters = count, .environment = to_environment(environment)});
}

nb::list interpreters(const std::shared_ptr<ManagerHandle>& self) {
  nb::list result;
  for (const Interpreter& each : (*self)->interpreters()) result.append(std::make_shared<InterpreterHandle>(self, each));
  return result;
}

void close(const ManagerHandle& self) {
  without_gil([&] { self->close(); });
}

// For debuggers and logs, and so never an error.
std::string repr(const ManagerHandle& self) {
  try {
    const std::size_t count = self->interpreters().size();
    return "<deploy.InterpreterManager of " + std::to_string(count) + (count == 1 ? " interpreter>" : " interpreters>");
  } catch (const Error&) {
    return "<deploy.InterpreterManager (closed)>";
  }
}

}  // namespace

void export_manager(nb::module_& m) {
  using Handle = std::shared_ptr<ManagerHandle>;
  nb::class_<ManagerHandle>(m, "InterpreterManager", kManagerDoc)
      .def(nb::new_(&create), nb::arg("interpreters").none() = 1, nb::arg("environment") = nb::none())
      .def(
          "load_package",
          [](const Handle& self, nb::object path, Text sha256, nb::object trusted_keys, bool in_memory,
             std::optional<bool> check_weights) {
            const std::string text = to_path(path);
            const LoadOptions options{std::string(sha256.utf8("sha256")), to_keys(trusted_keys), in_memory, check_weights};
            return PackageHandle{self, without_gil([&] { return (*self)->load_package(text, options); })};
          },
          nb::arg("path"), nb::kw_only(), nb::arg("sha256") = "", nb::arg("trusted_keys") = nb::make_tuple(),
          nb::arg("in_memory") = false, nb::arg("check_weights") = nb::none(),
          nb::sig("def load_package(self, path: str | os.PathLike[str], *, sha256: str = '', trusted_keys: "
                  "collections.abc.Iterable[str | "
                  "os.PathLike[str]] = (), in_memory: bool = False, check_weights: bool | None = None) -> Package"),
          kLoadPackageDoc)
      .def(
          "acquire_session",
          [](const Handle& self) {
            return std::make_unique<SessionHandle>(self, without_gil([&] { return (*self)->acquire_session(); }));
          },
          "A session on a free interpreter; when none is free, waits in order of arrival. A thread that holds a session of this "
          "manager while no "
          "interpreter is free gets a nested session on the one it holds.")
      .def(
          "register_module",
          [](const ManagerHandle& self, Text name, Text source) {
            const std::string_view name_text = name.utf8("name"), source_text = source.utf8("source");
            without_gil([&] { self->register_module(name_text, source_text); });
          },
          nb::arg("name"), nb::arg("source"), "Makes `source` importable as module `name` in every interpreter.")
      .def_prop_ro("interpreters", &interpreters, nb::sig("def interpreters(self) -> list[Interpreter]"))
      .def("__len__", [](const ManagerHandle& self) { return self->size(); })
      .def("__repr__", &repr)
      .def("close", &close,
           "Waits for the calls and sessions that are running; calls that wait, and all later ones, raise Error with code CLOSED. "
           "Then shuts the "
           "interpreters down. Idempotent. Raises INVALID_ARGUMENT where this thread itself holds a session of the manager.")
      .def("__enter__", [](nb::object self) { return self; })
      .def("__exit__", [](const ManagerHandle& self, nb::args) { close(self); }, nb::sig("def __exit__(self, *args) -> None"));
}

}  // namespace deploy::bindings
