#pragma once

#include "lib/interpreter/guest/guest.h"

struct DLPackExchangeAPI;

namespace deploy::guest {

// What an object is to the walk from Python to the host; a subclass is what its base is.
enum class Category {
  kUnknown,
  kInt,
  kFloat,
  kComplex,
  kStr,
  kBytes,
  kByteArray,
  kList,
  kTuple,
  kMapping,       // an exact dict aside: any subclass of dict, any collections.abc.Mapping
  kNumpyScalar,   // numpy.generic that is none of the above
  kDataclass,     // an instance of one
  kTorchTensor,   // torch.Tensor and its subclasses
  kNumpyArray,    // numpy.ndarray and its subclasses, but for the next one
  kMaskedArray,   // numpy.ma.MaskedArray, whose memory is only half of it
  kExchange,      // another type with __dlpack_c_exchange_api__
  kDlpack,        // a type with __dlpack__
  kDeployTensor,  // tensor_object.h
};

struct TypeInfo {
  PyTypeObject* type = nullptr;
  Category category = Category::kUnknown;
  const DLPackExchangeAPI* exchange = nullptr;  // of a torch tensor (null for a PyTorch before 2.10) or another exchange type
};

// False with an exception set where asking the type failed. Answers are kept: the second object of a type costs a table lookup.
bool classify(PyObject* object, TypeInfo& info);
void drop_types();

// The exchange table of a type, in a version that we read, or null. No exception is set either way.
const DLPackExchangeAPI* exchange_api_of(PyObject* type);

}  // namespace deploy::guest
