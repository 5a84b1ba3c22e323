#include "lib/support/forks.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstddef>
#include <iterator>
#include <new>

namespace deploy {

namespace {

using Number = std::atomic<std::uint64_t>;

constexpr std::size_t kPage = 4096;

constinit Number g_before_start{1};  // what static objects that are made before ours read
constinit Number g_last{1};

// Where the kernel wipes no memory (before Linux 4.14, under some emulators), fork() itself runs the handler; a process that was
// made by another call is taken for its parent there.
Number* make_number() noexcept {
  pthread_atfork(nullptr, nullptr, [] { detail_forks::number->store(0, std::memory_order_relaxed); });
  void* page = ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return &g_before_start;
  if (::madvise(page, kPage, MADV_WIPEONFORK) != 0) {
    ::munmap(page, kPage);
    return &g_before_start;
  }
  return new (page) Number(1);
}

struct Held {
  std::mutex* mutex = nullptr;  // or null, and these two
  void (*lock)() = nullptr;
  void (*unlock)() = nullptr;
};

struct Locks {
  std::mutex lock;    // guards the list; a fork holds it as well
  Held all[64] = {};  // in the order of hold_in_forks()
  std::size_t count = 0;

  void add(const Held& held) {
    const std::lock_guard guard(lock);
    if (count < std::size(all)) all[count++] = held;
  }
};

Locks& locks() {
  static Locks* const instance = [] {
    static Locks* forked = nullptr;
    auto* made = forked = new Locks;
    const auto lock = [] {
      forked->lock.lock();
      for (std::size_t i = forked->count; i-- > 0;) {
        const Held& held = forked->all[i];
        held.mutex ? held.mutex->lock() : held.lock();
      }
    };
    const auto unlock = [] {
      for (std::size_t i = 0; i < forked->count; ++i) {
        const Held& held = forked->all[i];
        held.mutex ? held.mutex->unlock() : held.unlock();
      }
      forked->lock.unlock();
    };
    pthread_atfork(lock, unlock, unlock);
    return made;
  }();
  return *instance;
}

}  // namespace

namespace detail_forks {

constinit Number* number = &g_before_start;

namespace {
[[maybe_unused]] const bool g_started = (number = make_number(), true);
}  // namespace

std::uint64_t new_number() noexcept {
  std::uint64_t none = 0;
  const std::uint64_t mine = g_last.fetch_add(1, std::memory_order_relaxed) + 1;
  return number->compare_exchange_strong(none, mine, std::memory_order_relaxed) ? mine : none;
}

}  // namespace detail_forks

void hold_in_forks(std::mutex& lock) { locks().add({.mutex = &lock}); }
void hold_in_forks(void (*lock)(), void (*unlock)()) { locks().add({.lock = lock, .unlock = unlock}); }

}  // namespace deploy
