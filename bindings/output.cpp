#include "bindings/output.h"

#include <unistd.h>

#include <memory>
#include <string>
#include <string_view>

#include "bindings/exit.h"
#include "bindings/text.h"
#include "deploy/error.h"

namespace deploy::bindings {

namespace nb = nanobind;

namespace {

int drop(void* object) noexcept {
  Py_DECREF(static_cast<PyObject*>(object));
  return 0;
}

// The last copy of a callback may go on any thread, with or without the GIL.
void drop_anywhere(PyObject* object) noexcept {
  if (!Py_IsInitialized() || exiting()) return;  // the process is about to end, and its memory with it
  if (PyGILState_Check()) {
    Py_DECREF(object);
  } else {
    Py_AddPendingCall(drop, object);  // or, where that queue is full, never
  }
}

void write_to_process(const OutputLine& line) noexcept {
  std::string bytes(line.text);
  if (line.complete) bytes += '\n';
  for (std::string_view rest = bytes; !rest.empty();) {
    const auto written = ::write(static_cast<int>(line.stream), rest.data(), rest.size());
    if (written <= 0) return;
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
}

void call(PyObject* callable, const OutputLine& line) {
  const char* stream = line.stream == OutputLine::Stream::kStdout ? "stdout" : "stderr";
  PyObject* text = PyUnicode_DecodeUTF8(line.text.data(), static_cast<Py_ssize_t>(line.text.size()), "backslashreplace");
  PyObject* result =
      text ? PyObject_CallFunction(callable, "nsO", static_cast<Py_ssize_t>(line.interpreter), stream, text) : nullptr;
  if (!result) PyErr_WriteUnraisable(callable);
  Py_XDECREF(text);
  Py_XDECREF(result);
}

void deliver(PyObject* callable, const OutputLine& line) {
  const Returning returning;  // the exit waits for a thread that takes the GIL here
  if (exiting()) return write_to_process(line);
  const PyGILState_STATE state = PyGILState_Ensure();
  call(callable, line);
  PyGILState_Release(state);
}

}  // namespace

OutputCallback to_output_callback(nb::handle callable) {
  if (callable.is_none()) return {};
  if (!PyCallable_Check(callable.ptr())) {
    throw Error(ErrorCode::kInvalidArgument, "on_output: found " + short_repr(callable) +
                                                 ", expected a function of (interpreter, stream, line) or None");
  }
  const std::shared_ptr<PyObject> shared(callable.inc_ref().ptr(), drop_anywhere);
  return [shared](const OutputLine& line) { deliver(shared.get(), line); };
}

}  // namespace deploy::bindings
