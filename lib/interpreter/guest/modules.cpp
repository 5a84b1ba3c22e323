#include "lib/interpreter/guest/collector.h"
#include "lib/interpreter/guest/errors.h"
#include "lib/interpreter/guest/names.h"

namespace deploy::guest {
namespace {

Ref decoded(deploy_text utf8, const char* what, deploy_error* error) {
  Ref str(PyUnicode_DecodeUTF8(utf8.data, static_cast<Py_ssize_t>(utf8.size), "strict"));
  if (str) return str;
  Ref exception = take_exception();
  report(error, ErrorCode::kInvalidArgument, "%s is not UTF-8 (%S)", what, summary(exception).get());
  return Ref();
}

// Waits for a module that another thread is just importing; gives the first part of a dotted name.
Ref import_top(const Ref& name) {
  if (PyDict_GetItemWithError(PyImport_GetModuleDict(), name.get())) {
    return Ref(PyImport_ImportModuleLevelObject(name.get(), nullptr, nullptr, nullptr, 0));
  }
  RareCollections collections;
  Ref top(PyImport_ImportModuleLevelObject(name.get(), nullptr, nullptr, nullptr, 0));
  Ref exception = top ? Ref() : take_exception();
  collections.end();
  if (exception) set_exception(std::move(exception));
  return top;
}

// The module of that (dotted) name itself, imported if need be.
Ref imported(deploy_text name, deploy_error* error) {
  Ref module_name = decoded(name, "the name of a module", error);
  if (!module_name) return Ref();
  Ref top = import_top(module_name);
  Ref module(top ? PyImport_GetModule(module_name.get()) : nullptr);
  if (top && !module && !PyErr_Occurred())
    PyErr_Format(PyExc_ImportError, "module %R removed itself from sys.modules", module_name.get());
  if (!module) report_exception(error);
  return module;
}

}  // namespace

deploy_object import_module(deploy_text name, deploy_error* error) { return handed_over(imported(name, error).release()); }

deploy_object global(deploy_text module, deploy_text name, deploy_error* error) {
  Ref object = imported(module, error);
  for (std::string_view rest = view(name); object;) {
    const std::size_t dot = rest.find('.');
    Ref part = decoded(text(rest.substr(0, dot)), "the name of an attribute", error);
    if (!part) return nullptr;
    object = Ref(PyObject_GetAttr(object.get(), part.get()));
    if (!object) report_exception(error);
    if (dot == rest.npos) break;
    rest.remove_prefix(dot + 1);
  }
  return handed_over(object.release());
}

int register_module(deploy_text name, deploy_text source, deploy_error* error) {
  Ref module_name = decoded(name, "the name of a module", error);
  Ref text = module_name ? decoded(source, "the source of a module", error) : Ref();
  if (!text) return -1;
  Ref registry(PyImport_ImportModule("_deploy.registered"));
  Ref done(registry ? PyObject_CallMethod(registry.get(), "register", "OO", module_name.get(), text.get()) : nullptr);
  if (done) return 0;
  Ref exception = take_exception();
  if (exception && PyErr_GivenExceptionMatches(exception.get(), PyExc_ValueError)) {
    Ref reason(PyObject_Str(exception.get()));
    report(error, ErrorCode::kInvalidArgument, "%S", reason.get());
  } else {
    report_exception(error, exception);
  }
  return -1;
}

}  // namespace deploy::guest
