#pragma once

#include <nanobind/nanobind.h>

#include <optional>

#include "bindings/exit.h"

namespace deploy::bindings {

// Releases the host's GIL for the time of a call into libdeploy, which may wait for an interpreter or run guest code. A thread
// never waits for a guest while it holds the host's GIL: that, and deferred.h, are why host and guest cannot deadlock.
//
// A process that exits (exit.h): all threads but the one that exits, which can only be daemon threads, fall asleep for good, where
// they begin a call and where they come back from one. So does Python 3.14 with threads that want the GIL; before,
// PyEval_RestoreThread() ends them with pthread_exit(), which no C++ destructor survives. An exception is no way out either: the
// thread would print it while Python finalises, and be stopped with the lock of stderr in its hands, which is a fatal error.
class GilRelease {
 public:
  GilRelease();
  ~GilRelease();
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  std::optional<InUse> in_use_;
  PyThreadState* state_;
};

// Runs `function` without the GIL and returns its result.
template <class Function>
auto without_gil(Function&& function) {
  GilRelease release;
  return function();
}

// Whether the calling thread is inside a GilRelease, and so comes back to Python soon.
bool gil_is_released_here() noexcept;

}  // namespace deploy::bindings
