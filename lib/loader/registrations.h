#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "lib/loader/library.h"

// What private code leaves with the C library, which keeps it for the process: timers, functions to be called at its exit,
// pointers.
namespace deploy::loader {

// setitimer, timer_create, on_exit, openlog and their like for private code, by name.
std::vector<std::pair<std::string_view, void*>> registration_functions();

// Ends the timers of the namespace and forgets its functions. After its exit handlers have run.
void end_registrations(const NamespaceImpl& space);

}  // namespace deploy::loader
