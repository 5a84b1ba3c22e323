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

bool Gate::is_foreign() const { return process_ != this_process(); }

Result<void> Gate::acquire(std::size_t seat, Deadline deadline) {
  const std::uint64_t thread = this_thread_number();
  Seat& wanted = seats_[seat];
  if (wanted.owner.load(std::memory_order_relaxed) == thread) {
    ++wanted.depth;
    return {};
  }
  if (is_foreign()) return forked_failure();
  if (take_without_waiting(seat, thread)) return {};
  const auto granted = wait(seat, thread, deadline);
  if (!granted) return granted.failure();
  return {};
}

Result<std::size_t> Gate::acquire_any(Deadline deadline) {
  const std::uint64_t thread = this_thread_number();
  if (!is_foreign()) {
    while (const auto seat = best_free(thread)) {
      if (take_without_waiting(*seat, thread)) return *seat;
      if (state_.load() != 0) break;
    }
  }
  if (const auto mine = last_held(thread)) {
    if (const auto free = take_beside_queue(thread)) return *free;
    ++seats_[*mine].depth;
    return *mine;
  }
  if (is_foreign()) return forked_failure();
  return wait(kAnySeat, thread, deadline);
}

bool Gate::try_acquire(std::size_t seat) {
  if (is_foreign() || !take_if_free(seat, this_thread_number())) return false;
  seats_[seat].passing = true;
  return true;
}

void Gate::release(std::size_t seat) {
  Seat& released = seats_[seat];
  if (--released.depth > 0) return;
  if (!released.passing) released.last_user.store(released.owner.load(std::memory_order_relaxed), std::memory_order_relaxed);
  released.passing = false;
  set_free(released);
}

// A gate that has nobody waiting and is not closed: nothing else to do.
void Gate::set_free(Seat& seat) {
  seat.owner.store(0);
  if (state_.load() == 0 || is_foreign()) [[likely]]
    return;
  const std::lock_guard lock(mutex_);
  serve();
  if (state_.load() & kClosed) all_free_.notify_all();
}

void Gate::close() {
  if (is_foreign()) return;
  std::unique_lock lock(mutex_);
  state_.fetch_or(kClosed);
  while (first_) {
    Waiter& waiter = *first_;
    unlink(waiter);
    waiter.refused = true;
    waiter.changed.notify_one();
  }
  all_free_.wait(lock, [this] { return std::ranges::all_of(seats_, [](const Seat& seat) { return seat.owner.load() == 0; }); });
}

bool Gate::closed() const { return (state_.load() & kClosed) || is_foreign(); }

std::optional<std::size_t> Gate::held() const { return last_held(this_thread_number()); }

// Joins the queue before it looks for a free seat: from then on a seat that becomes free is handed over.
Result<std::size_t> Gate::wait(std::size_t wanted, std::uint64_t thread, Deadline deadline) {
  std::unique_lock lock(mutex_);
  if (state_.load() & kClosed) return closed_failure();
  Waiter waiter{thread, wanted};
  waiter.previous = last_;
  (last_ ? last_->next : first_) = &waiter;
  last_ = &waiter;
  state_.fetch_add(kOneWaiter);
  serve();
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

// With the mutex: gives free seats to those who wait, in order of arrival.
void Gate::serve() {
  for (Waiter *waiter = first_, *next = nullptr; waiter; waiter = next) {
    next = waiter->next;
    std::optional<std::size_t> seat;
    if (waiter->wanted == kAnySeat) {
      seat = take_best(waiter->thread);
    } else if (take_if_free(waiter->wanted, waiter->thread)) {
      seat = waiter->wanted;
    }
    if (!seat) continue;
    unlink(*waiter);
    waiter->granted = seat;
    waiter->changed.notify_one();  // under the lock: the waiter's frame is gone as soon as it wakes
  }
}

// A free seat that suits none of those who wait.
std::optional<std::size_t> Gate::take_beside_queue(std::uint64_t thread) {
  if (is_foreign() || state_.load() == 0) return std::nullopt;
  const std::lock_guard lock(mutex_);
  if (state_.load() & kClosed) return std::nullopt;
  serve();
  return take_best(thread);
}

std::optional<std::size_t> Gate::take_best(std::uint64_t thread) {
  while (const auto free = best_free(thread)) {
    if (take_if_free(*free, thread)) return free;
  }
  return std::nullopt;
}

// False where somebody has it.
bool Gate::take_if_free(std::size_t seat, std::uint64_t thread) {
  Seat& wanted = seats_[seat];
  std::uint64_t free = 0;
  if (!wanted.owner.compare_exchange_strong(free, thread)) return false;
  wanted.depth = 1;
  wanted.acquired.store(clock_.fetch_add(1, std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  return true;
}

// False where somebody has it, others wait, or the gate is closed. close() looks for owners after it has closed the gate; so
// whoever became one then, and was perhaps not seen, finds it closed.
bool Gate::take_without_waiting(std::size_t seat, std::uint64_t thread) {
  if (state_.load() != 0 || !take_if_free(seat, thread)) return false;
  if (!(state_.load() & kClosed)) [[likely]]
    return true;
  seats_[seat].depth = 0;
  set_free(seats_[seat]);
  return false;
}

// The seat whose interpreter has this thread's state and warm caches; else one that nobody else will look for: never used, or
// longest unused.
std::optional<std::size_t> Gate::best_free(std::uint64_t thread) const {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < seats_.size(); ++i) {
    const Seat& seat = seats_[i];
    if (seat.owner.load(std::memory_order_relaxed) != 0) continue;
    if (seat.last_user.load(std::memory_order_relaxed) == thread) return i;
    if (!best || seat.acquired.load(std::memory_order_relaxed) < seats_[*best].acquired.load(std::memory_order_relaxed)) best = i;
  }
  return best;
}

std::optional<std::size_t> Gate::last_held(std::uint64_t thread) const {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < seats_.size(); ++i) {
    const Seat& seat = seats_[i];
    if (seat.owner.load(std::memory_order_relaxed) != thread) continue;
    if (!best || seat.acquired.load(std::memory_order_relaxed) > seats_[*best].acquired.load(std::memory_order_relaxed)) best = i;
  }
  return best;
}

void Gate::unlink(Waiter& waiter) {
  (waiter.previous ? waiter.previous->next : first_) = waiter.next;
  (waiter.next ? waiter.next->previous : last_) = waiter.previous;
  state_.fetch_sub(kOneWaiter);
}

}  // namespace deploy::detail
