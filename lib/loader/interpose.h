#pragma once

#include <dlfcn.h>

#include <string_view>
#include <utility>
#include <vector>

#include "lib/loader/library.h"

namespace deploy::loader {

// The private library that `address` lies in, or null.
Library* library_at(const void* address);
// The library that has called the function in which this stands; null: none of a namespace.
#define DEPLOY_CALLER ::deploy::loader::library_at(__builtin_return_address(0))

// The unwinder's question (libgcc since 12): the object at an address and its PT_GNU_EH_FRAME, private or not. Lock-free and
// signal-safe.
int find_object(void* address, dl_find_object* result);

// dl_api.cpp: the namespace's dlopen, dlsym, ... by name; and dladdr or, with flags, dladdr1 for private and system addresses.
std::vector<std::pair<std::string_view, void*>> libdl_functions();
int address_info(const void* address, Dl_info* info, void** extra, int flags);

// backtrace.cpp: backtrace_symbols and so on, by name.
std::vector<std::pair<std::string_view, void*>> backtrace_functions();

}  // namespace deploy::loader
