#pragma once

#include <nanobind/nanobind.h>

#include <string>

#include "deploy/error.h"

namespace deploy::bindings {

namespace nb = nanobind;

// The Python exception deploy.Error of `error`.
nb::object to_python_error(const Error& error);

// "ValueError: bad shape": the host Python exception that is set, which is cleared. What a caught nb::python_error says in one line.
std::string describe(const nb::python_error& error);

}  // namespace deploy::bindings
