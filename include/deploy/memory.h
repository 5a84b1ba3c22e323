#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "deploy/export.h"

namespace deploy {

// What one interpreter has allocated (Interpreter::memory()). In bytes, exact, at one moment.
//
// An interpreter has a heap of its own: what Python, its extension modules, torch and the C++ run time allocate in it, by whichever
// function, comes from there, and goes with the interpreter, whether it was freed or not. Where the process runs with another
// malloc than the C library's (LD_PRELOAD, sanitizers) the interpreters use that too, which then is the one that knows:
// `private_heap` is false, and only Python's small objects are counted. Not counted: what the C library and shared libraries
// allocate for their own use, stacks of threads, mapped files (packages' weights), and device memory.
struct MemoryUsage {
  bool private_heap = false;
  std::size_t heap = 0;          // held from the system at this moment, freed blocks that the heap keeps for a while included
  std::size_t heap_peak = 0;     // the most that this ever was
  std::size_t heap_limit = 0;    // Environment::memory_limit; 0: none
  std::size_t library_data = 0;  // writable pages of the interpreter's own copies of libraries
};

// An interpreter that was destroyed and whose libraries had to stay mapped, because threads that they had started did not end: code
// must outlive the threads that run it. Its memory stays as well. Python itself is finalised.
struct StrandedInterpreter {
  std::size_t id = 0;
  std::string reason;  // how many threads, and which library started one of them
};

// All of this process so far, in the order of their destruction. Empty is as it should be. Thread-safe.
DEPLOY_API std::vector<StrandedInterpreter> stranded_interpreters();

// A library that interpreters shared, that none uses any more, and that stays open because threads that it started have not ended:
// an OpenMP run time has a pool for each thread that called into torch. The next interpreter that needs it gets it as it is. A
// thread that destroys an interpreter, or begins a session in another one, ends its own pool, as does one that ends; the library
// is closed when the next thread comes by after the last pool's end.
struct KeptLibrary {
  std::string path;
  std::size_t threads = 0;  // that run its code
};

// Those of this moment. Empty is as it should be, but for host threads that run on and call no interpreter any more. Thread-safe.
DEPLOY_API std::vector<KeptLibrary> kept_libraries();

}  // namespace deploy
