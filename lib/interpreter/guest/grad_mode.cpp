// PyTorch's grad mode, for the time of a call. It is a state of the thread, which libtorch keeps; only torch's own functions set
// it.
//
// torch is looked for when a call asks for a mode, and then only if modules were imported since the last look: a call in an
// interpreter without torch pays for a comparison. Nothing here imports torch.

#include "lib/interpreter/guest/errors.h"
#include "lib/interpreter/guest/names.h"

namespace deploy::guest {
namespace {

struct Functions {
  PyObject* is_enabled = nullptr;
  PyObject* set_enabled = nullptr;
  PyObject* inference_mode = nullptr;  // the class of a guard
};

Functions torch;
Py_ssize_t looked_at = 0;  // so many modules there were at the last look

void forget() {
  for (PyObject** function : {&torch.is_enabled, &torch.set_enabled, &torch.inference_mode}) Py_CLEAR(*function);
}

// torch._C has its functions as soon as it is among the modules, though torch may still be on its way.
bool find_torch() {
  if (torch.set_enabled) return true;
  PyObject* modules = PyImport_GetModuleDict();
  if (!modules || !PyDict_Check(modules) || PyDict_GET_SIZE(modules) == looked_at) return false;
  looked_at = PyDict_GET_SIZE(modules);
  PyObject* module = loaded_module("torch._C");
  if (!module) return false;
  torch = {PyObject_GetAttrString(module, "is_grad_enabled"), PyObject_GetAttrString(module, "_set_grad_enabled"),
           PyObject_GetAttrString(module, "_InferenceMode")};
  PyErr_Clear();
  if (torch.is_enabled && torch.set_enabled && torch.inference_mode) return true;
  forget();  // something else of that name, or not complete yet
  return false;
}

Ref begin_inference() {
  Ref guard(PyObject_CallOneArg(torch.inference_mode, Py_True));
  if (!guard) return Ref();
  return Ref(PyObject_CallMethod(guard.get(), "__enter__", nullptr)) ? std::move(guard) : Ref();
}

// What was in force before.
Ref set_enabled(PyObject* enabled) {
  Ref before(PyObject_CallNoArgs(torch.is_enabled));
  if (!before || before.get() == enabled) return before;
  return Ref(PyObject_CallOneArg(torch.set_enabled, enabled)) ? std::move(before) : Ref();
}

}  // namespace

void drop_grad_mode() {
  forget();
  looked_at = 0;
}

int enter_grad_mode(uint32_t mode, deploy_object* entered, deploy_error* error) {
  *entered = nullptr;
  if (!find_torch()) return 0;
  Ref token = mode == DEPLOY_INFERENCE_MODE ? begin_inference() : set_enabled(mode == DEPLOY_NO_GRAD ? Py_False : Py_True);
  if (!token) return report_exception(error), -1;
  *entered = handed_over(token.release());
  return 0;
}

void leave_grad_mode(deploy_object entered) {
  Ref token(borrowed(entered));
  Ref done(PyBool_Check(token.get()) ? PyObject_CallOneArg(torch.set_enabled, token.get())
                                     : PyObject_CallMethod(token.get(), "__exit__", "OOO", Py_None, Py_None, Py_None));
  if (!done) PyErr_WriteUnraisable(token.get());
}

}  // namespace deploy::guest
