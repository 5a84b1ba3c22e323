#pragma once

#include <nanobind/nanobind.h>

#include <string>

namespace deploy::bindings {

namespace nb = nanobind;

// What users of Python objects try that ours do not have: errors that say what to use.

// Gives `type` a special method (`__len__`) that raises TypeError with this message.
void refuse(nb::handle type, const char* method, std::string message);

// The name of an attribute, cut where it is long.
std::string attribute_name(nb::handle name);

// A str of text that may hold the names of files.
nb::object text_object(const std::string& text);

// What a caller can pass in place of an object that has no Value form: "; pass list(x)".
std::string way_out(nb::handle object);

}  // namespace deploy::bindings
