#include "lib/loader/shared_libraries.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <string_view>
#include <utility>

#include "lib/loader/got.h"
#include "lib/loader/heap/heap.h"
#include "lib/loader/host_thread.h"
#include "lib/loader/shared_threads.h"
#include "lib/support/forks.h"

// Shared libraries and their threads
//
// A C library that has nothing to do with Python (an OpenMP run time, OpenBLAS, those of CUDA) is opened once, by the system's
// dlopen, whichever namespace needs it first, and closed when no namespace needs it any more. A process that never closes a library
// does not find out what is wrong then: the library may have threads. libgomp's are the pool of each thread that ever entered a
// parallel region, and end when that thread does, which here is a thread of the host. They spin, then sleep, in code that dlclose
// unmaps. What follows is a crash, or, where none of them wakes up any more, a thread and its stack for ever; and the next
// namespace begins with a new copy, which makes new ones.
//
// So threads are known by the library whose code they run. A shared library's references to pthread_create and thrd_create are
// bound to ours (shared_threads.cpp), and a library of which a thread runs when the last namespace closes it stays open. Opened
// again, by the next interpreter, it is the same copy with the same pool: nothing grows. Not known are threads that an initialiser
// starts, for dlopen has run it before a reference can be changed. That is as it should be: OpenBLAS, for one, has a finaliser that
// ends them.
//
// It is better not to need that. A pool can be ended, though only by the thread whose pool it is: OpenMP 5.0 has
// omp_pause_resource_all for it. So when a library is to stay, whoever comes by (who destroys an interpreter, its home thread, a
// thread that begins a session in another interpreter) ends its own pool there, if it has one, and closes the library if that was
// the last thread. A thread of the host that ends takes its pool along; that too leaves the library to the next who comes by.
//
// A library lives as long as one that needs it does, and glibc does not say for which. So what a handle holds open is found once,
// by DT_NEEDED, and handles are counted for each of these: a handle is not closed while a library that nobody else holds has
// threads.
//
// What the program or libdeploy itself needs is never unloaded, and left alone: our own threads start in its C++ run time. So those
// that a shared library starts by std::thread are not seen. Shared are C++ libraries only by name (CUDA's are); they are never
// unloaded.

