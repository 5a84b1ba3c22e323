// The type _deploy.Tensor, and how one host tensor is shared by several consumers.
//
//   host's managed tensor <- Holder <- TensorObject            (one reference)
//                                   <- Export <- a consumer    (one reference each: a capsule's, or one handed to the host)
//
// A consumer drops its export on any thread, with or without the GIL, so a Holder is counted atomically and lives on the C heap. An
// Export in a capsule has two owners, the capsule and the consumer that took the tensor out. Consumers that fail half-way are known
// both to call the deleter and to leave the capsule unconsumed; counting both owners and deleting once makes that harmless.

#include "lib/interpreter/guest/tensor_object.h"

#include <dlpack/dlpack.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

#include "lib/interpreter/guest/element_type.h"
#include "lib/interpreter/guest/tensors.h"

namespace deploy::guest {
namespace {

struct Holder {
  std::atomic<long> references{1};
  DLManagedTensorVersioned* managed;

  explicit Holder(DLManagedTensorVersioned* taken) : managed(taken) {}
  void acquire() { references.fetch_add(1, std::memory_order_relaxed); }
  void drop() {
    if (references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    drop_managed(managed);
    std::free(this);
  }
};

struct TensorObject {
  PyObject_HEAD Holder* holder;
};

Holder* holder_of(PyObject* self) { return reinterpret_cast<TensorObject*>(self)->holder; }
const DLTensor& tensor_of(PyObject* self) { return holder_of(self)->managed->dl_tensor; }
bool is_read_only(PyObject* self) { return holder_of(self)->managed->flags & DLPACK_FLAG_BITMASK_READ_ONLY; }

// Managed: DLManagedTensorVersioned, or DLManagedTensor for consumers that know no versions.
template <class Managed>
struct Export {
  Managed managed;  // first: the deleter gets its address
  Holder* holder;
  std::atomic<int> owners;
  std::atomic<bool> deleted{false};

  static Export* create(Holder* holder, int owners) {
    void* memory = std::malloc(sizeof(Export));
    if (!memory) return nullptr;
    auto* created = new (memory) Export{.managed = {}, .holder = holder, .owners = owners};
    holder->acquire();
    created->managed.dl_tensor = holder->managed->dl_tensor;
    created->managed.manager_ctx = created;
    created->managed.deleter = [](Managed* self) { static_cast<Export*>(self->manager_ctx)->remove(); };
    return created;
  }
  void remove() {
    if (deleted.exchange(true)) return;
    holder->drop();
    leave();
  }
  void leave() {
    if (owners.fetch_sub(1, std::memory_order_acq_rel) == 1) std::free(this);
  }
};

Export<DLManagedTensorVersioned>* new_versioned_export(Holder* holder, int owners) {
  auto* created = Export<DLManagedTensorVersioned>::create(holder, owners);
  if (!created) return nullptr;
  created->managed.version = holder->managed->version;
  created->managed.flags = holder->managed->flags;
  return created;
}

template <class Managed>
PyObject* new_capsule(Export<Managed>* exported, const char* name) {
  if (!exported) return PyErr_NoMemory();
  PyObject* capsule = PyCapsule_New(&exported->managed, name, [](PyObject* self) {
    const char* current = PyCapsule_GetName(self);  // a consumer that took the tensor has changed it
    auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(self, current));
    auto* owned = static_cast<Export<Managed>*>(managed->manager_ctx);
    if (std::strncmp(current, "used_", 5) != 0) owned->remove();
    owned->leave();
  });
  if (!capsule) {
    exported->remove();
    exported->leave();
  }
  return capsule;
}

// __dlpack__(*, stream=None, max_version=None, dl_device=None, copy=None). Streams are the consumer's affair: the host says nothing
// of them.
PyObject* dlpack(PyObject* self, PyObject* arguments, PyObject* keywords) {
  static const char* const names[] = {"stream", "max_version", "dl_device", "copy", nullptr};
  PyObject *stream = Py_None, *max_version = Py_None, *dl_device = Py_None, *copy = Py_None;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|$OOOO:__dlpack__", const_cast<char**>(names), &stream, &max_version,
                                   &dl_device, &copy)) {
    return nullptr;
  }
  if (copy == Py_True)
    return PyErr_Format(PyExc_BufferError, "_deploy.Tensor cannot copy its memory; copy the consumer's tensor"), nullptr;
  const DLDevice device = tensor_of(self).device;
  if (dl_device != Py_None) {
    int type = 0, index = 0;
    if (!PyTuple_Check(dl_device)) return PyErr_Format(PyExc_TypeError, "dl_device is a (type, index) tuple"), nullptr;
    if (!PyArg_ParseTuple(dl_device, "ii", &type, &index)) return nullptr;
    if (type != device.device_type || index != device.device_id) {
      return PyErr_Format(PyExc_BufferError, "_deploy.Tensor is on device (%d, %d) and cannot be moved to (%d, %d)",
                          static_cast<int>(device.device_type), static_cast<int>(device.device_id), type, index);
    }
  }
  long major = 0;
  if (max_version != Py_None) {
    if (!PyTuple_Check(max_version) || PyTuple_GET_SIZE(max_version) < 1)
      return PyErr_Format(PyExc_TypeError, "max_version is a tuple"), nullptr;
    major = PyLong_AsLong(PyTuple_GET_ITEM(max_version, 0));
    if (PyErr_Occurred()) return nullptr;
  }
  if (major >= DLPACK_MAJOR_VERSION) return new_capsule(new_versioned_export(holder_of(self), 2), "dltensor_versioned");
  if (is_read_only(self))
    return PyErr_Format(PyExc_BufferError, "a read-only tensor needs a consumer of DLPack 1.0 or later"), nullptr;
  return new_capsule(Export<DLManagedTensor>::create(holder_of(self), 2), "dltensor");
}

