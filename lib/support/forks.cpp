#include "lib/support/forks.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
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

}  // namespace

// Locks in forks
//
// Handlers of pthread_atfork that run before a fork may belong to anybody, and do anything: that of OpenBLAS waits until its
// threads have ended. Ours takes all locks, and others run after it; a thread that one of them waits for must not wait for a lock
// of ours in turn, and a thread that ends needs some.
//
// So while a fork holds the locks they are lent. glibc takes the lock of its list of streams when all handlers have run and keeps
// it over the fork: whoever has that one holds the fork off. A thread that finds a lock held by a fork takes it and goes on, as if
// the lock were its own; one thread at a time, and never in the moment in which memory is copied.

extern "C" {
__attribute__((weak)) void _IO_list_lock();
__attribute__((weak)) void _IO_list_unlock();
}

struct Forks {
  static constexpr std::size_t kMost = 64;

  struct Held {
    ForkLock* lock = nullptr;  // or null, and these two
    void (*take)() = nullptr;
    void (*give_back)() = nullptr;
  };

  // In the order of hold_in_forks(), which may be called while a fork has the locks that there were.
  std::atomic<const Held*> all[kMost] = {};
  std::atomic<std::size_t> count = 0;

  std::mutex one;  // fork at a time
  const Held* held[kMost] = {};
  std::atomic<bool> has_locks = false;

  static Forks& get() {
    static Forks* const instance = [] {
      auto* made = new Forks;
      static Forks* forked = nullptr;
      forked = made;
      pthread_atfork([] { forked->begin(); }, [] { forked->end(_IO_list_lock != nullptr); }, [] { forked->end(false); });
      return made;
    }();
    return *instance;
  }

  void add(const Held& held);

  void begin() {
    one.lock();
    for (std::size_t i = std::min(count.load(), kMost); i-- > 0;) {
      held[i] = all[i];
      if (held[i]) held[i]->lock ? held[i]->lock->mutex_.lock() : held[i]->take();
    }
    has_locks = true;
  }

  void end(bool threads_may_have_them) {
    if (threads_may_have_them) _IO_list_lock();
    has_locks = false;
    if (threads_may_have_them) _IO_list_unlock();
    for (const Held*& each : held) {
      if (each) each->lock ? each->lock->mutex_.unlock() : each->give_back();
      each = nullptr;
    }
    one.unlock();
  }
};

void ForkLock::wait() {
  constexpr std::chrono::milliseconds kLook{1};
  while (!mutex_.try_lock_for(kLook)) {
    Forks& forks = Forks::get();
    if (!forks.has_locks || !_IO_list_lock) continue;
    _IO_list_lock();
    if (forks.has_locks) {
      is_lent_ = true;
      return;
    }
    _IO_list_unlock();
  }
}

void ForkLock::give_back() {
  is_lent_ = false;
  _IO_list_unlock();
}

void Forks::add(const Held& held) {
  const std::size_t place = count++;
  if (place < kMost) all[place] = new Held(held);
}

void hold_in_forks(ForkLock& lock) { Forks::get().add({.lock = &lock}); }
void hold_in_forks(void (*take)(), void (*give_back)()) { Forks::get().add({.take = take, .give_back = give_back}); }

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

}  // namespace deploy
