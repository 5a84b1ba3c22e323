#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "lib/loader/library.h"

namespace deploy::loader {

// The private library that `address` lies in, or null.
Library* library_at(const void* address);

// dl_api.cpp: the namespace's dlopen, dlsym, ... by name.
std::vector<std::pair<std::string_view, void*>> libdl_functions();

}  // namespace deploy::loader
