#include "bindings/tensor_export.h"

#include <dlpack/dlpack.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/text.h"
#include "deploy/error.h"

namespace deploy::bindings {

namespace {

[[noreturn]] void throw_buffer_error(const std::string& message) {
  PyErr_SetString(PyExc_BufferError, message.c_str());
  throw nb::python_error();
}

// The unversioned form of a managed tensor, for consumers from before DLPack 1.0.
struct Unversioned {
  DLManagedTensor managed = {};
  DLManagedTensorVersioned* source;

  explicit Unversioned(DLManagedTensorVersioned* versioned) : source(versioned) {
    managed.dl_tensor = versioned->dl_tensor;
    managed.manager_ctx = this;
    managed.deleter = [](DLManagedTensor* self) { delete static_cast<Unversioned*>(self->manager_ctx); };
  }
  ~Unversioned() { source->deleter(source); }
};

// A consumer renames the capsule when it takes the tensor; one that still has its first name was never used.
template <class Managed>
void delete_capsule(PyObject* capsule, const char* name) {
  if (!PyCapsule_IsValid(capsule, name)) return;
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, name));
  managed->deleter(managed);
}

void delete_versioned(PyObject* capsule) { delete_capsule<DLManagedTensorVersioned>(capsule, "dltensor_versioned"); }
void delete_unversioned(PyObject* capsule) { delete_capsule<DLManagedTensor>(capsule, "dltensor"); }

template <class Managed>
nb::object capsule_of(Managed* managed, const char* name, PyCapsule_Destructor destructor) {
  PyObject* capsule = PyCapsule_New(managed, name, destructor);
  if (!capsule) {
    managed->deleter(managed);
    throw nb::python_error();
  }
  return nb::steal(capsule);
}

// A contiguous copy of a CPU tensor: rows of the innermost dimension, addressed by a counter over the outer ones.
Tensor copy_of(const Tensor& tensor) {
  std::vector<std::int64_t> shape(tensor.shape().begin(), tensor.shape().end());
  Tensor result = Tensor::empty(shape, tensor.dtype());
  const std::size_t size = tensor.dtype().size();
  const std::size_t dimensions = shape.size();
  const auto strides = tensor.strides();
  std::vector<std::int64_t> index(dimensions, 0);
  auto* to = static_cast<std::byte*>(result.data());
  for (std::int64_t left = tensor.numel(); left > 0; --left, to += size) {
    std::int64_t offset = 0;
    for (std::size_t d = 0; d < dimensions; ++d) offset += index[d] * strides[d];
    std::memcpy(to, static_cast<const std::byte*>(tensor.data()) + offset * static_cast<std::int64_t>(size), size);
    for (std::size_t d = dimensions; d-- > 0 && ++index[d] == shape[d];) index[d] = 0;
  }
  return result;
}

// The dl_device argument: None, or the device that the tensor is on.
void check_device(const Tensor& tensor, nb::handle dl_device) {
  if (dl_device.is_none()) return;
  const Device found = tensor.device();
  const Device asked = {to_ints(dl_device, "dl_device").first, to_ints(dl_device, "dl_device").second};
  if (asked == found) return;
  throw_buffer_error("the tensor is on DLPack device (" + std::to_string(found.type) + ", " + std::to_string(found.index) +
                     "), and cannot be exported to (" + std::to_string(asked.type) + ", " + std::to_string(asked.index) +
                     "); move it with the library that takes it");
}

// ---- __dlpack_c_exchange_api__: no exception may leave these functions. ----

template <class Function>
int with_python_error(Function&& function) noexcept {
  try {
    function();
    return 0;
  } catch (nb::python_error& error) {
    error.restore();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_BufferError, error.what());
  }
  return -1;
}

int allocate(DLTensor* prototype, DLManagedTensorVersioned** out, void* context,
             void (*set_error)(void*, const char*, const char*)) noexcept {
  try {
    const DLDataType& type = prototype->dtype;
    if (prototype->device.device_type != kDLCPU)
      throw Error(ErrorCode::kInvalidArgument, "deploy.Tensor allocates on the CPU only");
    *out = Tensor::empty({prototype->shape, prototype->shape + prototype->ndim}, {type.code, type.bits, type.lanes}).to_dlpack();
    return 0;
  } catch (const std::exception& error) {
    set_error(context, "BufferError", error.what());
    return -1;
  }
}

int from_object(void* object, DLManagedTensorVersioned** out) noexcept {
  return with_python_error([&] { *out = nb::cast<Tensor&>(nb::handle(static_cast<PyObject*>(object))).to_dlpack(); });
}

int to_object(DLManagedTensorVersioned* managed, void** out) noexcept {
  return with_python_error([&] { *out = nb::cast(Tensor::from_dlpack(managed)).release().ptr(); });
}

int view_object(void* object, DLTensor* out) noexcept {
  return with_python_error([&] {
    const auto& tensor = nb::cast<Tensor&>(nb::handle(static_cast<PyObject*>(object)));
    const DType type = tensor.dtype();
    out->data = tensor.data();
    out->device = {static_cast<DLDeviceType>(tensor.device().type), tensor.device().index};
    out->ndim = static_cast<std::int32_t>(tensor.shape().size());
    out->dtype = {type.code, type.bits, type.lanes};
    out->shape = const_cast<std::int64_t*>(tensor.shape().data());
    out->strides = const_cast<std::int64_t*>(tensor.strides().data());
    out->byte_offset = 0;
  });
}

// Null is the legacy default stream, which results of an interpreter are ordered on.
int current_stream(DLDeviceType, std::int32_t, void** out) noexcept {
  *out = nullptr;
  return 0;
}

}  // namespace

nb::object export_capsule(const Tensor& tensor, nb::handle max_version, nb::handle dl_device, std::optional<bool> copy) {
  check_device(tensor, dl_device);
  const bool copied = copy.value_or(false);
  if (copied && tensor.device().type != kDLCPU) throw_buffer_error("deploy.Tensor copies on the CPU only");
  const bool versioned = !max_version.is_none() && to_ints(max_version, "max_version").first >= 1;
  if (!versioned && !copied && tensor.read_only()) {
    throw_buffer_error("a read-only tensor needs a consumer that knows DLPack 1.0 (max_version)");
  }
  DLManagedTensorVersioned* managed = (copied ? copy_of(tensor) : tensor).to_dlpack();
  if (copied) managed->flags |= DLPACK_FLAG_BITMASK_IS_COPIED;
  if (versioned) return capsule_of(managed, "dltensor_versioned", delete_versioned);
  return capsule_of(&(new Unversioned(managed))->managed, "dltensor", delete_unversioned);
}

nb::object exchange_api_capsule() {
  static DLPackExchangeAPI api = {
      {{DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION}, nullptr}, allocate, from_object, to_object, view_object, current_stream};
  return nb::steal(PyCapsule_New(&api, "dlpack_exchange_api", nullptr));
}

}  // namespace deploy::bindings
