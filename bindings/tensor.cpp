#include "deploy/tensor.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <span>

#include "bindings/exports.h"
#include "bindings/refusals.h"
#include "bindings/tensor_elements.h"
#include "bindings/tensor_export.h"
#include "bindings/text.h"
#include "bindings/values.h"
#include "deploy/error.h"

namespace deploy::bindings {

namespace {

nb::tuple tuple_of(std::span<const std::int64_t> numbers) {
  nb::list items;
  for (std::int64_t number : numbers) items.append(number);
  return nb::tuple(items);
}

// "cpu", "cuda:0"; DLPack's number for the rarer ones.
std::string device_name(Device device) {
  if (device.type == 1) return "cpu";
  const std::string index = ":" + std::to_string(device.index);
  return device.type == 2 ? "cuda" + index : "dlpack-device-" + std::to_string(device.type) + index;
}

std::string repr(const Tensor& tensor) {
  std::string shape = nb::cast<std::string>(nb::repr(tuple_of(tensor.shape())));
  std::string device = tensor.device().type == 1 ? "" : ", device=" + device_name(tensor.device());
  return "deploy.Tensor(shape=" + shape + ", dtype=" + to_string(tensor.dtype()) + device + ")";
}

PyType_Slot kSlots[] = {
    {Py_bf_getbuffer, reinterpret_cast<void*>(&get_buffer)},
    {Py_bf_releasebuffer, reinterpret_cast<void*>(&release_buffer)},
    {0, nullptr},
};

constexpr const char* kTensorDoc =
    "An array whose memory somebody else may own: what tensors come back as. Any library that knows DLPack takes it without a "
    "copy:\n"
    "torch.from_dlpack(t), numpy.asarray(t), memoryview(t). The memory lives until the last handle, here or in an interpreter, is "
    "gone.\n"
    "It has len(), basic indexing (views), item(), tolist() and float(), and no arithmetic: that is a library's.\n\n"
    "Tensor(x) makes one of anything that has __dlpack__, sharing its memory. `library` says what Python code in an interpreter "
    "gets for it:\n"
    "\"numpy\" a numpy.ndarray, \"torch\" a torch.Tensor, None what the environment has, torch first; left out, what the source "
    "is. Thread-safe;\n"
    "writes to the elements are the caller's to synchronise.";

constexpr const char* kDlpackDoc =
    "The DLPack protocol of the array API standard. copy=True copies CPU tensors; dl_device may only name the tensor's own device. "
    "Results of\n"
    "interpreters are ordered on CUDA's legacy default stream, so stream is not looked at.";

// Unset: what the source is.
TensorLibrary to_library(nb::handle name, TensorLibrary of_source) {
  if (name.ptr() == Py_Ellipsis) return of_source;
  if (name.is_none()) return TensorLibrary::kAny;
  for (const TensorLibrary library : {TensorLibrary::kTorch, TensorLibrary::kNumpy}) {
    if (PyUnicode_Check(name.ptr()) && PyUnicode_CompareWithASCIIString(name.ptr(), to_string(library)) == 0) return library;
  }
  throw Error(ErrorCode::kInvalidArgument, "library: found " + short_repr(name) + ", expected \"numpy\", \"torch\" or None");
}

nb::object library_name(const Tensor& self) {
  if (self.library() == TensorLibrary::kAny) return nb::none();
  return nb::str(to_string(self.library()));
}

Py_ssize_t length(const Tensor& self) {
  if (self.shape().empty()) throw nb::type_error("a deploy.Tensor of no dimensions has no len(); use item()");
  return static_cast<Py_ssize_t>(self.shape()[0]);
}

nb::object iterate(const Tensor& self) {
  const Py_ssize_t size = length(self);
  nb::list items;
  for (Py_ssize_t i = 0; i < size; ++i) items.append(view(self, nb::int_(i)));
  return nb::iter(items);
}

// For numpy where the buffer protocol does not do it: to say why.
nb::object to_array(nb::handle self, nb::handle dtype, nb::handle copy) {
  nb::object buffer = nb::steal(PyMemoryView_FromObject(self.ptr()));
  if (!buffer.is_valid()) {
    PyErr_Clear();
    const auto& tensor = nb::cast<const Tensor&>(self);
    throw nb::type_error(("numpy has no array of " + to_string(tensor.dtype()) + " on " + device_name(tensor.device()) +
                          "; use torch.from_dlpack(tensor)")
                             .c_str());
  }
  nb::object numpy = nb::module_::import_("numpy");
  nb::object array = numpy.attr("asarray")(buffer);
  if (!dtype.is_none() && !array.attr("dtype").equal(dtype)) return array.attr("astype")(dtype);
  return copy.ptr() == Py_True ? array.attr("copy")() : array;
}

// Two tensors, or a tensor and a number, are not compared silently by identity. A numpy array compares itself with a buffer, and
// for what is neither, identity is the answer.
nb::object compare(const Tensor&, nb::handle other) {
  const bool is_numpys = PyObject_HasAttrString(reinterpret_cast<PyObject*>(Py_TYPE(other.ptr())), "__array_ufunc__") == 1;
  if (!PyNumber_Check(other.ptr()) || is_numpys) return nb::borrow(Py_NotImplemented);
  throw nb::type_error(
      "a deploy.Tensor does not compare elements; use numpy.asarray(tensor) == other, torch.from_dlpack(tensor) == other, or "
      "tensor.tolist()");
}

nb::object no_attribute(const Tensor&, nb::str name) {
  const std::string text = attribute_name(name);
  std::string message = "deploy.Tensor has no attribute '" + text + "'";
  if (!text.starts_with("__")) {
    message += ": it holds elements, and has no operations on them. numpy.asarray(tensor)." + text +
               " or torch.from_dlpack(tensor)." + text + " is a library's; both share the memory";
  }
  throw nb::attribute_error(message.c_str());
}

nb::object to_complex(const Tensor& self) {
  const Py_complex parts = PyComplex_AsCComplex(item(self).ptr());
  if (PyErr_Occurred()) throw nb::python_error();
  return nb::steal(PyComplex_FromDoubles(parts.real, parts.imag));
}

void export_elements(nb::class_<Tensor>& tensor) {
  tensor.def("item", &item, "The only element as a Python number. Raises ValueError where there are more, or none.")
      .def("tolist", &to_list, "The elements as lists inside each other; of no dimensions: item().")
      .def(
          "numpy", [](nb::handle self) { return nb::module_::import_("numpy").attr("asarray")(self); },
          nb::sig("def numpy(self) -> typing.Any"), "numpy.asarray(self): an array over the same memory.")
      .def("__array__", &to_array, nb::arg("dtype") = nb::none(), nb::arg("copy") = nb::none())
      .def("__len__", &length)
      .def("__iter__", &iterate)
      .def("__getitem__", &view, nb::arg("index").none())
      .def("__bool__", [](const Tensor& self) { return PyObject_IsTrue(item(self).ptr()) == 1; })
      .def("__float__", [](const Tensor& self) { return nb::float_(item(self)); })
      .def("__int__", [](const Tensor& self) { return nb::int_(item(self)); })
      .def("__complex__", &to_complex)
      .def("__eq__", &compare, nb::arg("other").none())
      .def("__ne__", &compare, nb::arg("other").none())
      .def("__getattr__", &no_attribute);
  refuse(tensor, "__setitem__",
         "a deploy.Tensor takes no elements; numpy.asarray(tensor)[...] = value writes into the same memory");
  refuse(tensor, "__await__",
         "a deploy.Tensor cannot be awaited: the call that gave it is over. A call blocks its thread and releases the GIL; in a "
         "coroutine, await asyncio.to_thread(model, x)");
}

}  // namespace

void export_tensor(nb::module_& m) {
  auto tensor = nb::class_<Tensor>(m, "Tensor", kTensorDoc, nb::type_slots(kSlots));
  export_elements(tensor);
  tensor
      .def(
          "__init__",
          [](Tensor* self, nb::object source, nb::object library) {
            const Tensor tensor = to_value(source, "the source").as_tensor();
            new (self) Tensor(tensor.with_library(to_library(library, tensor.library())));
          },
          nb::arg("source"), nb::arg("library").none() = nb::ellipsis())
      .def(
          "__dlpack__",
          [](const Tensor& self, nb::object, nb::object max_version, nb::object dl_device, std::optional<bool> copy) {
            return export_capsule(self, max_version, dl_device, copy);
          },
          nb::kw_only(), nb::arg("stream") = nb::none(), nb::arg("max_version") = nb::none(), nb::arg("dl_device") = nb::none(),
          nb::arg("copy") = nb::none(), kDlpackDoc)
      .def(
          "__dlpack_device__", [](const Tensor& self) { return nb::make_tuple(self.device().type, self.device().index); },
          "(device type, index) in DLPack's numbers: (1, 0) is the CPU.")
      .def_prop_ro(
          "shape", [](const Tensor& self) { return tuple_of(self.shape()); }, "The sizes, a tuple of int.")
      .def_prop_ro(
          "strides", [](const Tensor& self) { return tuple_of(self.strides()); },
          "In elements, not bytes; a tuple as long as shape.")
      .def_prop_ro(
          "dtype", [](const Tensor& self) { return to_string(self.dtype()); },
          "The element type as PyTorch and numpy name it: \"float32\".")
      .def_prop_ro(
          "device", [](const Tensor& self) { return device_name(self.device()); }, "\"cpu\" or \"cuda:0\".")
      .def_prop_ro("library", &library_name,
                   "What Python code in an interpreter gets for it, or gave: \"numpy\", \"torch\", or None.")
      .def_prop_ro("ndim", [](const Tensor& self) { return self.shape().size(); })
      .def_prop_ro(
          "nbytes", [](const Tensor& self) { return self.nbytes(); }, "Bytes of all elements.")
      .def_prop_ro("read_only", &Tensor::read_only, "Whether the owner of the memory forbids writes.")
      .def("numel", &Tensor::numel, "The number of elements.")
      .def("is_contiguous", &Tensor::is_contiguous, "Whether the elements lie row-major without gaps.")
      .def(
          "data_ptr", [](const Tensor& self) { return reinterpret_cast<std::uintptr_t>(self.data()); },
          "The address of the first element.")
      .def("__repr__", &repr);
  tensor.attr("__dlpack_c_exchange_api__") = exchange_api_capsule();
}

}  // namespace deploy::bindings
