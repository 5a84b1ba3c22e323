// An extension module that needs the library with callbacks, as h5py needs libhdf5, and exports a function of its own.
#include <Python.h>

typedef int (*callback)(int);
int callbacks_register(callback function);
int callbacks_call(int argument);
int callbacks_count(void);

static PyObject* g_function;

__attribute__((visibility("default"))) int module_twice(int argument) { return 2 * argument; }

static int forward(int argument) {
  PyObject* result = PyObject_CallFunction(g_function, "i", argument);
  int value = result ? (int)PyLong_AsLong(result) : -2;
  Py_XDECREF(result);
  return value;
}

static PyObject* module_register(PyObject* self, PyObject* function) {
  (void)self;
  if (callbacks_register(forward) != 0) return PyErr_Format(PyExc_TypeError, "can't register: somebody else has");
  Py_INCREF(function);
  Py_XSETREF(g_function, function);
  Py_RETURN_NONE;
}

static PyObject* module_call(PyObject* self, PyObject* argument) {
  (void)self;
  return PyLong_FromLong(callbacks_call((int)PyLong_AsLong(argument)));
}

static PyObject* module_count(PyObject* self, PyObject* none) {
  (void)self;
  (void)none;
  return PyLong_FromLong(callbacks_count());
}

static PyMethodDef methods[] = {{"register", module_register, METH_O, NULL},
                                {"call", module_call, METH_O, NULL},
                                {"count", module_count, METH_NOARGS, NULL},
                                {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_callbacks", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__callbacks(void) { return PyModule_Create(&definition); }
