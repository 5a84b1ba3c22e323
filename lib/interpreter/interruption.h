#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "deploy/error.h"
#include "lib/interpreter/abi.h"
#include "lib/interpreter/deadline.h"
#include "lib/interpreter/release_queue.h"
#include "lib/support/forks.h"

namespace deploy::detail {

struct ThreadEntry;

// Stops the call that runs in an interpreter: by its deadline, or because another thread asks.
//
// Only a thread that holds the GIL may make another one raise, and waiting for the GIL may take as long as the C code that holds
// it. So whoever asks leaves a request, and the home thread, which also keeps the deadlines, takes the GIL and delivers it.
//
// No request hits another call than the one that it was meant for. Calls have numbers; a request carries the number of the call
// that ran when it was made. The number of the running call changes only on threads that hold the GIL, so what the home thread
// finds with the GIL in its hands stays so while it makes the thread raise. An exception that the call was too fast for is taken
// back at its end, before its thread lets go of the GIL.
//
// One for each interpreter; shared, because a session's handle may outlive it.
class Interruption {
 public:
  explicit Interruption(std::shared_ptr<ReleaseQueue> home) : home_(std::move(home)) {}
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  // Around each call that the host makes, on its thread, with the GIL. end() gives what stopped the call: kCancelled or
  // kDeadlineExceeded if the exception was raised in it, and nothing otherwise.
  void begin(const ThreadEntry& thread, Deadline deadline) {
    thread_ = &thread;
    running_.store(++last_, std::memory_order_release);
    if (deadline != kNoDeadline && process_ == this_process()) [[unlikely]]
      watch(deadline);
  }
  std::optional<ErrorCode> end(const deploy_guest& guest) {
    running_.store(0, std::memory_order_release);
    if (!reason_) [[likely]]
      return std::nullopt;
    return settle(guest);
  }

  // Any thread, never waits; nothing in a forked process, which has no home thread: the call that runs now, if one does, and if it
  // is one of the thread that has the session of this number open; 0: any.
  void request(std::uint64_t session);

  // For the home thread: when to look again at the latest; whether to take the GIL and deliver(); and that, with the GIL.
  Deadline next_look() const;
  bool is_due();
  void deliver(const deploy_guest& guest);

 private:
  struct Request {
    std::uint64_t call, session;
  };
  void watch(Deadline deadline);
  std::optional<ErrorCode> settle(const deploy_guest& guest);

  const std::shared_ptr<ReleaseQueue> home_;
  const std::uint64_t process_ = this_process();
  std::atomic<std::uint64_t> running_ = 0;  // the call that runs; 0: none. Written with the GIL
  const ThreadEntry* thread_ = nullptr;     // whose call it is. Guarded by the GIL, as the next two
  std::uint64_t last_ = 0;
  std::optional<ErrorCode> reason_;  // why the running call's thread was made to raise

  mutable std::mutex mutex_;
  std::vector<Request> requests_;    // guarded by mutex_, as all below
  std::uint64_t watched_ = 0;        // the call that `deadline_` is of
  Deadline deadline_ = kNoDeadline;  // moves on when it has passed and the call goes on
  Deadline next_look_ = kNoDeadline;
};

}  // namespace deploy::detail
