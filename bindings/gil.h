#pragma once

#include <nanobind/nanobind.h>

namespace deploy::bindings {

// Releases the host's GIL for the time of a call into libdeploy, which may wait for an interpreter or run guest code. A thread
// never waits for a guest while it holds the host's GIL: that, and deferred.h, are why host and guest cannot deadlock.
//
// A process that exits (exit.h): the constructor throws kClosed on all threads but the one that exits, and the destructor keeps a
// thread that comes back too late asleep for good, as Python 3.14 does; before that, PyEval_RestoreThread() would end it with
// pthread_exit(), which no C++ destructor survives.
class GilRelease {
 public:
  GilRelease();
  ~GilRelease();
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
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
