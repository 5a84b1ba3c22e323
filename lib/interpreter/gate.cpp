#include "lib/interpreter/gate.h"

#include <algorithm>

#include "lib/interpreter/process.h"
#include "lib/support/forks.h"

namespace deploy::detail {

namespace {

constexpr std::size_t kAnySeat = static_cast<std::size_t>(-1);

Failure closed_failure() {
  return {ErrorCode::kClosed, "the interpreters are closed or closing: no new session or call can start"};
}

}  // namespace

// On the stack of the thread that waits, in a doubly linked list by order of arrival.
struct Gate::Waiter {
  std::uint64_t thread;
  std::size_t wanted;  // a seat, or kAnySeat
  Waiter* previous = nullptr;
  Waiter* next = nullptr;
  std::optional<std::size_t> granted = {};
  bool refused = false;
  std::condition_variable changed = {};
};

Gate::Gate(std::size_t seats) : process_(this_process()), seats_(seats) {}

std::unique_lock<std::mutex> Gate::locked() const {
  return process_ == this_process() ? std::unique_lock(mutex_) : std::unique_lock<std::mutex>();
}

Result<void> Gate::acquire(std::size_t seat, Deadline deadline) {
  const std::uint64_t thread = this_thread_number();
  std::unique_lock lock = locked();
  Seat& wanted = seats_[seat];
  if (wanted.owner == thread) {
    ++wanted.depth;
    return {};
  }
  if (!lock) return forked_failure();
  if (closed_) return closed_failure();
  if (wanted.owner == 0) {
    take(wanted, thread);
    return {};
  }
  Waiter waiter{thread, seat};
  const auto granted = wait(waiter, lock, deadline);
  if (!granted) return granted.failure();
  return {};
}

Result<std::size_t> Gate::acquire_any(Deadline deadline) {
  const std::uint64_t thread = this_thread_number();
  std::unique_lock lock = locked();
  if (lock && !closed_) {
    if (const auto seat = best_free(thread)) {
      take(seats_[*seat], thread);
      return *seat;
    }
  }
  if (const auto mine = last_held(thread)) {
    ++seats_[*mine].depth;
    return *mine;
  }
  if (!lock) return forked_failure();
  if (closed_) return closed_failure();
  Waiter waiter{thread, kAnySeat};
  return wait(waiter, lock, deadline);
}

bool Gate::try_acquire(std::size_t seat) {
  const std::uint64_t thread = this_thread_number();
  const std::unique_lock lock = locked();
  if (!lock || seats_[seat].owner != 0) return false;
  take(seats_[seat], thread);
  seats_[seat].passing = true;
  return true;
}

void Gate::release(std::size_t seat) {
  const std::unique_lock lock = locked();
  Seat& released = seats_[seat];
  if (--released.depth > 0) return;
  if (!released.passing) released.last_user = released.owner;
  released.owner = 0;
  released.passing = false;
  if (!lock) return;
  for (Waiter* waiter = first_; waiter; waiter = waiter->next) {
    if (waiter->wanted != seat && waiter->wanted != kAnySeat) continue;
    unlink(*waiter);
    take(released, waiter->thread);
    waiter->granted = seat;
    waiter->changed.notify_one();  // under the lock: the waiter's frame is gone as soon as it wakes
    return;
  }
  if (closed_) all_free_.notify_all();
}

void Gate::close() {
  std::unique_lock lock = locked();
  if (!lock) return;
  closed_ = true;
  while (first_) {
    Waiter& waiter = *first_;
    unlink(waiter);
    waiter.refused = true;
    waiter.changed.notify_one();
  }
  all_free_.wait(lock, [this] { return std::ranges::all_of(seats_, [](const Seat& seat) { return seat.owner == 0; }); });
}

bool Gate::closed() const {
  const std::unique_lock lock = locked();
  return closed_ || !lock;
}

std::optional<std::size_t> Gate::held() const {
  const std::uint64_t thread = this_thread_number();
  const std::unique_lock lock = locked();
  return last_held(thread);
}

Result<std::size_t> Gate::wait(Waiter& waiter, std::unique_lock<std::mutex>& lock, Deadline deadline) {
  waiter.previous = last_;
  (last_ ? last_->next : first_) = &waiter;
  last_ = &waiter;
  const auto served = [&] { return waiter.granted || waiter.refused; };
  if (deadline == kNoDeadline) {
    waiter.changed.wait(lock, served);
  } else if (!waiter.changed.wait_until(lock, deadline, served)) {
    unlink(waiter);
    return Failure{ErrorCode::kDeadlineExceeded, "no interpreter became free before the deadline"};
  }
  if (waiter.refused) return closed_failure();
  return *waiter.granted;
}

void Gate::take(Seat& seat, std::uint64_t thread) {
  seat.owner = thread;
  seat.depth = 1;
  seat.acquired = ++clock_;
}

// The seat whose interpreter has this thread's state and warm caches; else one that nobody else will look for: never used, or
// longest unused.
std::optional<std::size_t> Gate::best_free(std::uint64_t thread) const {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < seats_.size(); ++i) {
    const Seat& seat = seats_[i];
    if (seat.owner != 0) continue;
    if (seat.last_user == thread) return i;
    if (!best || seat.acquired < seats_[*best].acquired) best = i;
  }
  return best;
}

std::optional<std::size_t> Gate::last_held(std::uint64_t thread) const {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < seats_.size(); ++i) {
    if (seats_[i].owner == thread && (!best || seats_[i].acquired > seats_[*best].acquired)) best = i;
  }
  return best;
}

void Gate::unlink(Waiter& waiter) {
  (waiter.previous ? waiter.previous->next : first_) = waiter.next;
  (waiter.next ? waiter.next->previous : last_) = waiter.previous;
}

}  // namespace deploy::detail
