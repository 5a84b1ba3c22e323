#include "lib/interpreter/guest/names.h"

#include <cstring>
#include <utility>

namespace deploy::guest {
namespace {

constexpr std::size_t kNameSlots = 256;
constexpr std::size_t kLongestCachedName = 64;
PyObject* name_slots[kNameSlots];  // direct-mapped by a hash of the text; each entry is interned and never leaves but for another

std::size_t name_slot(deploy_text utf8) {
  std::size_t hash = 14695981039346656037u;
  for (std::size_t i = 0; i < utf8.size; ++i) hash = (hash ^ static_cast<unsigned char>(utf8.data[i])) * 1099511628211u;
  return (hash ^ (hash >> 32)) % kNameSlots;
}

}  // namespace

Utf8::Utf8(PyObject* str) {
  if (!str || !PyUnicode_Check(str)) return;
  Py_ssize_t size = 0;
  if (const char* data = PyUnicode_AsUTF8AndSize(str, &size)) {
    owner_ = Ref::of(str);
    text_ = {data, static_cast<std::size_t>(size)};
    return;
  }
  PyErr_Clear();
  owner_ = Ref(PyUnicode_AsEncodedString(str, "utf-8", "backslashreplace"));
  if (!owner_) {
    PyErr_Clear();
    return;
  }
  text_ = {PyBytes_AS_STRING(owner_.get()), static_cast<std::size_t>(PyBytes_GET_SIZE(owner_.get()))};
}

Ref name_from(deploy_text utf8) {
  if (utf8.size > kLongestCachedName) return Ref(PyUnicode_DecodeUTF8(utf8.data, static_cast<Py_ssize_t>(utf8.size), "strict"));
  PyObject*& slot = name_slots[name_slot(utf8)];
  if (slot) {
    Py_ssize_t size = 0;
    const char* data = PyUnicode_AsUTF8AndSize(slot, &size);  // kept inside the str by its first call
    if (data && static_cast<std::size_t>(size) == utf8.size && std::memcmp(data, utf8.data, utf8.size) == 0) return Ref::of(slot);
  }
  PyObject* name = PyUnicode_DecodeUTF8(utf8.data, static_cast<Py_ssize_t>(utf8.size), "strict");
  if (!name) return Ref();
  PyUnicode_InternInPlace(&name);
  if (!PyUnicode_AsUTF8AndSize(name, nullptr)) {
    Py_DECREF(name);
    return Ref();
  }
  Ref previous(std::exchange(slot, name));
  return Ref::of(name);
}

void drop_names() {
  for (PyObject*& slot : name_slots) Py_CLEAR(slot);
}

Ref qualified_name(PyTypeObject* type) {
  Ref name(PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__qualname__"));
  Ref module(PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__module__"));
  PyErr_Clear();
  if (!name || !PyUnicode_Check(name.get())) return Ref(PyUnicode_FromString(type->tp_name));
  if (!module || !PyUnicode_Check(module.get()) || PyUnicode_CompareWithASCIIString(module.get(), "builtins") == 0) return name;
  return Ref(PyUnicode_FromFormat("%U.%U", module.get(), name.get()));
}

PyObject* loaded_module(const char* name) {
  PyObject* modules = PyImport_GetModuleDict();
  if (!modules || !PyDict_Check(modules)) return nullptr;
  PyObject* module = PyDict_GetItemString(modules, name);  // clears errors
  return module == Py_None ? nullptr : module;
}

}  // namespace deploy::guest
