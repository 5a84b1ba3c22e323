#include "deploy/manager.h"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/unique_ptr.h>

#include "bindings/environment.h"
#include "bindings/exports.h"
#include "bindings/gil.h"
#include "bindings/handles.h"

namespace deploy::bindings {

namespace {

constexpr const char* kManagerDoc =
    "Owns a set of interpreters with one environment and places calls on them. Boots all of them, in parallel; for Python-bound "
    "models take as many as\n"
    "there are cores. Without an environment they see the packages of the running Python. Thread-safe. Usable as a context "
    "manager, which\n"
    "closes it.";

std::shared_ptr<ManagerHandle> create(Py_ssize_t interpreters, nb::handle environment) {
  if (interpreters < 1) {
    throw Error(ErrorCode::kInvalidArgument, "interpreters: found " + std::to_string(interpreters) + ", expected at least 1");
  }
  return ManagerHandle::create(
      {.interpreters = static_cast<std::size_t>(interpreters), .environment = to_environment(environment)});
}

nb::list interpreters(const std::shared_ptr<ManagerHandle>& self) {
  nb::list result;
  for (const Interpreter& each : (*self)->interpreters()) result.append(std::make_shared<InterpreterHandle>(self, each));
  return result;
}

void close(const ManagerHandle& self) {
  without_gil([&] { self->close(); });
}

}  // namespace

void export_manager(nb::module_& m) {
  using Handle = std::shared_ptr<ManagerHandle>;
  nb::class_<ManagerHandle>(m, "InterpreterManager", kManagerDoc)
      .def(nb::new_(&create), nb::arg("interpreters") = 1, nb::arg("environment") = nb::none())
      .def(
          "load_package",
          [](const Handle& self, nb::object path) {
            std::string text = to_path(path);
            return PackageHandle{self, without_gil([&] { return (*self)->load_package(text); })};
          },
          nb::arg("path"), nb::sig("def load_package(self, path: str | os.PathLike[str]) -> Package"),
          "Opens and checks the file. Raises Error: NOT_FOUND, INVALID_PACKAGE, MISSING_EXTERN with all the modules that are "
          "missing.")
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
          [](const ManagerHandle& self, std::string_view name, std::string_view source) {
            without_gil([&] { self->register_module(name, source); });
          },
          nb::arg("name"), nb::arg("source"), "Makes `source` importable as module `name` in every interpreter.")
      .def_prop_ro("interpreters", &interpreters, nb::sig("def interpreters(self) -> list[Interpreter]"))
      .def("__len__", [](const ManagerHandle& self) { return self->size(); })
      .def("close", &close,
           "Waits for the calls and sessions that are running; calls that wait, and all later ones, raise Error with code CLOSED. "
           "Then shuts the "
           "interpreters down. Idempotent. Raises INVALID_ARGUMENT where this thread itself holds a session of the manager.")
      .def("__enter__", [](nb::object self) { return self; })
      .def("__exit__", [](const ManagerHandle& self, nb::args) { close(self); }, nb::sig("def __exit__(self, *args) -> None"));
}

}  // namespace deploy::bindings
