#pragma once

#include <nanobind/nanobind.h>

#include <string>

#include "deploy/error.h"

namespace deploy::bindings {

namespace nb = nanobind;

// The Python exception deploy.Error of `error`.
nb::object to_python_error(const Error& error);

// A caught host exception in one line: "ValueError: bad shape".
std::string describe(const nb::python_error& error);

}  // namespace deploy::bindings
