#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

// Libraries that namespaces share: the system's loader holds them for all. The essay is in shared_libraries.cpp.
namespace deploy::loader {

// dlopen and dlclose, for namespaces. What is opened, with all that it needs, learns to start threads that are known, and, if
// `knows_heaps`, to recognise blocks of heaps. Null: dlerror() says why. Thread-safe.
void* open_shared(const char* path, int flags, bool knows_heaps);
int close_shared(void* handle);

// A library that no namespace uses any more, and that stays for the threads that it started.
struct KeptLibrary {
  std::string path;
  std::size_t threads = 0;
};
std::vector<KeptLibrary> kept_libraries();

// Lets kept libraries end the threads that the calling thread started in them, and closes those that have none any more. The
// caller holds no lock, and is in no private code.
void leave_kept_libraries(std::chrono::milliseconds patience);

// Whether, since the calling thread was last there, anything happened for which it would have to.
bool may_leave_kept_libraries() noexcept;

}  // namespace deploy::loader
