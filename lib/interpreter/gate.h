#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "lib/interpreter/deadline.h"
#include "lib/support/result.h"

namespace deploy::detail {

// N seats, one for each interpreter of a manager, and one queue before them: whoever waits, for a given seat or for any, is served
// in order of arrival among those whom the seat that became free suits. A seat is handed over, never fought for, so nobody starves.
// Seats are reentrant: a thread that holds one may take it again, and frees it with the last release.
//
// In a process that was forked from the one that made it, it is closed, but for the seats of the thread that forked. What the
// parent's other threads left of it is not touched.
//
// While nobody waits, a seat is taken and freed by its owner's number alone, without the mutex: a server enters and leaves the gate
// with each call. Who has to wait says so first (state_) and then looks at the seats again, and who frees a seat looks at state_
// after that, both in one order for all threads (seq_cst): so one of the two sees the other.
//
// Thread-safe. A seat is released on the thread that acquired it.
class Gate {
 public:
  explicit Gate(std::size_t seats);
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  std::size_t size() const { return seats_.size(); }

  // Waits for this seat. kClosed once close() was called, unless this thread holds the seat already; kDeadlineExceeded where it
  // would still have to wait at the deadline.
  Result<void> acquire(std::size_t seat, Deadline deadline = kNoDeadline);

  // Waits for any seat, and takes the one this thread used last where it is free. A thread that holds a seat of this gate never
  // waits: while none is free it takes the one it acquired last once more. kClosed once close() was called, unless this thread
  // holds a seat; kDeadlineExceeded as above.
  Result<std::size_t> acquire_any(Deadline deadline = kNoDeadline);

  // Takes the seat if nobody holds it, on a closed gate too: for work that must still be done after close().
  bool try_acquire(std::size_t seat);

  void release(std::size_t seat);

  // From now on nobody gets in: those who wait, and all later ones, fail with kClosed. Returns when all seats are free. Idempotent.
  // The calling thread must hold no seat (see held()).
  void close();
  bool closed() const;

  // The seat that the calling thread acquired last and still holds.
  std::optional<std::size_t> held() const;

 private:
  struct alignas(64) Seat {                    // threads on different seats share no cache line
    std::atomic<std::uint64_t> owner = 0;      // thread number, 0: free
    std::atomic<std::uint64_t> last_user = 0;  // the thread that released it last
    std::atomic<std::uint64_t> acquired = 0;   // when, in acquisitions; 0: never
    std::size_t depth = 0;                     // the owner's, as the next
    bool passing = false;                      // taken by try_acquire: not what decides who used it last
  };
  struct Waiter;

  // Of state_: closed or not, and twice the number of those who wait.
  static constexpr std::size_t kClosed = 1, kOneWaiter = 2;

  bool is_foreign() const;
  bool take_if_free(std::size_t seat, std::uint64_t thread);
  std::optional<std::size_t> take_best(std::uint64_t thread);
  std::optional<std::size_t> take_beside_queue(std::uint64_t thread);
  bool take_without_waiting(std::size_t seat, std::uint64_t thread);
  void set_free(Seat& seat);
  void serve();
  Result<std::size_t> wait(std::size_t wanted, std::uint64_t thread, Deadline deadline);
  std::optional<std::size_t> best_free(std::uint64_t thread) const;
  std::optional<std::size_t> last_held(std::uint64_t thread) const;
  void unlink(Waiter& waiter);

  const std::uint64_t process_;
  std::vector<Seat> seats_;
  std::atomic<std::uint64_t> clock_ = 0;
  std::atomic<std::size_t> state_ = 0;
  std::mutex mutex_;                  // left alone in a forked process, where a thread of the parent's may hold it for ever
  std::condition_variable all_free_;  // for close()
  Waiter* first_ = nullptr;           // guarded by mutex_, as the next
  Waiter* last_ = nullptr;
};

}  // namespace deploy::detail