PyObject* dlpack_device(PyObject* self, PyObject*) {
  const DLDevice device = tensor_of(self).device;
  return Py_BuildValue("(ii)", static_cast<int>(device.device_type), static_cast<int>(device.device_id));
}

PyObject* tuple_of(const int64_t* values, int32_t count) {
  Ref tuple(PyTuple_New(count));
  for (int32_t i = 0; tuple && i < count; ++i) {
    PyObject* value = PyLong_FromLongLong(values[i]);
    if (!value) return nullptr;
    PyTuple_SET_ITEM(tuple.get(), i, value);
  }
  return tuple.release();
}

PyObject* get_shape(PyObject* self, void*) { return tuple_of(tensor_of(self).shape, tensor_of(self).ndim); }
PyObject* get_strides(PyObject* self, void*) { return tuple_of(tensor_of(self).strides, tensor_of(self).ndim); }
PyObject* get_dtype(PyObject* self, void*) { return element_type_name(tensor_of(self).dtype).release(); }
PyObject* get_read_only(PyObject* self, void*) { return PyBool_FromLong(is_read_only(self)); }

PyObject* repr(PyObject* self) {
  Ref shape(get_shape(self, nullptr)), dtype(get_dtype(self, nullptr));
  if (!shape || !dtype) return nullptr;
  const DLDevice device = tensor_of(self).device;
  return PyUnicode_FromFormat("<_deploy.Tensor of %U, shape %R, device (%d, %d)>", dtype.get(), shape.get(),
                              static_cast<int>(device.device_type), static_cast<int>(device.device_id));
}

void deallocate(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  if (Holder* holder = holder_of(self)) holder->drop();
  type->tp_free(self);
  Py_DECREF(type);
}

bool is_contiguous(const Py_buffer& view) {
  Py_ssize_t expected = view.itemsize;
  for (int i = view.ndim; i-- > 0;) {
    if (view.shape[i] != 1 && view.strides[i] != expected) return false;
    expected *= view.shape[i];
  }
  return true;
}

