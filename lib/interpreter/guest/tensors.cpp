// Tensors from the host: one DLPack tensor becomes one torch.Tensor, numpy.ndarray or _deploy.Tensor over the same memory.
// tensor_export.cpp is the way back.
//
// Which of the three is what the host says of the tensor, and where it says nothing a matter of the interpreter: model code must
// not get another type because of what somebody imported before. So torch is imported at the first tensor that is not meant for
// numpy, where it can be, and only where it cannot numpy is asked for. What numpy cannot hold (bfloat16, memory of a device)
// becomes a torch.Tensor, or stays a _deploy.Tensor.
//
// PyTorch's exchange table takes a tensor in 0.2 us, but it is fed only what is known to be taken: with an element type or a device
// that PyTorch does not have it fails with or without having called the deleter, and with a CUDA device in a PyTorch that never
// initialised CUDA it crashes. Everything else goes through torch.from_dlpack and a _deploy.Tensor, which survives both. Negative
// strides survive nothing: PyTorch terminates the process.

#include "lib/interpreter/guest/tensors.h"

#include <dlpack/dlpack.h>

#include "lib/interpreter/guest/element_type.h"
#include "lib/interpreter/guest/errors.h"
#include "lib/interpreter/guest/names.h"
#include "lib/interpreter/guest/tensor_object.h"

