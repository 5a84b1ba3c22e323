#pragma once

#include <dlpack/dlpack.h>

#include "lib/interpreter/guest/guest.h"

namespace deploy::guest {

// "float32", "bfloat16", "float8_e4m3fn", ...; "dtype(code, bits, lanes)" for what has no name. Null with MemoryError set.
Ref element_type_name(DLDataType dtype);

// The code of Python's buffer protocol ("f"), or null for an element type that it does not have.
const char* buffer_format(DLDataType dtype);

// Whether every PyTorch that has an exchange table has this element type.
bool torch_has(DLDataType dtype);

}  // namespace deploy::guest
