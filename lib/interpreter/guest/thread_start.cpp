// The module _deploy_threads, for python/thread_start.py: what a thread runs first, and whether that is over.
//
// A new thread may have no memory for its first Python frame. Then no byte code of it runs, not even a `finally`; a type in C does
// not need one.

#include <ctime>

#include "lib/interpreter/guest/guest.h"

namespace deploy::guest {
namespace {

struct Call {
  PyObject_HEAD;
  PyObject* function;
  bool ended;
};

Call* as_call(PyObject* object) { return reinterpret_cast<Call*>(object); }

PyObject* call_new(PyTypeObject* type, PyObject* arguments, PyObject*) {
  PyObject* function = nullptr;
  if (!PyArg_ParseTuple(arguments, "O", &function)) return nullptr;
  PyObject* made = type->tp_alloc(type, 0);
  if (made) as_call(made)->function = Py_NewRef(function);
  return made;
}

void call_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  Py_CLEAR(as_call(self)->function);
  type->tp_free(self);
  Py_DECREF(type);
}

int call_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(as_call(self)->function);
  return 0;
}

int call_clear(PyObject* self) {
  Py_CLEAR(as_call(self)->function);
  return 0;
}

PyObject* call_call(PyObject* self, PyObject* arguments, PyObject* keywords) {
  Ref function = Ref::of(as_call(self)->function);
  if (!function) Py_RETURN_NONE;
  PyObject* result = PyObject_Call(function.get(), arguments, keywords);
  as_call(self)->ended = true;
  return result;
}

PyObject* call_ended(PyObject* self, void*) { return PyBool_FromLong(as_call(self)->ended); }

PyGetSetDef call_attributes[] = {
    {"ended", call_ended, nullptr, "Whether it was called, and is over.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot call_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(call_new)},
    {Py_tp_dealloc, reinterpret_cast<void*>(call_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void*>(call_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(call_clear)},
    {Py_tp_call, reinterpret_cast<void*>(call_call)},
    {Py_tp_getset, call_attributes},
    {0, nullptr},
};
PyType_Spec call_spec = {"_deploy_threads.Call", sizeof(Call), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, call_slots};

// pause(): lets other threads run, without asking for memory.
PyObject* pause(PyObject*, PyObject*) {
  Py_BEGIN_ALLOW_THREADS;
  const timespec short_time{0, 5'000'000};
  nanosleep(&short_time, nullptr);
  Py_END_ALLOW_THREADS;
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {{"pause", pause, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};

int fill_module(PyObject* module) {
  Ref type(PyType_FromSpec(&call_spec));
  return type ? PyModule_AddObjectRef(module, "Call", type.get()) : -1;
}

PyModuleDef_Slot slots[] = {{Py_mod_exec, reinterpret_cast<void*>(fill_module)}, DEPLOY_EACH_INTERPRETER{0, nullptr}};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_deploy_threads", nullptr, 0, methods, slots, nullptr, nullptr, nullptr};

PyObject* init_module() { return PyModuleDef_Init(&definition); }

}  // namespace

bool install_thread_start() { return PyImport_AppendInittab("_deploy_threads", init_module) == 0; }

}  // namespace deploy::guest
