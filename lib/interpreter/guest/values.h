#pragma once

#include "lib/interpreter/guest/guest.h"

namespace deploy::guest {

// A Python object equal to `value`. Null: reported. Takes the tensors inside in either case.
Ref to_python(const deploy_value& value, deploy_error* error);

// Gives back the tensors inside values that will not be converted.
void discard(const deploy_value* values, size_t count);

// Where in the object that is being walked we are: spelt out only for a message.
// "result['past'][0]". A str; null only when out of memory, with no exception set.
struct Place {
  Ref (*spell)(const Place& self);
};
inline Ref spelt(const Place& place) { return place.spell(place); }

// Tells `sink` what `object` is, depth first. False: reported; messages call the object `root`.
bool walk(PyObject* object, const char* root, deploy_sink* sink, deploy_error* error);

}  // namespace deploy::guest
