#pragma once

// All state of this layer that exists once a process or once a thread: numbers of threads and interpreters, what each thread knows
// of each interpreter, and the interpreters that are being torn down in the background.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "deploy/memory.h"
#include "lib/interpreter/abi.h"
#include "lib/interpreter/deadline.h"
#include "lib/interpreter/thread_settings.h"
#include "lib/support/result.h"

namespace deploy::detail {

class InterpreterCore;

// Of the calling thread: counts from 1, never used again for another thread.
std::uint64_t this_thread_number() noexcept;

// A number that was never used before, counting from 0, and the lowest free slot: the interpreter's place in the threads' tables.
struct Identity {
  std::size_t id;
  std::size_t slot;
};
Identity new_identity();
void free_slot(std::size_t slot);

// What one thread knows of one interpreter. The thread state stays between sessions (D7); when the thread ends it goes to the
// interpreter's release queue, and sessions that are still open are closed.
struct ThreadEntry {
  std::size_t core_id = static_cast<std::size_t>(-1);
  std::weak_ptr<InterpreterCore> core;
  InterpreterCore* attached_core = nullptr;  // the same, while depth is not 0: the sessions keep it alive
  deploy_thread state = nullptr;
  std::uint64_t process = 0;        // whose guest the thread may enter: a fork outside of a call leaves it behind
  std::size_t depth = 0;            // sessions, and the home thread's own visits; attached while not 0
  std::size_t crossings = 0;        // calls into the guest that are running: in them the GIL may be released
  ThreadSettings settings;          // in these calls
  std::vector<std::uint64_t> open;  // serial numbers of the open sessions
  std::vector<std::pair<std::uint64_t, Deadline>> deadlines;  // of those that have one
  Deadline deadline = kNoDeadline;                            // the first of these
};

// What a call fails with in a process that was forked from the one that made the interpreter, unless it was forked inside a call:
// Python has not been told, and the interpreter's threads are not there.
Failure forked_failure();

// The calling thread's entry for an interpreter, made at first use; find_thread_entry gives null where there is none.
ThreadEntry& thread_entry(InterpreterCore& core);
ThreadEntry* find_thread_entry(std::size_t slot, std::size_t core_id) noexcept;

// Counts entries with depth > 0 of the calling thread; see may_block. With the last one the thread is the host's again, which gets
// back what private code changed of it (loader/host_thread.h).
void note_attached(int change) noexcept;

// Whether the calling thread may wait for an interpreter to be torn down: not while it is inside one, nor in a MustNotBlock.
bool may_block() noexcept;
class MustNotBlock {
 public:
  MustNotBlock() noexcept;
  ~MustNotBlock();
};

// While an interpreter's output is with the callback of its environment (output.cpp): the thread may not enter that interpreter,
// and waits for none to be torn down.
class OutputScope {
 public:
  explicit OutputScope(const InterpreterCore& core) noexcept;
  ~OutputScope();
  OutputScope(const OutputScope&) = delete;
  OutputScope& operator=(const OutputScope&) = delete;

  // Whether the calling thread is in a scope of `core`.
  static bool is_open(const InterpreterCore& core) noexcept;

 private:
  const InterpreterCore& core_;
  const OutputScope* const outer_;
  const MustNotBlock wait_for_none_;
};

// For stranded_interpreters().
void note_stranded(StrandedInterpreter interpreter);

// Interpreters that nobody waits for. The process's exit does (atexit): code that is still running must not lose its libraries.
void begin_background_teardown();
void end_background_teardown();

}  // namespace deploy::detail
