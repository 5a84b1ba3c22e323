#pragma once

#include "lib/interpreter/guest/guest.h"
#include "lib/interpreter/guest/types.h"
#include "lib/interpreter/guest/values.h"

struct DLManagedTensorVersioned;

namespace deploy::guest {

// The host's tensor as a tensor of this interpreter, over the same memory: a torch.Tensor where torch can be imported, else a
// numpy.ndarray, else (and for what these cannot hold) a _deploy.Tensor. `library` is a deploy_library: DEPLOY_NUMPY makes a
// numpy.ndarray of all that numpy can hold. Null: reported. Takes `managed` in either case.
Ref import_tensor(DLManagedTensorVersioned* managed, uint32_t library, deploy_error* error);

// A new managed tensor over the memory of `object`, whose category is one of the tensors'. Its deleter needs the GIL. Null:
// reported.
DLManagedTensorVersioned* export_tensor(PyObject* object, const TypeInfo& info, const Place& place, deploy_error* error);

// Calls the deleter, where there is one.
void drop_managed(DLManagedTensorVersioned* managed);

// Lets go of torch and numpy, and of the names that exporting uses.
void drop_libraries();
bool prepare_export();  // false with an exception set
void drop_export();

}  // namespace deploy::guest
