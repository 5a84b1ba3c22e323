#pragma once

#include <nanobind/nanobind.h>

#include <string>

#include "deploy/environment.h"

namespace deploy::bindings {

namespace nb = nanobind;

// The C++ form of a deploy.Environment (python/deploy/_environment.py); None is the running Python's. Throws kInvalidArgument for
// anything else.
Environment to_environment(nb::handle environment);

// A str, bytes or os.PathLike as a path. Throws nb::python_error (TypeError) for anything else.
std::string to_path(nb::handle path);

}  // namespace deploy::bindings