namespace deploy::guest {
namespace {

// A library that can hold tensors: looked for at the first tensor, and again only once somebody else has loaded it.
struct Library {
  const char* name;
  const char* constructor;  // the function of the module that takes a _deploy.Tensor
  PyObject* construct = nullptr;
  PyObject* module = nullptr;
  bool absent = false;
};

Library torch = {"torch", "from_dlpack"};
Library numpy = {"numpy", "asarray"};
const DLPackExchangeAPI* torch_exchange = nullptr;
std::uint64_t torch_ready_gpus = 0;  // bit i: torch.from_dlpack has taken a tensor of GPU i

bool is_missing_module(const Ref& exception, const char* name) {
  if (!exception || !PyErr_GivenExceptionMatches(exception.get(), PyExc_ModuleNotFoundError)) return false;
  Ref missing(PyObject_GetAttrString(exception.get(), "name"));
  if (!missing) PyErr_Clear();
  return missing && PyUnicode_Check(missing.get()) && PyUnicode_CompareWithASCIIString(missing.get(), name) == 0;
}

enum class Found { kNo, kYes, kRaised };

// kRaised: reported. A library that is there and does not import is an error of the environment, not a reason to take another one.
Found find(Library& library, deploy_error* error) {
  if (library.construct) return Found::kYes;
  if (library.absent && !loaded_module(library.name)) return Found::kNo;
  Ref module(PyImport_ImportModule(library.name));
  if (!module) {
    Ref exception = take_exception();
    library.absent = is_missing_module(exception, library.name);
    if (library.absent) return Found::kNo;
    report_exception(error, exception);
    return Found::kRaised;
  }
  Ref construct(PyObject_GetAttrString(module.get(), library.constructor));
  if (!construct) {  // something else of that name
    PyErr_Clear();
    library.absent = true;
    return Found::kNo;
  }
  library.module = module.release();
  library.construct = construct.release();
  return Found::kYes;
}

bool is_gpu(DLDevice device) { return device.device_type == kDLCUDA || device.device_type == kDLROCM; }

bool is_ready(DLDevice device) {
  if (device.device_type == kDLCPU) return true;
  return is_gpu(device) && device.device_id >= 0 && device.device_id < 64 && (torch_ready_gpus >> device.device_id & 1);
}

// Whether the exchange table takes it for sure.
bool is_plain(const DLTensor& tensor) { return is_ready(tensor.device) && torch_has(tensor.dtype); }

bool has_negative_stride(const DLTensor& tensor) {
  for (int32_t i = 0; tensor.strides && i < tensor.ndim; ++i) {
    if (tensor.strides[i] < 0) return true;
  }
  return false;
}

// What stands for the tensor in a message, once it is a _deploy.Tensor.
Ref refused(PyObject* own, const char* library, deploy_error* error) {
  Ref exception = take_exception();
  if (is_refusal(exception)) {
    report(error, ErrorCode::kInvalidArgument, "%s cannot take the argument %R: %S", library, own, summary(exception).get());
  } else {
    report_exception(error, exception);
  }
  return Ref();
}

Ref through_protocol(const Library& library, DLManagedTensorVersioned* managed, deploy_error* error) {
  Ref own = new_tensor_object(managed);
  if (!own) {
    report_exception(error);
    return Ref();
  }
  Ref tensor(PyObject_CallOneArg(library.construct, own.get()));
  return tensor ? std::move(tensor) : refused(own.get(), library.name, error);
}

Ref through_exchange(DLManagedTensorVersioned* managed, deploy_error* error) {
  void* tensor = nullptr;
  if (torch_exchange->managed_tensor_to_py_object_no_sync(managed, &tensor) == 0) return Ref(static_cast<PyObject*>(tensor));
  report_exception(error);  // no memory is left; `managed` went into the call, and whether it was freed there is not known
  return Ref();
}

Ref to_torch(DLManagedTensorVersioned* managed, deploy_error* error) {
  if (has_negative_stride(managed->dl_tensor)) {
    drop_managed(managed);
    report(error, ErrorCode::kInvalidArgument,
           "torch cannot take a tensor argument with a negative stride; pass a contiguous copy of it");
    return Ref();
  }
  if (!torch_exchange) {
    Ref type(PyObject_GetAttrString(torch.module, "Tensor"));
    if (type) torch_exchange = exchange_api_of(type.get());
    PyErr_Clear();
  }
  const DLDevice device = managed->dl_tensor.device;
  const bool read_only = managed->flags & DLPACK_FLAG_BITMASK_READ_ONLY;
  Ref tensor =
      torch_exchange && is_plain(managed->dl_tensor) ? through_exchange(managed, error) : through_protocol(torch, managed, error);
  if (!tensor) return Ref();
  if (is_gpu(device) && device.device_id >= 0 && device.device_id < 64) torch_ready_gpus |= std::uint64_t{1} << device.device_id;
  if (!read_only) return tensor;
  // PyTorch has no read-only tensors: an in-place operation would write into memory that the host promised not to change.
  Ref copy(PyObject_CallMethod(tensor.get(), "clone", nullptr));
  if (!copy) report_exception(error);
  return copy;
}

bool fits_numpy(const DLTensor& tensor) { return tensor.device.device_type == kDLCPU && buffer_format(tensor.dtype); }

Ref to_own(DLManagedTensorVersioned* managed, deploy_error* error) {
  Ref own = new_tensor_object(managed);
  if (!own) report_exception(error);
  return own;
}

// By the buffer protocol: unlike numpy.from_dlpack it is the same in every version, read-only memory included.
Ref to_numpy(DLManagedTensorVersioned* managed, deploy_error* error) {
  return fits_numpy(managed->dl_tensor) ? through_protocol(numpy, managed, error) : to_own(managed, error);
}

// For a tensor that numpy can hold and the host means for it.
Ref as_ndarray(DLManagedTensorVersioned* managed, deploy_error* error) {
  const Found found = find(numpy, error);
  if (found == Found::kYes) return to_numpy(managed, error);
  drop_managed(managed);
  if (found == Found::kNo) {
    report(
        error, ErrorCode::kEnvironment,
        "an argument is a numpy array, and the interpreter's environment has no numpy: install it there, or pass a tensor that is "
        "not marked for numpy (Tensor::with_library(TensorLibrary::kAny), in Python deploy.Tensor(x, library=None))");
  }
  return Ref();
}

// Not every consumer looks at byte_offset (PyTorch does not). An opaque handle of a device cannot be added to.
void fold_byte_offset(DLTensor& tensor) {
  if (!tensor.byte_offset || (tensor.device.device_type != kDLCPU && !is_gpu(tensor.device))) return;
  tensor.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
  tensor.byte_offset = 0;
}

}  // namespace

void drop_managed(DLManagedTensorVersioned* managed) {
  if (managed && managed->deleter) managed->deleter(managed);
}

Ref import_tensor(DLManagedTensorVersioned* managed, uint32_t library, deploy_error* error) {
  fold_byte_offset(managed->dl_tensor);
  if (library == DEPLOY_NUMPY && fits_numpy(managed->dl_tensor)) return as_ndarray(managed, error);
  Found found = find(torch, error);
  if (found == Found::kYes) return to_torch(managed, error);
  if (found == Found::kNo) found = find(numpy, error);
  if (found == Found::kYes) return to_numpy(managed, error);
  if (found == Found::kRaised) {
    drop_managed(managed);
    return Ref();
  }
  return to_own(managed, error);
}

void drop_libraries() {
  for (Library* library : {&torch, &numpy}) {
    Py_CLEAR(library->construct);
    Py_CLEAR(library->module);
  }
  torch_exchange = nullptr;
}

}  // namespace deploy::guest
