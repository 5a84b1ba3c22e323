#pragma once

#include "lib/interpreter/guest/guest.h"

namespace deploy::guest {

// Deeper trees are refused in both directions: a container inside itself ends there instead of at the end of the stack.
constexpr int kMaxDepth = 500;

// A Python object equal to `value`. Null: reported. Takes the tensors inside in either case.
Ref to_python(const deploy_value& value, deploy_error* error);

// Gives back the tensors inside values that will not be converted.
void discard(const deploy_value* values, size_t count);

// Where in the object that is being walked we are: a chain on the stack, spelt out only for a message.
struct Place {
  enum class Kind { kRoot, kItem, kValue, kKey };  // the whole; [index]; the value of `key` in a dict; `key` itself
  Kind kind = Kind::kRoot;
  const Place* parent = nullptr;
  const char* root = "result";
  Py_ssize_t index = 0;
  PyObject* key = nullptr;  // borrowed
};

// "result['past'][0]". A str; null only when out of memory, with no exception set.
Ref spelt(const Place& place);

// Tells `sink` what `object` is, depth first. False: reported; messages call the object `root`.
bool walk(PyObject* object, const char* root, deploy_sink* sink, deploy_error* error);

}  // namespace deploy::guest
