// Sub-interpreters (PEP 554, PEP 734) that Python code makes inside an interpreter.
//
// CPython starts one with a copy of the configuration of the interpreter that makes it. Ours starts without the module `site`; the
// copies shall import it, because under that name is what puts the standard library in place (stdlib.cpp).

#include "lib/interpreter/guest/guest.h"

extern "C" const PyConfig* _Py_GetConfig(void);  // of the current interpreter; where it is declared differs between versions

namespace deploy::guest {

void enable_subinterpreters() { const_cast<PyConfig*>(_Py_GetConfig())->site_import = 1; }

void end_subinterpreters() {
  PyThreadState* const mine = PyThreadState_Get();
  PyInterpreterState* const home = PyThreadState_GetInterpreter(mine);
  for (PyInterpreterState* other = PyInterpreterState_Head(); other;) {
    if (other == home) {
      other = PyInterpreterState_Next(other);
      continue;
    }
    PyThreadState* state = PyInterpreterState_ThreadHead(other);
    if (!state) state = PyThreadState_New(other);
    if (!state) return;
    PyThreadState_Swap(state);
    Py_EndInterpreter(state);
    PyThreadState_Swap(mine);
    other = PyInterpreterState_Head();
  }
}

}  // namespace deploy::guest
