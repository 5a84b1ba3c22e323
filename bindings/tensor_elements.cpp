#include "bindings/tensor_elements.h"

#include <dlpack/dlpack.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/text.h"

namespace deploy::bindings {

namespace {

constexpr std::int32_t kCpu = 1;

nb::object checked(PyObject* object) {
  if (!object) throw nb::python_error();
  return nb::steal(object);
}

[[noreturn]] void throw_type_error(const std::string& message) { throw nb::type_error(message.c_str()); }

void check_on_cpu(const Tensor& tensor, const char* what) {
  if (tensor.device().type == kCpu) return;
  throw_type_error(std::string("the elements of a deploy.Tensor on another device than the CPU have no ") + what +
                   "; use torch.from_dlpack(tensor).cpu()");
}

template <class T>
T read(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

nb::object real(double value) { return checked(PyFloat_FromDouble(value)); }

nb::object integer(const std::byte* at, DType dtype) {
  const bool is_signed = dtype.code == kDLInt;
  switch (dtype.bits) {
    case 8:
      return nb::int_(is_signed ? read<std::int8_t>(at) : int{read<std::uint8_t>(at)});
    case 16:
      return nb::int_(is_signed ? read<std::int16_t>(at) : int{read<std::uint16_t>(at)});
    case 32:
      return nb::int_(is_signed ? std::int64_t{read<std::int32_t>(at)} : std::int64_t{read<std::uint32_t>(at)});
    default:
      return is_signed ? nb::int_(read<std::int64_t>(at)) : nb::int_(read<std::uint64_t>(at));
  }
}

// Of an IEEE half: a sign, 5 bits of exponent, 10 of fraction.
double from_half(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const double fraction = bits & 1023;
  const double sign = bits & 0x8000 ? -1.0 : 1.0;
  if (exponent == 31)
    return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  return sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
}

// Null where Python has no number for the element type.
nb::object number(const std::byte* at, DType dtype) {
  if (dtype == DType::boolean()) return nb::bool_(read<std::uint8_t>(at) != 0);
  if (dtype.lanes == 1 && (dtype.code == kDLInt || dtype.code == kDLUInt) && dtype.bits >= 8 && dtype.bits <= 64 &&
      std::has_single_bit(dtype.bits)) {
    return integer(at, dtype);
  }
  if (dtype == DType::float32()) return real(double{read<float>(at)});
  if (dtype == DType::float64()) return real(read<double>(at));
  if (dtype == DType::float16()) return real(from_half(read<std::uint16_t>(at)));
  if (dtype == DType::bfloat16()) return real(double{std::bit_cast<float>(std::uint32_t{read<std::uint16_t>(at)} << 16)});
  if (dtype == DType::complex64()) {
    return checked(PyComplex_FromDoubles(double{read<float>(at)}, double{read<float>(at + sizeof(float))}));
  }
  if (dtype == DType::complex128()) return checked(PyComplex_FromDoubles(read<double>(at), read<double>(at + sizeof(double))));
  return {};
}

nb::object number_of(const Tensor& tensor, const std::byte* at) {
  nb::object result = number(at, tensor.dtype());
  if (result.is_valid()) return result;
  throw_type_error("Python has no number for an element of type " + to_string(tensor.dtype()) +
                   "; use torch.from_dlpack(tensor).float()");
}

nb::object list_of(const Tensor& tensor, std::size_t dimension, const std::byte* at) {
  if (dimension == tensor.shape().size()) return number_of(tensor, at);
  const std::int64_t size = tensor.shape()[dimension];
  const std::int64_t step = tensor.strides()[dimension] * static_cast<std::int64_t>(tensor.dtype().size());
  nb::object list = checked(PyList_New(size));
  for (std::int64_t i = 0; i < size; ++i) {
    PyList_SET_ITEM(list.ptr(), i, list_of(tensor, dimension + 1, at + i * step).release().ptr());
  }
  return list;
}

// What is picked out of a tensor so far, dimension by dimension.
struct Picked {
  const Tensor& tensor;
  std::size_t dimension = 0;  // the next one of the tensor
  std::int64_t offset = 0;    // in elements
  std::vector<std::int64_t> shape = {}, strides = {};

  void keep(std::size_t count) {
    for (; count > 0; --count, ++dimension) {
      shape.push_back(tensor.shape()[dimension]);
      strides.push_back(tensor.strides()[dimension]);
    }
  }

  void pick(Py_ssize_t index) {
    const std::int64_t size = tensor.shape()[dimension];
    if (index < -size || index >= size) {
      throw nb::index_error(("index " + std::to_string(index) + " is out of bounds for dimension " + std::to_string(dimension) +
                             " of size " + std::to_string(size))
                                .c_str());
    }
    offset += (index < 0 ? index + size : index) * tensor.strides()[dimension];
    ++dimension;
  }

  void cut(nb::handle slice) {
    Py_ssize_t begin = 0, end = 0, step = 0;
    if (PySlice_Unpack(slice.ptr(), &begin, &end, &step) < 0) throw nb::python_error();
    const Py_ssize_t length = PySlice_AdjustIndices(tensor.shape()[dimension], &begin, &end, step);
    offset += length ? begin * tensor.strides()[dimension] : 0;
    shape.push_back(length);
    strides.push_back(tensor.strides()[dimension] * step);
    ++dimension;
  }
};

// How many dimensions of the tensor an index takes up.
std::size_t dimensions_of(nb::handle index) { return index.is_none() || index.ptr() == Py_Ellipsis ? 0 : 1; }

void apply(Picked& picked, nb::handle index, std::size_t left_out) {
  if (index.is_none()) {
    picked.shape.push_back(1);
    picked.strides.push_back(0);
  } else if (index.ptr() == Py_Ellipsis) {
    picked.keep(left_out);
  } else if (PySlice_Check(index.ptr())) {
    picked.cut(index);
  } else if (PyIndex_Check(index.ptr()) && !PyBool_Check(index.ptr()) && !nb::isinstance<Tensor>(index)) {
    const Py_ssize_t number = PyNumber_AsSsize_t(index.ptr(), PyExc_IndexError);
    if (number == -1 && PyErr_Occurred()) throw nb::python_error();
    picked.pick(number);
  } else {
    throw_type_error("a deploy.Tensor is indexed by int, slice, ... and None, not by " + name_of_type(index) +
                     "; numpy.asarray(tensor) and torch.from_dlpack(tensor) take every index that their libraries have");
  }
}

// A view as a tensor of its own, which keeps the one that it is of.
struct View {
  DLManagedTensorVersioned managed = {};
  Tensor source;
  std::vector<std::int64_t> shape, strides;
};

Tensor make_view(Picked picked) {
  const Tensor& source = picked.tensor;
  auto view = std::make_unique<View>(View{{}, source, std::move(picked.shape), std::move(picked.strides)});
  const DType dtype = source.dtype();
  const Device device = source.device();
  view->managed.version = {DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION};
  view->managed.manager_ctx = view.get();
  view->managed.deleter = [](DLManagedTensorVersioned* self) { delete static_cast<View*>(self->manager_ctx); };
  view->managed.flags = source.read_only() ? DLPACK_FLAG_BITMASK_READ_ONLY : 0;
  view->managed.dl_tensor = {
      .data = static_cast<std::byte*>(source.data()) + picked.offset * static_cast<std::int64_t>(dtype.size()),
      .device = {static_cast<DLDeviceType>(device.type), device.index},
      .ndim = static_cast<std::int32_t>(view->shape.size()),
      .dtype = {dtype.code, dtype.bits, dtype.lanes},
      .shape = view->shape.data(),
      .strides = view->strides.data(),
      .byte_offset = 0};
  Tensor result = Tensor::from_dlpack(&view->managed).with_library(source.library());
  static_cast<void>(view.release());
  return result;
}

// Whether the elements lie without gaps in the order that a consumer of the buffer asks for.
bool has_order(const Py_buffer& view, int flags) {
  const auto asks = [flags](int flag) { return (flags & flag) == flag; };
  const bool any_order = asks(PyBUF_ANY_CONTIGUOUS);
  if ((asks(PyBUF_C_CONTIGUOUS) || any_order || !asks(PyBUF_STRIDES)) && PyBuffer_IsContiguous(&view, 'C')) return true;
  if ((asks(PyBUF_F_CONTIGUOUS) || any_order) && PyBuffer_IsContiguous(&view, 'F')) return true;
  return asks(PyBUF_STRIDES) && !asks(PyBUF_C_CONTIGUOUS) && !asks(PyBUF_F_CONTIGUOUS) && !any_order;
}

}  // namespace

nb::object item(const Tensor& tensor) {
  check_on_cpu(tensor, "value in Python");
  if (tensor.numel() != 1) {
    throw nb::value_error(("only a deploy.Tensor of one element is a number; this one has " + std::to_string(tensor.numel()) +
                           ": use tolist(), numpy.asarray(tensor) or torch.from_dlpack(tensor)")
                              .c_str());
  }
  return number_of(tensor, static_cast<const std::byte*>(tensor.data()));
}

nb::object to_list(const Tensor& tensor) {
  check_on_cpu(tensor, "values in Python");
  return list_of(tensor, 0, static_cast<const std::byte*>(tensor.data()));
}

Tensor view(const Tensor& tensor, nb::handle index) {
  const nb::object indices = PyTuple_Check(index.ptr()) ? nb::borrow(index) : nb::object(nb::make_tuple(index));
  std::size_t named = 0, ellipses = 0;
  for (nb::handle each : indices) {
    named += dimensions_of(each);
    ellipses += each.ptr() == Py_Ellipsis;
  }
  const std::size_t dimensions = tensor.shape().size();
  if (named > dimensions || ellipses > 1) {
    throw nb::index_error(ellipses > 1 ? "an index can only have a single ellipsis ('...')"
                                       : ("a deploy.Tensor of " + std::to_string(dimensions) + " dimensions was indexed with " +
                                          std::to_string(named) + (dimensions ? "" : "; use item()"))
                                             .c_str());
  }
  Picked picked{tensor};
  for (nb::handle each : indices) apply(picked, each, dimensions - named);
  picked.keep(dimensions - picked.dimension);
  return make_view(std::move(picked));
}

const char* buffer_format(DType dtype) {
  static constexpr const char* kSigned[] = {"b", "h", "i", "l"};
  static constexpr const char* kUnsigned[] = {"B", "H", "I", "L"};
  if (dtype == DType::boolean()) return "?";
  if (dtype == DType::float16()) return "e";
  if (dtype == DType::float32()) return "f";
  if (dtype == DType::float64()) return "d";
  if (dtype == DType::complex64()) return "Zf";
  if (dtype == DType::complex128()) return "Zd";
  const bool is_integer = dtype.code == kDLInt || dtype.code == kDLUInt;
  if (!is_integer || dtype.lanes != 1 || dtype.bits < 8 || dtype.bits > 64 || !std::has_single_bit(dtype.bits)) return nullptr;
  return (dtype.code == kDLInt ? kSigned : kUnsigned)[std::countr_zero(dtype.bits) - 3];
}

int get_buffer(PyObject* self, Py_buffer* view, int flags) noexcept {
  view->obj = nullptr;
  const nb::handle object(self);
  if (!nb::inst_ready(object) || !nb::inst_ptr<Tensor>(object)->defined()) {
    PyErr_SetString(PyExc_BufferError, "a deploy.Tensor whose __init__ was not called has no memory");
    return -1;
  }
  const Tensor& tensor = *nb::inst_ptr<Tensor>(object);
  const char* format = buffer_format(tensor.dtype());
  if (tensor.device().type != kCpu || !format) {
    PyErr_Format(PyExc_BufferError,
                 "%R has no buffer: only CPU tensors of the element types that a memoryview knows have one; use "
                 "torch.from_dlpack(tensor)",
                 self);
    return -1;
  }
  if ((flags & PyBUF_WRITABLE) && tensor.read_only()) return PyErr_Format(PyExc_BufferError, "%R is read-only", self), -1;
  const auto ndim = static_cast<int>(tensor.shape().size());
  auto* sizes = static_cast<Py_ssize_t*>(PyMem_Malloc(sizeof(Py_ssize_t) * 2 * static_cast<std::size_t>(ndim + 1)));
  if (!sizes) return PyErr_NoMemory(), -1;
  *view = {};
  view->buf = tensor.data();
  view->itemsize = static_cast<Py_ssize_t>(tensor.dtype().size());
  view->readonly = tensor.read_only();
  view->ndim = ndim;
  view->shape = sizes;
  view->strides = sizes + ndim;
  view->internal = sizes;
  view->len = view->itemsize;
  for (int i = 0; i < ndim; ++i) {
    const auto dimension = static_cast<std::size_t>(i);
    view->shape[i] = tensor.shape()[dimension];
    view->strides[i] = tensor.strides()[dimension] * view->itemsize;
    view->len *= view->shape[i];
  }
  if (!has_order(*view, flags)) {
    PyMem_Free(sizes);
    return PyErr_Format(PyExc_BufferError, "%R is not contiguous", self), -1;
  }
  if (flags & PyBUF_FORMAT) view->format = const_cast<char*>(format);
  if ((flags & PyBUF_STRIDES) != PyBUF_STRIDES) view->strides = nullptr;
  if ((flags & PyBUF_ND) != PyBUF_ND) view->shape = nullptr;
  view->obj = Py_NewRef(self);
  return 0;
}

void release_buffer(PyObject*, Py_buffer* view) noexcept { PyMem_Free(view->internal); }

}  // namespace deploy::bindings
