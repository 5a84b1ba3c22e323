#include "lib/interpreter/guest/names.h"

#include <cstring>
#include <utility>

namespace deploy::guest {
namespace {

constexpr std::size_t kNameSlots = 256;
constexpr std::size_t kLongestCachedName = 64;
constexpr Py_ssize_t kLongestTypeName = 200;
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

// A metaclass can make anything of either name.
Ref qualified_name(PyTypeObject* type) {
  const auto text_of = [type](const char* attribute) {
    Ref text(PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), attribute));
    PyErr_Clear();
    return text && PyUnicode_Check(text.get()) ? std::move(text) : Ref();
  };
  Ref name = text_of("__qualname__");
  if (!name) name = Ref(PyUnicode_DecodeUTF8(type->tp_name, static_cast<Py_ssize_t>(std::strlen(type->tp_name)), "replace"));
  Ref module = text_of("__module__");
  if (module && PyUnicode_CompareWithASCIIString(module.get(), "builtins") != 0 && name) {
    name = Ref(PyUnicode_FromFormat("%.200U.%.200U", module.get(), name.get()));
  } else if (name && PyUnicode_GetLength(name.get()) > kLongestTypeName) {
    name = Ref(PyUnicode_Substring(name.get(), 0, kLongestTypeName));
  }
  if (!name) PyErr_Clear();
  return name;
}

PyObject* loaded_module(const char* name) {
  PyObject* modules = PyImport_GetModuleDict();
  if (!modules || !PyDict_Check(modules)) return nullptr;
  PyObject* module = PyDict_GetItemString(modules, name);  // clears errors
  return module == Py_None ? nullptr : module;
}

}  // namespace deploy::guest