// The buffer protocol: memoryview(tensor), numpy.asarray(tensor).
int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  const DLTensor& tensor = tensor_of(self);
  const char* format = buffer_format(tensor.dtype);
  view->obj = nullptr;
  if (tensor.device.device_type != kDLCPU || !format) {
    return PyErr_Format(PyExc_BufferError,
                        "%R has no buffer: only CPU tensors of the element types that a memoryview knows have one", self),
           -1;
  }
  if ((flags & PyBUF_WRITABLE) && is_read_only(self)) return PyErr_Format(PyExc_BufferError, "%R is read-only", self), -1;

  const int32_t ndim = tensor.ndim;
  auto* sizes = static_cast<Py_ssize_t*>(PyMem_Malloc(sizeof(Py_ssize_t) * 2 * static_cast<size_t>(ndim + 1)));
  if (!sizes) return PyErr_NoMemory(), -1;
  *view = {.buf = static_cast<char*>(tensor.data) + tensor.byte_offset,
           .obj = nullptr,
           .len = 0,
           .itemsize = tensor.dtype.bits / 8,
           .readonly = is_read_only(self),
           .ndim = ndim,
           .format = nullptr,
           .shape = sizes,
           .strides = sizes + ndim,
           .suboffsets = nullptr,
           .internal = sizes};
  view->len = view->itemsize;
  for (int32_t i = 0; i < ndim; ++i) {
    view->shape[i] = tensor.shape[i];
    view->strides[i] = tensor.strides[i] * view->itemsize;
    view->len *= tensor.shape[i];
  }
  const bool needs_contiguous = (flags & PyBUF_STRIDES) != PyBUF_STRIDES || (flags & PyBUF_C_CONTIGUOUS) == PyBUF_C_CONTIGUOUS;
  if (needs_contiguous && !is_contiguous(*view)) {
    PyMem_Free(sizes);
    return PyErr_Format(PyExc_BufferError, "%R is not contiguous", self), -1;
  }
  if (flags & PyBUF_FORMAT) view->format = const_cast<char*>(format);
  if ((flags & PyBUF_STRIDES) != PyBUF_STRIDES) view->strides = nullptr;
  if ((flags & PyBUF_ND) != PyBUF_ND) view->shape = nullptr;
  view->obj = Py_NewRef(self);
  return 0;
}

void release_buffer(PyObject*, Py_buffer* view) { PyMem_Free(view->internal); }

PyMethodDef methods[] = {
    {"__dlpack__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(dlpack)), METH_VARARGS | METH_KEYWORDS,
     "The memory as a DLPack capsule."},
    {"__dlpack_device__", dlpack_device, METH_NOARGS, "(device type, device index)"},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef attributes[] = {
    {"shape", get_shape, nullptr, "The sizes.", nullptr},
    {"strides", get_strides, nullptr, "The strides, in elements.", nullptr},
    {"dtype", get_dtype, nullptr, "The element type's name.", nullptr},
    {"read_only", get_read_only, nullptr, "Whether the memory must not be written.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

template <class Function>
PyType_Slot slot(int id, Function* function) {
  return {id, reinterpret_cast<void*>(function)};
}

PyTypeObject* the_type = nullptr;

}  // namespace

PyTypeObject* tensor_type() { return the_type; }

bool prepare_tensor_type() {
  PyType_Slot slots[] = {
      slot(Py_tp_dealloc, deallocate),
      slot(Py_tp_repr, repr),
      {Py_tp_methods, methods},
      {Py_tp_getset, attributes},
      slot(Py_bf_getbuffer, get_buffer),
      slot(Py_bf_releasebuffer, release_buffer),
      {0, nullptr},
  };
  PyType_Spec spec = {"_deploy.Tensor", sizeof(TensorObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  the_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return the_type != nullptr;
}

void drop_tensor_type() { Py_CLEAR(the_type); }

Ref new_tensor_object(DLManagedTensorVersioned* managed) {
  void* memory = std::malloc(sizeof(Holder));
  if (!memory) {
    drop_managed(managed);
    PyErr_NoMemory();
    return Ref();
  }
  auto* holder = new (memory) Holder(managed);
  auto* self = reinterpret_cast<TensorObject*>(the_type->tp_alloc(the_type, 0));
  if (!self) {
    holder->drop();
    return Ref();
  }
  self->holder = holder;
  return Ref(reinterpret_cast<PyObject*>(self));
}

DLManagedTensorVersioned* export_tensor_object(PyObject* tensor) {
  auto* exported = new_versioned_export(holder_of(tensor), 1);
  if (!exported) return PyErr_NoMemory(), nullptr;
  return &exported->managed;
}

}  // namespace deploy::guest