namespace deploy::loader {

namespace {

using Maps = std::vector<const link_map*>;

struct Handle {
  unsigned opens = 0;  // by namespaces
  bool kept = false;   // by us, once
  bool knows_heaps = false;
  Maps holds;  // its library and what that needs
};

struct Registry {
  ForkLock teaching;  // two at a time would make a page read-only that the other is about to write
  ForkLock lock;      // guards all below; never held while a library's code runs
  std::map<void*, Handle> handles;
  std::map<const link_map*, unsigned> users;  // handles that hold it, of those that are open
};

// A fork takes these locks before the one of the threads, as everybody does: handlers run in reverse order of registration.
Registry& registry() {
  static Registry* const instance = [] {
    threads_of({});
    auto* made = new Registry;
    hold_in_forks(made->lock);
    hold_in_forks(made->teaching);
    return made;
  }();
  return *instance;
}

// Counts libraries that had to stay; with ends_of_threads() what a thread may have to look after.
std::atomic<std::uint64_t> g_stays{0};

link_map* map_of(void* handle) {
  link_map* map = nullptr;
  return handle && ::dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 ? map : nullptr;
}

// Names of DT_NEEDED entries of a library that glibc has relocated.
std::vector<const char*> needed_names(const link_map& map) {
  const char* strings = nullptr;
  std::vector<const char*> names;
  for (const ElfW(Dyn)* d = map.l_ld; d->d_tag != DT_NULL; ++d) {
    if (d->d_tag == DT_STRTAB) strings = reinterpret_cast<const char*>(d->d_un.d_ptr);
  }
  for (const ElfW(Dyn)* d = map.l_ld; strings && d->d_tag != DT_NULL; ++d) {
    if (d->d_tag == DT_NEEDED) names.push_back(strings + d->d_un.d_val);
  }
  return names;
}

void collect(const link_map* map, Maps& found) {
  if (!map || std::find(found.begin(), found.end(), map) != found.end()) return;
  found.push_back(map);
  for (const char* name : needed_names(*map)) {
    if (void* needed = ::dlopen(name, RTLD_LAZY | RTLD_NOLOAD)) {
      collect(map_of(needed), found);
      ::dlclose(needed);
    }
  }
}

// Of the program and of libdeploy.
const Maps& permanent() {
  static const Maps found = [] {
    Maps maps;
    void* program = ::dlopen(nullptr, RTLD_LAZY);
    collect(map_of(program), maps);
    if (program) ::dlclose(program);
    Dl_info info;
    void* own = nullptr;
    if (::dladdr1(reinterpret_cast<const void*>(&open_shared), &info, &own, RTLD_DL_LINKMAP) != 0)
      collect(static_cast<const link_map*>(own), maps);
    return maps;
  }();
  return found;
}

bool is_cpp(const link_map& map) {
  const auto names = needed_names(map);
  return std::any_of(names.begin(), names.end(), [](std::string_view name) { return name.starts_with("libstdc++.so"); });
}

void pin(const link_map& map) {
  if (void* handle = ::dlopen(map.l_name, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE)) ::dlclose(handle);
}

Maps teach(void* handle, bool knows_heaps) {
  const std::lock_guard guard(registry().teaching);
  Maps all, holds;
  collect(map_of(handle), all);
  for (const link_map* map : all) {
    if (knows_heaps) teach_system_allocator(*map);
    if (std::find(permanent().begin(), permanent().end(), map) != permanent().end()) continue;
    watch_threads(*map);
    watch_writes(*map);
    if (is_cpp(*map)) pin(*map);
    holds.push_back(map);
  }
  return holds;
}

// Whether it is only this handle, or none, that stands between the library's threads and their code. Under the lock.
bool has_threads_alone(const Registry& r, const link_map* map) { return !r.users.contains(map) && threads_of(*map) > 0; }
bool must_stay(const Registry& r, const Maps& holds) {
  return std::any_of(holds.begin(), holds.end(), [&](const link_map* map) { return has_threads_alone(r, map); });
}

std::uint64_t events() { return g_stays.load(std::memory_order_relaxed) + ends_of_threads(); }
thread_local std::uint64_t t_seen = 0;

}  // namespace

void* open_shared(const char* path, int flags, bool knows_heaps) {
  void* handle = ::dlopen(path, flags);
  if (!handle) return nullptr;
  Registry& r = registry();
  {
    const std::lock_guard guard(r.lock);
    const auto known = r.handles.find(handle);
    if (known != r.handles.end() && known->second.opens > 0 && (known->second.knows_heaps || !knows_heaps)) {
      ++known->second.opens;
      return handle;
    }
  }
  Maps holds = teach(handle, knows_heaps);
  bool was_kept = false;
  {
    const std::lock_guard guard(r.lock);
    Handle& entry = r.handles[handle];
    entry.knows_heaps |= knows_heaps;
    if (entry.opens++ == 0) {
      for (const link_map* map : holds) ++r.users[map];
      entry.holds = std::move(holds);
    }
    was_kept = std::exchange(entry.kept, false);
  }
  if (was_kept) ::dlclose(handle);  // the namespace holds it now
  return handle;
}

int close_shared(void* handle) {
  Registry& r = registry();
  {
    const std::lock_guard guard(r.lock);
    const auto known = r.handles.find(handle);
    if (known != r.handles.end() && known->second.opens > 0 && --known->second.opens == 0) {
      for (const link_map* map : known->second.holds) {
        if (--r.users[map] == 0) r.users.erase(map);
      }
      if (must_stay(r, known->second.holds)) {
        known->second.kept = true;
        ++g_stays;
        return 0;
      }
      r.handles.erase(known);
    }
  }
  return ::dlclose(handle);
}

std::vector<KeptLibrary> kept_libraries() {
  Registry& r = registry();
  const std::lock_guard guard(r.lock);
  std::set<const link_map*> kept;
  for (const auto& [handle, entry] : r.handles) {
    for (const link_map* map : entry.holds) {
      if (entry.kept && has_threads_alone(r, map)) kept.insert(map);
    }
  }
  std::vector<KeptLibrary> list;
  for (const link_map* map : kept) list.push_back({map->l_name, threads_of(*map)});
  return list;
}

void leave_kept_libraries(std::chrono::milliseconds patience) {
  t_seen = events();
  Registry& r = registry();
  std::vector<std::pair<void*, Maps>> taken;  // with our hold on them
  {
    const std::lock_guard guard(r.lock);
    for (auto& [handle, entry] : r.handles) {
      if (std::exchange(entry.kept, false)) taken.emplace_back(handle, entry.holds);
    }
  }
  const auto is_alone = [&](const link_map* map) {
    const std::lock_guard guard(r.lock);
    return has_threads_alone(r, map);
  };
  for (const auto& [handle, holds] : taken) {
    for (const link_map* map : holds) {
      if (is_alone(map)) end_own_threads(handle, *map, patience);
    }
    {
      const std::lock_guard guard(r.lock);
      Handle& entry = r.handles[handle];
      if (entry.opens == 0 && !entry.kept) {
        if (must_stay(r, holds)) {
          entry = {.kept = true, .holds = holds};
          continue;
        }
        r.handles.erase(handle);
      }
    }
    ::dlclose(handle);
  }
}

bool may_leave_kept_libraries() noexcept { return t_seen != events(); }

}  // namespace deploy::loader
