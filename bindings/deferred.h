#pragma once

#include <dlpack/dlpack.h>

#include "deploy/tensor.h"

namespace deploy::bindings {

// A host tensor is kept alive by a Python object, and a guest drops its last reference on any thread, with its own GIL held.
// Deleting the Python object needs the host's GIL, and waiting for that from inside a guest could deadlock. So the deleter deletes
// at once only on a thread that holds the host's GIL; otherwise it puts the tensor on a list, without waiting, and the list is
// emptied by the next thread that comes back from a call into libdeploy, or by Python's main thread (Py_AddPendingCall).

// A Tensor over an exported managed tensor, of which it takes ownership, with such a deleter. Throws kInvalidArgument (and then
// `managed` is deleted) for another major version of DLPack.
Tensor defer_deletion(DLManagedTensorVersioned* managed);
Tensor defer_deletion(DLManagedTensor* managed);  // the form before DLPack 1.0

// Deletes what is on the list. With the GIL held.
void drain_deferred() noexcept;

}  // namespace deploy::bindings
