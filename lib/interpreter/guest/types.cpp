#include "lib/interpreter/guest/types.h"

#include <dlpack/dlpack.h>

#include <utility>

#include "lib/interpreter/guest/names.h"
#include "lib/interpreter/guest/tensor_object.h"

namespace deploy::guest {
namespace {

constexpr std::size_t kTypeSlots = 64;
TypeInfo type_slots[kTypeSlots];  // direct-mapped by the type's address; each entry holds a reference to its type

TypeInfo& slot_of(PyTypeObject* type) {
  auto address = reinterpret_cast<std::uintptr_t>(type);
  return type_slots[((address >> 4) ^ (address >> 10)) % kTypeSlots];
}

// The attribute `name` of a loaded module, or null; no exception is set either way.
Ref attribute_of_loaded(const char* module, const char* name) {
  PyObject* loaded = loaded_module(module);
  if (!loaded) return Ref();
  Ref attribute(PyObject_GetAttrString(loaded, name));
  PyErr_Clear();
  return attribute;
}

bool is_subtype_of_loaded(PyTypeObject* type, const char* module, const char* name) {
  Ref base = attribute_of_loaded(module, name);
  return base && PyType_Check(base.get()) && PyType_IsSubtype(type, reinterpret_cast<PyTypeObject*>(base.get()));
}

Category builtin_category(PyObject* object) {
  if (PyLong_Check(object)) return Category::kInt;
  if (PyFloat_Check(object)) return Category::kFloat;
  if (PyComplex_Check(object)) return Category::kComplex;
  if (PyUnicode_Check(object)) return Category::kStr;
  if (PyBytes_Check(object)) return Category::kBytes;
  if (PyByteArray_Check(object)) return Category::kByteArray;
  if (PyList_Check(object)) return Category::kList;
  if (PyTuple_Check(object)) return Category::kTuple;
  if (PyDict_Check(object)) return Category::kMapping;
  return Category::kUnknown;
}

// A subclass of numpy.ndarray: is it one of numpy.ma.MaskedArray? The class is loaded where it is.
bool is_masked_array(PyTypeObject* type) { return is_subtype_of_loaded(type, "numpy.ma", "MaskedArray"); }

bool has_attribute(PyTypeObject* type, const char* name) {
  Ref attribute(PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), name));
  PyErr_Clear();
  return attribute && attribute.get() != Py_None;
}

// 1, 0, or -1 with an exception set.
int is_mapping(PyObject* object) {
  Ref abc(PyImport_ImportModule("collections.abc"));
  if (!abc) return -1;
  Ref mapping(PyObject_GetAttrString(abc.get(), "Mapping"));
  return mapping ? PyObject_IsInstance(object, mapping.get()) : -1;
}

}  // namespace

const DLPackExchangeAPI* exchange_api_of(PyObject* type) {
  constexpr char kCapsuleName[] = "dlpack_exchange_api";
  Ref capsule(PyObject_GetAttrString(type, "__dlpack_c_exchange_api__"));
  const void* table = capsule && PyCapsule_CheckExact(capsule.get()) ? PyCapsule_GetPointer(capsule.get(), kCapsuleName) : nullptr;
  PyErr_Clear();
  auto* header = static_cast<const DLPackExchangeAPIHeader*>(table);
  while (header && header->version.major != DLPACK_MAJOR_VERSION) header = header->prev_api;
  return reinterpret_cast<const DLPackExchangeAPI*>(header);
}

bool classify(PyObject* object, TypeInfo& info) {
  PyTypeObject* type = Py_TYPE(object);
  TypeInfo& slot = slot_of(type);
  if (slot.type == type) {
    info = slot;
    return true;
  }

  info = {type, builtin_category(object), nullptr};
  if (info.category == Category::kUnknown) {
    if (type == tensor_type()) {
      info.category = Category::kDeployTensor;
    } else if (is_subtype_of_loaded(type, "numpy", "generic")) {
      info.category = Category::kNumpyScalar;
    } else if (is_subtype_of_loaded(type, "torch", "Tensor")) {
      info.category = Category::kTorchTensor;
      info.exchange = exchange_api_of(reinterpret_cast<PyObject*>(type));
    } else if (is_subtype_of_loaded(type, "numpy", "ndarray")) {
      info.category = is_masked_array(type) ? Category::kMaskedArray : Category::kNumpyArray;
    } else if ((info.exchange = exchange_api_of(reinterpret_cast<PyObject*>(type)))) {
      info.category = Category::kExchange;
    } else if (has_attribute(type, "__dlpack__")) {
      info.category = Category::kDlpack;
    } else if (int mapping = is_mapping(object)) {
      if (mapping < 0) return false;
      info.category = Category::kMapping;
    } else if (has_attribute(type, "__dataclass_fields__")) {
      info.category = Category::kDataclass;
    }
  }
  if (info.category == Category::kUnknown) return true;  // not kept: Mapping.register or a later import can change it
  Py_INCREF(type);
  TypeInfo previous =
      std::exchange(slot, info);  // before the reference goes: letting go of a type can run code that comes back here
  Py_XDECREF(previous.type);
  return true;
}

void drop_types() {
  for (TypeInfo& slot : type_slots) {
    TypeInfo previous = std::exchange(slot, TypeInfo());
    Py_XDECREF(previous.type);
  }
}

}  // namespace deploy::guest
