#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

// Forked processes. A child has a copy of the parent's memory and one thread. What the parent's other threads were doing stays
// half done: their locks stay shut, and nobody joins them or wakes whoever waits for them.
namespace deploy {

namespace detail_forks {

// Lies in memory that is zero in a child, however it was forked (MADV_WIPEONFORK).
extern std::atomic<std::uint64_t>* number;
std::uint64_t new_number() noexcept;

}  // namespace detail_forks

// Which process this is, among its parent and the forks that led to it: what one process keeps, a child of it finds to be another
// number. Any thread, signal handlers too; costs a load. Never 0.
inline std::uint64_t this_process() noexcept {
  const std::uint64_t number = detail_forks::number->load(std::memory_order_relaxed);
  return number != 0 ? number : detail_forks::new_number();
}

// A lock that a fork waits for and holds, so that the child finds it open and what it guards whole. It is never destroyed, and
// never held while foreign code runs. Forks take all of them, in the reverse order of hold_in_forks(): of two locks that a thread
// holds at a time, the one that it takes first is registered last. forks.cpp says what a thread does that needs one during a fork.
class ForkLock {
 public:
  ForkLock() = default;
  ForkLock(const ForkLock&) = delete;
  ForkLock& operator=(const ForkLock&) = delete;

  void lock() {
    if (!mutex_.try_lock()) wait();
  }
  void unlock() {
    if (is_lent_) [[unlikely]] {
      give_back();
    } else {
      mutex_.unlock();
    }
  }
  bool try_lock() { return mutex_.try_lock(); }

 private:
  friend struct Forks;
  void wait();
  void give_back();

  std::timed_mutex mutex_;
  bool is_lent_ = false;  // of whoever has it
};
void hold_in_forks(ForkLock& lock);
// The same for locks that come and go, with the one that guards their list: what takes them all, and what gives them back.
void hold_in_forks(void (*take)(), void (*give_back)());

}  // namespace deploy
