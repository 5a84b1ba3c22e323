#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <string_view>

#include "deploy/value.h"
#include "deploy/value_limits.h"

namespace deploy::bindings {

namespace nb = nanobind;

class ManagerHandle;

// Host Python object -> Value. A subclass converts as its base, any Mapping is a dict, whatever has __dlpack__ a Tensor
// (host_tensors.h), a numpy scalar its Python number. Throws kNotAValue, also for more than `limits`; the message says where in the
// arguments what was found. `what` names the whole.
Value to_value(nb::handle object, std::string_view what, const ValueLimits& limits = {});

Args to_args(const nb::args& args, const ValueLimits& limits);
Kwargs to_kwargs(const nb::kwargs& kwargs, const ValueLimits& limits);

// `kept` lives as long as `object`, one of our own types. to_python.cpp.
void keep_with(nb::handle object, nb::handle kept);

// Value -> host Python object. to_python.cpp. A tensor that is numpy's inside is numpy's here, over the same memory, where this
// process can import numpy; any other becomes a deploy.Tensor. Objects without a session keep `manager`.
nb::object to_python(const Value& value, const std::shared_ptr<ManagerHandle>& manager = {});

}  // namespace deploy::bindings
