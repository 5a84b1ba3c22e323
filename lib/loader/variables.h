#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "lib/loader/library.h"

// Environment variables as private code sets and reads them. The essay is in variables.cpp.
namespace deploy::loader {

// getenv, setenv and their like for private code, by name.
std::vector<std::pair<std::string_view, void*>> variable_functions();

// Forgets what the namespace has set. Its pointers go.
void end_variables(const NamespaceImpl& space);

}  // namespace deploy::loader
