#pragma once

#include <nanobind/nanobind.h>

#include <string_view>

#include "deploy/value.h"
#include "deploy/value_limits.h"

namespace deploy::bindings {

namespace nb = nanobind;

// Host Python object -> Value. A subclass converts as its base, any Mapping is a dict, whatever has __dlpack__ a Tensor
// (host_tensors.h), a numpy scalar its Python number. Throws kNotAValue, also for more than `limits`; the message says where in the
// arguments what was found. `what` names the whole.
Value to_value(nb::handle object, std::string_view what, const ValueLimits& limits = {});

Args to_args(const nb::args& args, const ValueLimits& limits);
Kwargs to_kwargs(const nb::kwargs& kwargs, const ValueLimits& limits);

// Value -> host Python object; tensors become deploy.Tensor. to_python.cpp.
nb::object to_python(const Value& value);

}  // namespace deploy::bindings
