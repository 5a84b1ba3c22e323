#pragma once

#include <string_view>
#include <utility>
#include <vector>

struct link_map;

// What private code may change of a thread that belongs to the host: its signal mask and its processors. The essay is in
// host_thread.cpp.
namespace deploy::loader {

// The calling thread begins to run private code for the host, or no longer does. The second gives back what private code has
// changed. Both do nothing on an own thread.
void enter_host_thread() noexcept;
void leave_host_thread() noexcept;

// The calling thread belongs to private code (or serves it) until it ends.
void become_own_thread() noexcept;

// Private code sets what SIGPIPE does: programs that this process becomes get it so.
void note_broken_pipe_action() noexcept;

// What private code gets for the C library's functions that write (they raise SIGPIPE), change the signal mask or the processors of
// a thread, or start a program: by name.
std::vector<std::pair<std::string_view, void*>> host_thread_functions();

// The calls of a shared library that write get the same functions. One call at a time, as for redirect_calls.
void watch_writes(const link_map& map);

}  // namespace deploy::loader
