#pragma once

#include "lib/interpreter/guest/guest.h"

namespace deploy::guest {

// The UTF-8 form of a str that may hold anything: lone surrogates come out as escapes.
class Utf8 {
 public:
  explicit Utf8(PyObject* str);
  std::string_view view() const { return text_; }

 private:
  Ref owner_;
  std::string_view text_;
};

// An interned str for an attribute, method or keyword name, out of a small cache. Null where it is not UTF-8, with the exception
// set.
Ref name_from(deploy_text utf8);
void drop_names();

// "torch.Tensor", "int": builtins without their module. Null only when out of memory.
Ref qualified_name(PyTypeObject* type);

// The module of that name if it is loaded; no exception is set either way. Borrowed.
PyObject* loaded_module(const char* name);

}  // namespace deploy::guest
