#pragma once

#include <vector>

namespace deploy::loader {

struct Library;

// Tells debuggers about private libraries (debugger.cpp has how). Thread-safe.
void debugger_added(const std::vector<Library*>& libraries);
void debugger_removed(const std::vector<Library*>& libraries);

}  // namespace deploy::loader
