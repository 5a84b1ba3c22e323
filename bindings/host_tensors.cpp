#include "bindings/host_tensors.h"

#include <dlpack/dlpack.h>

#include <string>

#include "bindings/deferred.h"
#include "bindings/text.h"
#include "deploy/error.h"

namespace deploy::bindings {

namespace {

// Attribute names, interned once; immortal.
PyObject* name(const char* text) { return PyUnicode_InternFromString(text); }

// Attribute of a type, or null without an exception.
nb::object find_attribute(nb::handle object, PyObject* name) {
  nb::object result = nb::steal(PyObject_GetAttr(object.ptr(), name));
  if (!result.is_valid()) {
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) throw nb::python_error();
    PyErr_Clear();
  }
  return result;
}

// The C functions of a type that has __dlpack_c_exchange_api__ (PyTorch 2.10 and later), which are much faster than __dlpack__().
const DLPackExchangeAPI* exchange_api(nb::handle object) {
  static PyObject* const attribute = name("__dlpack_c_exchange_api__");
  nb::object capsule = find_attribute(object.type(), attribute);
  if (!capsule.is_valid() || !PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) return nullptr;
  const auto* api = static_cast<const DLPackExchangeAPI*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  while (api && api->header.version.major != DLPACK_MAJOR_VERSION) {
    api = reinterpret_cast<const DLPackExchangeAPI*>(api->header.prev_api);
  }
  return api;
}

// PyTorch's lazy conjugation and negation are not in the memory, and the C function does not look at them.
nb::object resolve_lazy_bits(nb::handle object) {
  static PyObject* const bits[] = {name("is_conj"), name("is_neg")};
  static PyObject* const resolvers[] = {name("resolve_conj"), name("resolve_neg")};
  nb::object result = nb::borrow(object);
  for (int i = 0; i < 2; ++i) {
    PyObject* self = result.ptr();
    nb::object set = nb::steal(PyObject_VectorcallMethod(bits[i], &self, 1, nullptr));
    if (!set.is_valid()) {
      PyErr_Clear();
      continue;
    }
    if (set.ptr() != Py_True) continue;
    nb::object resolved = nb::steal(PyObject_VectorcallMethod(resolvers[i], &self, 1, nullptr));
    if (!resolved.is_valid()) throw nb::python_error();
    result = std::move(resolved);
  }
  return result;
}

// __dlpack__ of DLPack 1.0; of a producer from before it, the form without arguments.
nb::object call_dlpack(nb::handle object, bool synchronise) {
  nb::object method = object.attr("__dlpack__");
  nb::object version = nb::make_tuple(DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION);
  // 1 is the legacy default stream of CUDA; an interpreter has no other unless its code makes one.
  nb::object stream = synchronise ? nb::object(nb::int_(1)) : nb::none();
  try {
    return method(nb::arg("stream") = stream, nb::arg("max_version") = version);
  } catch (nb::python_error& error) {
    if (!error.matches(PyExc_TypeError)) throw;
  }
  return method(nb::arg("stream") = stream);
}

bool is_cuda_like(const DLDevice& device) { return device.device_type == kDLCUDA || device.device_type == kDLROCM; }

bool is_on_cuda(nb::handle object) {
  nb::object device = object.attr("__dlpack_device__")();
  return is_cuda_like({static_cast<DLDeviceType>(to_ints(device, "__dlpack_device__()").first), 0});
}

// Takes the managed tensor out of a capsule, which is marked as used.
Tensor consume(nb::handle capsule) {
  if (auto* versioned = PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned")) {
    if (PyCapsule_SetName(capsule.ptr(), "used_dltensor_versioned") != 0) throw nb::python_error();
    return defer_deletion(static_cast<DLManagedTensorVersioned*>(versioned));
  }
  PyErr_Clear();
  if (auto* unversioned = PyCapsule_GetPointer(capsule.ptr(), "dltensor")) {
    if (PyCapsule_SetName(capsule.ptr(), "used_dltensor") != 0) throw nb::python_error();
    return defer_deletion(static_cast<DLManagedTensor*>(unversioned));
  }
  PyErr_Clear();
  throw Error(ErrorCode::kInvalidArgument, "__dlpack__() returned no capsule named dltensor_versioned or dltensor");
}

Tensor exported(nb::handle object) {
  const DLPackExchangeAPI* api = exchange_api(object);
  if (!api) return consume(call_dlpack(object, is_on_cuda(object)));
  nb::object resolved = resolve_lazy_bits(object);
  DLManagedTensorVersioned* managed = nullptr;
  if (api->managed_tensor_from_py_object_no_sync(resolved.ptr(), &managed) != 0) throw nb::python_error();
  if (!is_cuda_like(managed->dl_tensor.device)) return defer_deletion(managed);
  managed->deleter(managed);  // the ordinary way orders streams
  if (nb::hasattr(resolved, "detach")) resolved = resolved.attr("detach")();
  return consume(call_dlpack(resolved, true));
}

// A type of a library that the process may load, and keep, at any time. Immortal once it was found.
class LoadedType {
 public:
  constexpr LoadedType(const char* module, const char* name) : module_(module), name_(name) {}

  bool is_type_of(nb::handle object) {
    if (!type_ && !find()) return false;
    return PyType_IsSubtype(Py_TYPE(object.ptr()), type_);
  }

 private:
  bool find() {
    PyObject* module = PyDict_GetItemString(PyImport_GetModuleDict(), module_);
    nb::object type = nb::steal(module ? PyObject_GetAttrString(module, name_) : nullptr);
    PyErr_Clear();
    if (!type.is_valid() || !PyType_Check(type.ptr())) return false;
    type_ = reinterpret_cast<PyTypeObject*>(type.release().ptr());
    return true;
  }

  const char *module_, *name_;
  PyTypeObject* type_ = nullptr;
};

}  // namespace

bool is_host_tensor(nb::handle object) {
  static PyObject* const attribute = name("__dlpack__");
  return find_attribute(object.type(), attribute).is_valid();
}

Tensor from_host_tensor(nb::handle object) {
  static LoadedType masked_array{"numpy.ma", "MaskedArray"}, ndarray{"numpy", "ndarray"}, torch_tensor{"torch", "Tensor"};
  const bool is_numpy = ndarray.is_type_of(object);
  if (is_numpy && masked_array.is_type_of(object)) {
    throw Error(ErrorCode::kInvalidArgument,
                "its mask would be lost; pass array.filled(value), or array.data and numpy.ma.getmaskarray(array)");
  }
  const TensorLibrary library = is_numpy                          ? TensorLibrary::kNumpy
                                : torch_tensor.is_type_of(object) ? TensorLibrary::kTorch
                                                                  : TensorLibrary::kAny;
  Tensor result = exported(object).with_library(library);
  if (!result.data() && result.numel() != 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "it has " + std::to_string(result.numel()) + " elements and no memory; a fake tensor?");
  }
  return result;
}

}  // namespace deploy::bindings
