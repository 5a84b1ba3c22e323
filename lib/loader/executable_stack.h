#pragma once

#include "lib/support/result.h"

namespace deploy::loader {

// Makes the stacks of all threads of the process executable, those of threads to come included. The first call does; it cannot be
// taken back. Thread-safe.
Result<void> make_stacks_executable();

}  // namespace deploy::loader
