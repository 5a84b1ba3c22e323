// Tensors to the host: any object that speaks DLPack, over the same memory.
//
// A torch.Tensor is more than DLPack can say, and PyTorch's exchange table does not look: it hands out the memory of a conjugated
// or negated view without the sign, and a tensor that requires grad keeps its whole graph alive. So both are resolved here first.
// What has no strided memory at all (sparse, quantised, meta, fake) is no value, and the message says which of these it was.

#include <dlpack/dlpack.h>

#include "lib/interpreter/guest/errors.h"
#include "lib/interpreter/guest/names.h"
#include "lib/interpreter/guest/tensor_object.h"
#include "lib/interpreter/guest/tensors.h"

namespace deploy::guest {
namespace {

// Interned names and constants, made once.
struct Constants {
  PyObject *requires_grad, *detach, *is_neg, *resolve_neg, *is_conj, *resolve_conj, *dlpack, *version_keyword, *version;
} constants;

// 1, 0, or -1 with an exception set; takes `answer`.
int truth_of(PyObject* answer) {
  Ref held(answer);
  return answer ? PyObject_IsTrue(answer) : -1;
}

bool is_true(PyObject* object, const char* attribute) {
  int truth = truth_of(PyObject_GetAttrString(object, attribute));
  if (truth < 0) PyErr_Clear();
  return truth > 0;
}

DLManagedTensorVersioned* unsayable(PyObject* object, const Place& place, const char* format, PyObject* detail,
                                    deploy_error* error) {
  Ref reason(PyUnicode_FromFormat(format, detail));
  report(error, ErrorCode::kNotAValue, "%S is a %S that DLPack cannot describe: %S", spelt(place).get(),
         qualified_name(Py_TYPE(object)).get(), reason.get());
  return nullptr;
}

// After an export failed with the exception set: what is it about this torch tensor?
DLManagedTensorVersioned* torch_refused(PyObject* tensor, const Place& place, deploy_error* error) {
  Ref exception = take_exception();
  if (!is_refusal(exception)) return report_exception(error, exception), nullptr;
  if (is_true(tensor, "is_nested")) return unsayable(tensor, place, "it is nested; return its parts%.0S", Py_None, error);
  if (is_true(tensor, "is_quantized")) {
    Ref dtype(PyObject_GetAttrString(tensor, "dtype"));
    PyErr_Clear();
    return unsayable(tensor, place, "it is quantized (%S); return tensor.dequantize()", dtype.get(), error);
  }
  Ref layout(PyObject_GetAttrString(tensor, "layout"));
  Ref layout_name(layout ? PyObject_Str(layout.get()) : nullptr);
  PyErr_Clear();
  if (layout_name && PyUnicode_CompareWithASCIIString(layout_name.get(), "torch.strided") != 0) {
    return unsayable(tensor, place, "its layout is %S; return tensor.to_dense()", layout_name.get(), error);
  }
  if (is_true(tensor, "is_meta")) return unsayable(tensor, place, "it is on the meta device and has no data%.0S", Py_None, error);
  return unsayable(tensor, place, "%S", summary(exception).get(), error);
}

DLManagedTensorVersioned* object_refused(PyObject* object, const TypeInfo& info, const Place& place, deploy_error* error) {
  Ref exception = take_exception();
  if (!is_refusal(exception)) return report_exception(error, exception), nullptr;
  if (info.category == Category::kNumpyArray) {
    return unsayable(object, place, "%S; return array.tolist(), or an array of numbers", summary(exception).get(), error);
  }
  return unsayable(object, place, "%S", summary(exception).get(), error);
}

// A capsule of DLPack before 1.0 as one of 1.x.
struct Upgraded {
  DLManagedTensorVersioned managed;
  DLManagedTensor* original;
};

DLManagedTensorVersioned* upgrade(DLManagedTensor* original) {
  auto* upgraded = static_cast<Upgraded*>(PyMem_RawMalloc(sizeof(Upgraded)));
  if (!upgraded) return PyErr_NoMemory(), nullptr;
  *upgraded = {{{DLPACK_MAJOR_VERSION, 0}, upgraded, nullptr, 0, original->dl_tensor}, original};
  upgraded->managed.deleter = [](DLManagedTensorVersioned* self) {
    auto* owner = static_cast<Upgraded*>(self->manager_ctx);
    if (owner->original->deleter) owner->original->deleter(owner->original);
    PyMem_RawFree(owner);
  };
  return &upgraded->managed;
}

// The tensor in what __dlpack__ gave. Null with an exception set.
DLManagedTensorVersioned* take_out(PyObject* capsule) {
  if (PyCapsule_IsValid(capsule, "dltensor_versioned")) {
    auto* managed = static_cast<DLManagedTensorVersioned*>(PyCapsule_GetPointer(capsule, "dltensor_versioned"));
    if (managed->version.major != DLPACK_MAJOR_VERSION) {
      return PyErr_Format(PyExc_BufferError, "it is of DLPack %u, and %d is what is read here", managed->version.major,
                          DLPACK_MAJOR_VERSION),
             nullptr;
    }
    return PyCapsule_SetName(capsule, "used_dltensor_versioned") == 0 ? managed : nullptr;
  }
  if (PyCapsule_IsValid(capsule, "dltensor")) {
    auto* managed = upgrade(static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor")));
    if (managed) PyCapsule_SetName(capsule, "used_dltensor");
    return managed;
  }
  return PyErr_Format(PyExc_TypeError, "__dlpack__ gave a %s where a DLPack capsule was expected", Py_TYPE(capsule)->tp_name),
         nullptr;
}

// object.__dlpack__(). Null with an exception set.
DLManagedTensorVersioned* through_protocol(PyObject* object) {
  PyObject* arguments[] = {object, constants.version};
  Ref capsule(PyObject_VectorcallMethod(constants.dlpack, arguments, 1, constants.version_keyword));
  if (!capsule && PyErr_ExceptionMatches(PyExc_TypeError)) {  // one that has not heard of versions
    PyErr_Clear();
    capsule = Ref(PyObject_CallMethodNoArgs(object, constants.dlpack));
  }
  return capsule ? take_out(capsule.get()) : nullptr;
}

// Null with an exception set.
DLManagedTensorVersioned* export_raw(PyObject* object, const TypeInfo& info) {
  if (!info.exchange) return through_protocol(object);
  DLManagedTensorVersioned* managed = nullptr;
  return info.exchange->managed_tensor_from_py_object_no_sync(object, &managed) == 0 ? managed : nullptr;
}

bool has_no_memory(const DLTensor& tensor) {
  if (tensor.data) return false;
  for (int32_t i = 0; i < tensor.ndim; ++i) {
    if (tensor.shape[i] == 0) return false;
  }
  return true;
}

// Replaces `tensor` by what `method` gives where `set` is 1. False with an exception set.
bool resolve(Ref& tensor, int set, PyObject* method) {
  if (set <= 0) return set == 0;
  tensor = Ref(PyObject_CallMethodNoArgs(tensor.get(), method));
  return static_cast<bool>(tensor);
}

// Null with an exception set.
DLManagedTensorVersioned* export_resolved(PyObject* object, const TypeInfo& info) {
  Ref tensor = Ref::of(object);
  if (!resolve(tensor, truth_of(PyObject_GetAttr(tensor.get(), constants.requires_grad)), constants.detach)) return nullptr;
  if (!resolve(tensor, truth_of(PyObject_CallMethodNoArgs(tensor.get(), constants.is_neg)), constants.resolve_neg)) return nullptr;
  DLManagedTensorVersioned* managed = nullptr;
  if (info.exchange) {
    managed = export_raw(tensor.get(), info);
    if (!managed || managed->dl_tensor.dtype.code != kDLComplex) return managed;
  }
  const int conjugated = truth_of(PyObject_CallMethodNoArgs(tensor.get(), constants.is_conj));
  if (managed && conjugated == 0) return managed;
  drop_managed(managed);
  return resolve(tensor, conjugated, constants.resolve_conj) ? export_raw(tensor.get(), info) : nullptr;
}

DLManagedTensorVersioned* export_torch(PyObject* tensor, const TypeInfo& info, const Place& place, deploy_error* error) {
  DLManagedTensorVersioned* managed = export_resolved(tensor, info);
  if (!managed) return torch_refused(tensor, place, error);
  if (!has_no_memory(managed->dl_tensor)) return managed;
  drop_managed(managed);
  return unsayable(tensor, place, "it has no memory behind it, as a FakeTensor%.0S", Py_None, error);
}

}  // namespace

DLManagedTensorVersioned* export_tensor(PyObject* object, const TypeInfo& info, const Place& place, deploy_error* error) {
  if (info.category == Category::kTorchTensor) return export_torch(object, info, place, error);
  DLManagedTensorVersioned* managed =
      info.category == Category::kDeployTensor ? export_tensor_object(object) : export_raw(object, info);
  return managed ? managed : object_refused(object, info, place, error);
}

bool prepare_export() {
  const struct {
    PyObject** slot;
    const char* name;
  } names[] = {
      {&constants.requires_grad, "requires_grad"}, {&constants.detach, "detach"},   {&constants.is_neg, "is_neg"},
      {&constants.resolve_neg, "resolve_neg"},     {&constants.is_conj, "is_conj"}, {&constants.resolve_conj, "resolve_conj"},
      {&constants.dlpack, "__dlpack__"},
  };
  for (const auto& [slot, name] : names) {
    if (!(*slot = PyUnicode_InternFromString(name))) return false;
  }
  constants.version_keyword = Py_BuildValue("(s)", "max_version");
  constants.version = Py_BuildValue("(ii)", DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION);
  return constants.version_keyword && constants.version;
}

void drop_export() {
  for (PyObject** slot :
       {&constants.requires_grad, &constants.detach, &constants.is_neg, &constants.resolve_neg, &constants.is_conj,
        &constants.resolve_conj, &constants.dlpack, &constants.version_keyword, &constants.version}) {
    Py_CLEAR(*slot);
  }
}

}  // namespace deploy::guest
