#include "lib/loader/shared_threads.h"

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>

#include "lib/loader/got.h"
#include "lib/loader/interpose.h"
#include "lib/loader/namespace_impl.h"
#include "lib/loader/tls.h"
#include "lib/support/forks.h"

namespace deploy::loader {

namespace {

// By the number of the thread that started them.
using Counts = std::map<std::uint64_t, std::size_t>;

struct Registry {
  ForkLock lock;
  std::condition_variable_any ended;
  // Guarded by lock.
  std::map<const link_map*, Counts> threads;  // no empty ones
  std::multiset<const link_map*> endings;     // where a thread that ends has started threads; see Starter
};

// Never destroyed: threads end after static objects. A forked child has none of its parent's.
Registry& registry() {
  static Registry* const instance = [] {
    auto* made = new Registry;
    static Registry* forked = nullptr;
    forked = made;
    const auto forget = [] {
      forked->threads.clear();
      forked->endings.clear();
      new (&forked->ended) std::condition_variable_any;  // it knows waiters that are not there
    };
    hold_in_forks(made->lock);
    pthread_atfork(nullptr, nullptr, forget);
    return made;
  }();
  return *instance;
}

std::atomic<std::uint64_t> g_ends{0};

// A thread that has started others. When it ends, the destructor of a library's pthread key may end those, and still be running
// when the last of them has gone. glibc calls the destructors of thread_local objects before those of keys: from the one to the end
// of the other such a thread counts for the libraries in which it has started any.
struct Starter {
  std::uint64_t number;
  std::set<const link_map*> maps;
};
thread_local Starter* t_starter = nullptr;

void begin_ending(void* starter) {
  Registry& r = registry();
  const std::lock_guard guard(r.lock);
  for (const link_map* map : static_cast<Starter*>(starter)->maps) r.endings.insert(map);
}

void finish_ending(void* starter) {
  const std::unique_ptr<Starter> own(static_cast<Starter*>(starter));
  t_starter = nullptr;
  Registry& r = registry();
  const std::lock_guard guard(r.lock);
  for (const link_map* map : own->maps) {
    if (const auto ending = r.endings.find(map); ending != r.endings.end()) r.endings.erase(ending);
  }
  ++g_ends;
}

Starter& own_starter() {
  static std::atomic<std::uint64_t> last{0};
  if (!t_starter) {
    t_starter = new Starter{++last, {}};
    tls_at_thread_exit(begin_ending, t_starter, nullptr);
    tls_when_thread_ended(finish_ending, t_starter);
  }
  return *t_starter;
}

struct Start {
  void* (*body)(void*);
  void* argument;
  const link_map* map;
  std::uint64_t starter;
};

void count_out(const Start& start) {
  Registry& r = registry();
  const std::lock_guard guard(r.lock);
  const auto library = r.threads.find(start.map);
  if (library == r.threads.end()) return;  // of before a fork
  const auto count = library->second.find(start.starter);
  if (count == library->second.end()) return;
  if (--count->second == 0) library->second.erase(count);
  if (library->second.empty()) {
    r.threads.erase(library);
    ++g_ends;
  }
  r.ended.notify_all();
}

void end(void* raw) { count_out(*std::unique_ptr<Start>(static_cast<Start*>(raw))); }

void* run(void* raw) {
  const Start start = *static_cast<Start*>(raw);
  tls_when_thread_ended(end, raw);
  tls_prepare_thread();  // workers are lent to private code
  return start.body(start.argument);
}

// What a watched library has for pthread_create.
int create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* argument) {
  if (Library* library = library_at(reinterpret_cast<const void*>(body)))
    return library->owner->start_thread(thread, attributes, body, argument, library);
  dl_find_object found;
  if (::_dl_find_object(reinterpret_cast<void*>(body), &found) != 0) return ::pthread_create(thread, attributes, body, argument);
  Starter& own = own_starter();
  own.maps.insert(found.dlfo_link_map);
  auto start = std::make_unique<Start>(Start{body, argument, found.dlfo_link_map, own.number});
  {
    Registry& r = registry();
    const std::lock_guard guard(r.lock);
    ++r.threads[start->map][start->starter];
  }
  const int error = ::pthread_create(thread, attributes, run, start.get());
  if (error == 0)
    start.release();
  else
    count_out(*start);
  return error;
}

int create_c11(thrd_t* thread, thrd_start_t body, void* argument) {
  return c11_result(create(thread, nullptr, c11_body(body), argument));
}

bool is_in(const void* function, const link_map& map) {
  dl_find_object found;
  return function && ::_dl_find_object(const_cast<void*>(function), &found) == 0 && found.dlfo_link_map == &map;
}

std::size_t own_threads(const Registry& r, const link_map& map) {
  const auto library = r.threads.find(&map);
  if (library == r.threads.end() || !t_starter) return 0;
  const auto own = library->second.find(t_starter->number);
  return own == library->second.end() ? 0 : own->second;
}

}  // namespace

void watch_threads(const link_map& map) {
  static const Redirection kRedirections[] = {{"pthread_create", reinterpret_cast<const void*>(&create)},
                                              {"thrd_create", reinterpret_cast<const void*>(&create_c11)}};
  redirect_calls(map, kRedirections);
}

std::size_t threads_of(const link_map& map) {
  Registry& r = registry();
  const std::lock_guard guard(r.lock);
  std::size_t count = r.endings.count(&map);
  if (const auto library = r.threads.find(&map); library != r.threads.end()) {
    for (const auto& [starter, started] : library->second) count += started;
  }
  return count;
}

void end_own_threads(void* handle, const link_map& map, std::chrono::milliseconds patience) {
  constexpr int kPauseSoft = 1;  // omp_pause_soft (OpenMP 5.0, 3.2.44): settings stay
  Registry& r = registry();
  {
    const std::lock_guard guard(r.lock);
    if (own_threads(r, map) == 0) return;
  }
  void* pause = ::dlsym(handle, "omp_pause_resource_all");
  if (!is_in(pause, map) || reinterpret_cast<int (*)(int)>(pause)(kPauseSoft) != 0) return;
  std::unique_lock guard(r.lock);
  r.ended.wait_for(guard, patience, [&] { return own_threads(r, map) == 0; });
}

std::uint64_t ends_of_threads() noexcept { return g_ends.load(std::memory_order_relaxed); }

}  // namespace deploy::loader
