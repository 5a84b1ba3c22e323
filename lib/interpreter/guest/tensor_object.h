#pragma once

#include "lib/interpreter/guest/guest.h"

struct DLManagedTensorVersioned;

namespace deploy::guest {

// _deploy.Tensor: a host tensor as a Python object of our own. It speaks the __dlpack__ protocol and, for contiguous or strided CPU
// memory of the classic element types, the buffer protocol. It is what a tensor becomes where there is neither torch nor numpy, and
// the way by which every other library takes one over when no exchange table does.

// Null where prepare_tensor_type() has not run.
PyTypeObject* tensor_type();
bool prepare_tensor_type();  // false with an exception set
void drop_tensor_type();

// Takes `managed`, also where it fails (null with an exception set).
Ref new_tensor_object(DLManagedTensorVersioned* managed);

// A new managed tensor over its memory; its deleter needs no GIL. Null with MemoryError set.
DLManagedTensorVersioned* export_tensor_object(PyObject* tensor);

}  // namespace deploy::guest
