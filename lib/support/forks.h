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

// A fork waits for `lock` and holds it, and the child finds it open and what it guards whole. For locks that are never destroyed,
// and never held while foreign code runs. The fork takes them in the reverse order of these calls: of two locks that a thread holds
// at a time, the one that it takes first is registered last.
void hold_in_forks(std::mutex& lock);
// The same for locks that come and go, behind one that guards their list.
void hold_in_forks(void (*lock)(), void (*unlock)());

}  // namespace deploy
