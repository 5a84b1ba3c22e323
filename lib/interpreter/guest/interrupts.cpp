// Exceptions that another thread puts into a thread (PyThreadState_SetAsyncExc): Python raises them between two byte codes.

#include "lib/interpreter/guest/errors.h"

namespace deploy::guest {
namespace {

PyObject* interrupted = nullptr;
PyObject *empty_code = nullptr, *empty_globals = nullptr;  // see breathe()

PyThreadState* state_of(deploy_thread thread) { return reinterpret_cast<PyThreadState*>(thread); }

}  // namespace

// A KeyboardInterrupt, because that is what Python code lets through: `except Exception` does not catch it, and asyncio, which
// keeps other exceptions in the task that raised them, stops its loop for it.
bool prepare_interrupts() {
  interrupted = PyErr_NewExceptionWithDoc("deploy.Interrupted",
                                          "The host stops the call: its deadline has passed, or another thread asked for it.",
                                          PyExc_KeyboardInterrupt, nullptr);
  empty_code = Py_CompileString("None", "<deploy>", Py_eval_input);
  empty_globals = PyDict_New();
  return interrupted && empty_code && empty_globals;
}

void drop_interrupts() {
  Py_CLEAR(interrupted);
  Py_CLEAR(empty_code);
  Py_CLEAR(empty_globals);
}

// A code object looks at its start whether another thread wants the GIL, and for exceptions that came from there.
bool breathe() { return static_cast<bool>(Ref(PyEval_EvalCode(empty_code, empty_globals, empty_globals))); }

void interrupt(deploy_thread thread) { PyThreadState_SetAsyncExc(state_of(thread)->thread_id, interrupted); }

// PyThreadState_SetAsyncExc(id, NULL) would leave Python looking for an exception at every jump for good, so it is raised.
int take_back_interrupt(deploy_thread thread) {
  if (state_of(thread)->async_exc == nullptr) return 0;
  if (!breathe()) take_exception();
  if (state_of(thread)->async_exc != nullptr) PyThreadState_SetAsyncExc(state_of(thread)->thread_id, nullptr);
  return 1;
}

}  // namespace deploy::guest
