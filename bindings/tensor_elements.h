#pragma once

#include <nanobind/nanobind.h>

#include "deploy/tensor.h"

namespace deploy::bindings {

namespace nb = nanobind;

// The elements of a deploy.Tensor for Python code that has neither numpy nor torch: as numbers, as views, and as a buffer. All
// raise Python exceptions that name the way out: TypeError for memory of a device, and element types that Python has no number for.

// The only element as a Python number. ValueError where there are more, or none.
nb::object item(const Tensor& tensor);

// The elements as lists inside each other, as numpy and PyTorch have it; of no dimensions: item().
nb::object to_list(const Tensor& tensor);

// Basic indexing: int, slice, Ellipsis, None, and tuples of these. A view over the same memory. IndexError outside of the sizes,
// TypeError for any other index.
Tensor view(const Tensor& tensor, nb::handle index);

// The code of Python's buffer protocol, or null for an element type that it does not have.
const char* buffer_format(DType dtype);

// The buffer protocol, for nb::type_slots: memoryview(tensor), numpy.asarray(tensor).
int get_buffer(PyObject* self, Py_buffer* view, int flags) noexcept;
void release_buffer(PyObject* self, Py_buffer* view) noexcept;

}  // namespace deploy::bindings
