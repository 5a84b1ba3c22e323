#pragma once

#include <pthread.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <span>
#include <vector>

namespace deploy::loader {

// An OpenMP run time that private code uses and the process shares (libgomp). Its number of threads belongs to the thread that
// calls (OpenMP 5.0, section 2.5, nthreads-var), whichever namespace's code that runs.
struct OpenMpRuntime {
  int (*max_threads)() = nullptr;
  void (*set_num_threads)(int) = nullptr;
  int default_threads = 0;  // what a thread has that has not set it
  pthread_t found_by = {};  // the thread that opened it, and what it had set then
  int found_threads = 0;
};

// Those that one namespace has opened. They stay open until close(). Thread-safe.
class OpenMp {
 public:
  static constexpr std::size_t kMost = 4;

  // Adds the run time that `handle`, dlopen's, leads to, if there is one.
  void look_for(void* handle);
  std::span<const OpenMpRuntime> runtimes() const noexcept { return {runtimes_.data(), count_.load(std::memory_order_acquire)}; }
  void close();

 private:
  std::mutex lock_;
  std::array<OpenMpRuntime, kMost> runtimes_;
  std::atomic<std::size_t> count_{0};
  std::vector<void*> handles_;  // guarded by lock_
};

}  // namespace deploy::loader
