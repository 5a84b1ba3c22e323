#pragma once

#include <nanobind/nanobind.h>

#include "deploy/tensor.h"

namespace deploy::bindings {

namespace nb = nanobind;

// Whether `object` can be given to from_host_tensor(): its type has __dlpack__.
bool is_host_tensor(nb::handle object);

// A Tensor over the memory of a host array or tensor, which stays alive with it, marked as numpy's or torch's where it is one of
// these. Never copies, apart from PyTorch tensors whose
// conjugate or negative bit is set: these are resolved first. A PyTorch tensor that requires grad crosses without its history, as
// after detach(). What is queued on the current CUDA stream of the producer is ordered before the legacy default stream. Throws
// nb::python_error with what the producer raised (BufferError for a sparse tensor), or kInvalidArgument; so for a numpy array with
// a mask, which would be lost.
Tensor from_host_tensor(nb::handle object);

}  // namespace deploy::bindings
