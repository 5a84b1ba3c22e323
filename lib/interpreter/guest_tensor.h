#pragma once

#include <memory>

#include "deploy/tensor.h"
#include "lib/interpreter/interpreter_core.h"
#include "lib/support/result.h"

namespace deploy::detail {

// A host tensor over memory of the guest; takes ownership of `managed`. Called while the guest hands it out (attached).
Result<Tensor> import_guest_tensor(InterpreterCore& core, DLManagedTensorVersioned* managed);

// What the guest of `core` is given for a host tensor, which must be defined(): a managed tensor over the same memory.
DLManagedTensorVersioned* export_to_guest(const InterpreterCore& core, const Tensor& tensor);

}  // namespace deploy::detail
