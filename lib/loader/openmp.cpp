#include "lib/loader/openmp.h"

#include <dlfcn.h>

#include <algorithm>
#include <system_error>
#include <thread>

#include "lib/loader/shared_libraries.h"

namespace deploy::loader {

void OpenMp::look_for(void* handle) {
  OpenMpRuntime runtime;
  runtime.max_threads = reinterpret_cast<int (*)()>(::dlsym(handle, "omp_get_max_threads"));
  runtime.set_num_threads = reinterpret_cast<void (*)(int)>(::dlsym(handle, "omp_set_num_threads"));
  ::dlerror();
  if (!runtime.max_threads || !runtime.set_num_threads) return;

  const std::lock_guard guard(lock_);
  const auto known = runtimes();
  if (known.size() == kMost ||
      std::ranges::any_of(known, [&](const OpenMpRuntime& r) { return r.max_threads == runtime.max_threads; }))
    return;
  Dl_info info;
  if (!::dladdr(reinterpret_cast<const void*>(runtime.max_threads), &info) || !info.dli_fname) return;
  void* own = open_shared(info.dli_fname, RTLD_LAZY | RTLD_LOCAL, false);
  if (!own) return;
  handles_.push_back(own);
  runtime.found_by = ::pthread_self();
  runtime.found_threads = runtime.default_threads = runtime.max_threads();
  try {
    std::thread([&runtime] { runtime.default_threads = runtime.max_threads(); }).join();
  } catch (const std::system_error&) {  // no thread to be had: what this one has is the best guess
  }
  runtimes_[known.size()] = runtime;
  count_.store(known.size() + 1, std::memory_order_release);
}

void OpenMp::close() {
  const std::lock_guard guard(lock_);
  count_.store(0, std::memory_order_release);
  for (void* handle : handles_) close_shared(handle);
  handles_.clear();
}

}  // namespace deploy::loader
