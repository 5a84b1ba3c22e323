#include "deploy/interpreter.h"

#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include "bindings/environment.h"
#include "bindings/exports.h"
#include "bindings/gil.h"
#include "bindings/handles.h"
#include "bindings/text.h"

namespace deploy::bindings {

namespace {

constexpr const char* kInterpreterDoc =
    "A handle on one isolated CPython, with a private copy of every library that touches Python or libtorch. "
    "Interpreter(environment) boots one\n"
    "that belongs to no manager, in 10-30 ms and the environment's preload on top; without an environment it sees the packages of "
    "the running\n"
    "Python. It is shut down when the last handle, session and tensor that came out of it is gone. Thread-safe.";

}  // namespace

void export_memory(nb::module_& m) {
  nb::class_<MemoryUsage>(
      m, "MemoryUsage",
      "What one interpreter has allocated, in bytes. An interpreter has a heap of its own, which goes with it; "
      "where the process runs\n"
      "with another malloc than the C library's, interpreters use that, private_heap is False and only Python's "
      "small objects are counted.\n"
      "Mapped files, stacks and device memory are not counted.")
      .def_ro("private_heap", &MemoryUsage::private_heap)
      .def_ro("heap", &MemoryUsage::heap, "Held from the system, freed blocks that the heap keeps for a while included.")
      .def_ro("heap_peak", &MemoryUsage::heap_peak, "The most that this ever was.")
      .def_ro("heap_limit", &MemoryUsage::heap_limit, "Environment.memory_limit; 0: none.")
      .def_ro("library_data", &MemoryUsage::library_data, "Writable pages of the interpreter's own copies of libraries.");
  m.def(
      "stranded_interpreters",
      [] {
        nb::list list;
        for (const StrandedInterpreter& each : stranded_interpreters()) list.append(nb::make_tuple(each.id, each.reason));
        return list;
      },
      "(id, reason) of every interpreter that was destroyed and whose libraries and memory had to stay, because threads that they "
      "had started did\n"
      "not end. Empty is as it should be.");
  m.def(
      "kept_libraries",
      [] {
        nb::list list;
        for (const KeptLibrary& each : kept_libraries()) list.append(nb::make_tuple(each.path, each.threads));
        return list;
      },
      "(path, threads) of every shared library that no interpreter uses any more and that stays open, because threads that it "
      "started have not ended.");
}

void export_interpreter(nb::module_& m) {
  nb::class_<InterpreterHandle>(m, "Interpreter", kInterpreterDoc)
      .def(nb::new_([](nb::object environment) { return InterpreterHandle::create(to_environment(environment)); }),
           nb::arg("environment") = nb::none())
      .def(
          "acquire_session",
          [](const InterpreterHandle& self) {
            Interpreter interpreter = self.get();
            return std::make_unique<SessionHandle>(self.manager(), without_gil([&] { return interpreter.acquire_session(); }));
          },
          "Waits, in order of arrival, until the interpreter is free; then holds it. A thread that holds it already gets a nested "
          "session at "
          "once. Use it in a with statement.")
      .def(
          "interrupt", [](const InterpreterHandle& self) { self.get().interrupt(); },
          "Stops the call that runs in the interpreter at this moment, if one does, whoever made it: see "
          "InterpreterSession.interrupt().")
      .def(
          "register_module",
          [](const InterpreterHandle& self, Text name, Text source) {
            Interpreter interpreter = self.get();
            const std::string_view name_text = name.utf8("name"), source_text = source.utf8("source");
            without_gil([&] { interpreter.register_module(name_text, source_text); });
          },
          nb::arg("name"), nb::arg("source"),
          "Makes `source` importable as module `name` (packages: \"a.b\" needs \"a\"). The code runs at its first import.")
      .def(
          "memory", [](const InterpreterHandle& self) { return self.get().memory(); },
          "What the interpreter has allocated, at this moment. Needs no session.")
      .def_prop_ro(
          "id", [](const InterpreterHandle& self) { return self.get().id(); },
          "Unique in the process for its lifetime; counts from 0.")
      .def("__repr__", [](const InterpreterHandle& self) { return nb::str("<deploy.Interpreter {}>").format(self.get().id()); });
}

}  // namespace deploy::bindings
