// PyTorch's grad mode, for the time of a call. It is a state of the thread, which libtorch keeps; only torch's own functions set
// it. Two of them are called at each call of a model, and through Python they would cost a fifth of the smallest one: libc10's own
// are used where it has them under their names (c10/core/GradMode.h; a mangled name is one signature).
//
// torch is looked for when a call asks for a mode, and then only if modules were imported since the last look: a call in an
// interpreter without torch pays for a comparison. Nothing here imports torch.

#include <dlfcn.h>

#include "lib/interpreter/guest/errors.h"
#include "lib/interpreter/guest/names.h"

namespace deploy::guest {
namespace {

struct Functions {
  PyObject* is_enabled = nullptr;
  PyObject* set_enabled = nullptr;
  PyObject* inference_mode = nullptr;  // the class of a guard
  bool (*own_is_enabled)() = nullptr;  // libc10's; both or none
  void (*own_set_enabled)(bool) = nullptr;
};

Functions torch;
Py_ssize_t looked_at = 0;  // so many modules there were at the last look

void forget() {
  for (PyObject** function : {&torch.is_enabled, &torch.set_enabled, &torch.inference_mode}) Py_CLEAR(*function);
  torch.own_is_enabled = nullptr;
  torch.own_set_enabled = nullptr;
}

// libc10 stays open as long as torch does, which never goes.
void find_own_functions() {
  void* library = ::dlopen("libc10.so", RTLD_LAZY | RTLD_NOLOAD);
  if (!library) return;
  const auto is_enabled = reinterpret_cast<bool (*)()>(::dlsym(library, "_ZN3c108GradMode10is_enabledEv"));
  const auto set_enabled = reinterpret_cast<void (*)(bool)>(::dlsym(library, "_ZN3c108GradMode11set_enabledEb"));
  ::dlclose(library);
  if (!is_enabled || !set_enabled) return;
  torch.own_is_enabled = is_enabled;
  torch.own_set_enabled = set_enabled;
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
           PyObject_GetAttrString(module, "_InferenceMode"), nullptr, nullptr};
  PyErr_Clear();
  if (torch.is_enabled && torch.set_enabled && torch.inference_mode) return find_own_functions(), true;
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
  if (torch.own_set_enabled) {
    const bool before = torch.own_is_enabled();
    if (before != (enabled == Py_True)) torch.own_set_enabled(enabled == Py_True);
    return Ref(PyBool_FromLong(before));
  }
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
  if (PyBool_Check(token.get()) && torch.own_set_enabled) return torch.own_set_enabled(token.get() == Py_True);
  Ref done(PyBool_Check(token.get()) ? PyObject_CallOneArg(torch.set_enabled, token.get())
                                     : PyObject_CallMethod(token.get(), "__exit__", "OOO", Py_None, Py_None, Py_None));
  if (!done) PyErr_WriteUnraisable(token.get());
}

}  // namespace deploy::guest
