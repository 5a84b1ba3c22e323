#pragma once

#include <link.h>
#include <threads.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>

// Threads that shared libraries start, by the library whose code they run. The essay is in shared_libraries.cpp.
namespace deploy::loader {

// From now on the threads that `map`'s library starts are known. One call at a time, as for redirect_calls.
void watch_threads(const link_map& map);

// Those that run code of `map`'s library and have not ended, and those that are ending and may have to run more of it. Not those
// that it started before it was watched.
std::size_t threads_of(const link_map& map);

// Lets the library end the threads that the calling thread started in it, where it has a function for that, and waits until they
// have. `handle` is dlopen's, of the library or of one that needs it.
void end_own_threads(void* handle, const link_map& map, std::chrono::milliseconds patience);

// C11's threads in terms of POSIX's, as in glibc (nptl/thrd_create.c): thrd_join reads the int in the lower half of the result.
inline auto c11_body(thrd_start_t body) { return reinterpret_cast<void* (*)(void*)>(reinterpret_cast<void (*)()>(body)); }
inline int c11_result(int error) { return error == 0 ? thrd_success : error == ENOMEM ? thrd_nomem : thrd_error; }

// Grows when a library loses its last thread.
std::uint64_t ends_of_threads() noexcept;

}  // namespace deploy::loader
