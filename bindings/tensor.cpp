#include "deploy/tensor.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <span>

#include "bindings/exports.h"
#include "bindings/tensor_export.h"
#include "bindings/values.h"

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

constexpr const char* kTensorDoc =
    "An array whose memory somebody else may own: what tensors come back as. Any library that knows DLPack takes it without a "
    "copy:\n"
    "torch.from_dlpack(t), numpy.from_dlpack(t). The memory lives until the last handle, here or in an interpreter, is gone.\n\n"
    "Tensor(x) makes one of anything that has __dlpack__, sharing its memory. Thread-safe; writes to the elements are the caller's "
    "to "
    "synchronise.";

constexpr const char* kDlpackDoc =
    "The DLPack protocol of the array API standard. copy=True copies CPU tensors; dl_device may only name the tensor's own device. "
    "Results of\n"
    "interpreters are ordered on CUDA's legacy default stream, so stream is not looked at.";

}  // namespace

void export_tensor(nb::module_& m) {
  auto tensor = nb::class_<Tensor>(m, "Tensor", kTensorDoc);
  tensor
      .def(
          "__init__", [](Tensor* self, nb::object source) { new (self) Tensor(to_value(source, "the source").as_tensor()); },
          nb::arg("source"))
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
