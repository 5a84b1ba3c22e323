#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <new>
#include <utility>

#include "lib/loader/host_thread.h"
#include "lib/loader/namespace_impl.h"
#include "lib/loader/tls.h"

// Threads that private code starts are known by name of the library that started them: until the last destructor of one has run,
// its code must stay mapped.

namespace deploy::loader {

namespace {

struct Start {
  NamespaceImpl* space;
  void* (*body)(void*);
  void* argument;
  // Made before the thread, which has nobody to tell that there is no memory.
  TlsThread* tls;
  std::unique_ptr<NewHeapThread> in_heap;
};

// Not a destructor of a local variable: a thread that leaves by pthread_exit or cancellation unwinds none of our frames, and one
// that returns still runs destructors of private code.
void end(void* space) { static_cast<NamespaceImpl*>(space)->thread_ended(pthread_self()); }

void* run(void* raw) {
  const std::unique_ptr<Start> given(static_cast<Start*>(raw));
  const Start start = std::move(*given);
  tls_begin_thread(start.tls);
  heap_begin_thread(*start.in_heap);
  start.space->heap->begin_thread();
  become_own_thread();
  start.space->enter_thread();
  return start.body(start.argument);
}

// The last static-TLS version of the namespace that this thread has seen; threads rarely alternate between many.
struct Seen {
  std::uint64_t serial = 0, version = 0;
};
thread_local Seen t_seen[4];

}  // namespace

int NamespaceImpl::start_thread(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* argument,
                                Library* starter) noexcept {
  if (!heap->has_room_for_thread()) return EAGAIN;
  TlsThread* tls = tls_new_thread(end, this);
  try {
    if (!tls) return EAGAIN;
    auto in_heap = heap_new_thread(*heap);
    if (!in_heap) {
      tls_drop_new_thread(tls);
      return EAGAIN;
    }
    auto start = std::make_unique<Start>(Start{this, body, argument, tls, std::move(in_heap)});
    // The lock keeps the new thread from ending before it is entered. Its place in the table is made first, by another key.
    const std::lock_guard guard(threads_lock);
    std::map<pthread_t, Library*> place;
    place.emplace(pthread_t{}, starter);
    const int error = ::pthread_create(thread, attributes, run, start.get());
    if (error == 0) {
      start.release();
      auto node = place.extract(place.begin());
      node.key() = *thread;
      threads.insert(std::move(node));
      return 0;
    }
    tls_drop_new_thread(tls);
    return error;
  } catch (const std::bad_alloc&) {
    if (tls) tls_drop_new_thread(tls);
    return EAGAIN;
  }
}

void NamespaceImpl::thread_ended(pthread_t thread) {
  const std::lock_guard guard(threads_lock);
  threads.erase(thread);
  thread_gone.notify_all();
}

void NamespaceImpl::enter_thread() {
  const std::uint64_t version = static_tls_version.load(std::memory_order_acquire);
  if (version == 0) return;
  Seen& seen = t_seen[serial % 4];
  if (seen.serial == serial && seen.version == version) return;
  const std::lock_guard guard(lock);
  for (const auto& library : libraries) {
    if (!library->static_tls || library->tls_is_shared) continue;
    const TlsIndex index{library->tls_module, 0};
    tls_get_addr(&index);  // the first access initialises the block
  }
  seen = {serial, version};
}

void NamespaceImpl::delete_keys(const std::function<bool(const Library*)>& of) {
  const std::lock_guard guard(threads_lock);
  for (auto key = keys.begin(); key != keys.end();) {
    if (of(key->second)) ::pthread_key_delete(key->first);
    key = of(key->second) ? keys.erase(key) : std::next(key);
  }
}

// A thread in the table has not ended, for it would have to take the lock first.
void NamespaceImpl::cancel_threads() {
  const std::lock_guard guard(threads_lock);
  for (const auto& [thread, starter] : threads) {
    char name[16] = {};
    if (::pthread_getname_np(thread, name, sizeof name) != 0) continue;
    const auto& names = options.cancelled_threads;
    if (std::find(names.begin(), names.end(), name) != names.end()) ::pthread_cancel(thread);
  }
}

Result<void> NamespaceImpl::wait_for_threads(std::chrono::milliseconds patience) {
  {
    std::unique_lock guard(threads_lock);
    thread_gone.wait_for(guard, patience, [this] { return threads.empty(); });
  }
  return check_no_threads();
}

Result<void> NamespaceImpl::check_no_threads() {
  const std::lock_guard guard(threads_lock);
  if (threads.empty()) return {};
  const Library* starter = threads.begin()->second;
  return Failure{ErrorCode::kLoader, options.name + " cannot be unloaded: " + std::to_string(threads.size()) +
                                         " thread(s) run, one of them started by " + (starter ? starter->path : options.name)};
}

}  // namespace deploy::loader
