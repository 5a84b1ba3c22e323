#pragma once

#include <nanobind/nanobind.h>

#include <optional>

#include "deploy/tensor.h"

namespace deploy::bindings {

namespace nb = nanobind;

// What deploy.Tensor.__dlpack__ does, see https://data-apis.org/array-api: a capsule "dltensor_versioned" for a consumer that says
// max_version=(1, x), else "dltensor". Raises BufferError where DLPack asks for it.
nb::object export_capsule(const Tensor& tensor, nb::handle max_version, nb::handle dl_device, std::optional<bool> copy);

// A capsule of the C functions that __dlpack_c_exchange_api__ holds. With them a consumer exchanges deploy.Tensor without Python
// calls.
nb::object exchange_api_capsule();

}  // namespace deploy::bindings
