#pragma once

#include <cstdint>

#include "deploy/export.h"

namespace deploy {

// Where a piece of code comes from. A debugger's `addr2line -Cfe LIBRARY OFFSET` takes both.
struct CodeLocation {
  const char* library = nullptr;      // the file's path; valid while it is loaded
  std::uintptr_t offset = 0;          // from the library's load address
  const char* interpreter = nullptr;  // "interpreter-3", whose private copy it is; null for the process's own libraries
};

// For crash handlers and profilers: which library holds `address`, private ones included, which the system's dladdr() does not
// know. False where none does. Signal-safe, lock-free.
DEPLOY_API bool locate_code(const void* address, CodeLocation& location) noexcept;

// Writes the calling thread's stack to a file descriptor, a line for each frame: number, library+offset, and the interpreter.
// Signal-safe once an interpreter has been created. glibc's backtrace() walks through private frames as well from then on.
DEPLOY_API void print_backtrace(int fd) noexcept;

}  // namespace deploy
