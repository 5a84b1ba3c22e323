#pragma once

#include <optional>
#include <string>

namespace deploy::loader {

using Initialiser = void (*)(int, char**, char**);

// Calls function(count, arguments, environment). A C++ exception that leaves it ends there: its text ("std::runtime_error: no such
// device") is returned, and nothing of it stays in flight.
std::optional<std::string> call_guarded(Initialiser function, int count, char** arguments, char** environment);

}  // namespace deploy::loader
