#pragma once

#include <nanobind/nanobind.h>

#include "deploy/environment.h"

namespace deploy::bindings {

namespace nb = nanobind;

// The C++ form of a deploy.Environment (python/deploy/_environment.py); None is the running Python's. Throws kInvalidArgument for
// anything else.
Environment to_environment(nb::handle environment);

}  // namespace deploy::bindings
