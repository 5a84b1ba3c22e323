#include "lib/loader/interpose.h"

#include <dlfcn.h>
#include <link.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <unordered_map>

#include "lib/loader/host_thread.h"
#include "lib/loader/namespace_impl.h"
#include "lib/loader/object_index.h"
#include "lib/loader/registrations.h"
#include "lib/loader/shared_threads.h"
#include "lib/loader/signals.h"
#include "lib/loader/variables.h"

// What private code gets instead of the C library's own functions
//
// glibc does not know our libraries, so everything that asks "who am I, who is at this address, run this when I go" must be ours:
// libdl (dl_api.cpp), the unwinder's _dl_find_object and dl_iterate_phdr, __tls_get_addr, exit handlers, thread-exit destructors,
// threads and pthread keys, signals (signals.cpp) and whatever else the C library keeps (registrations.cpp), and what
// would change a thread of the host (host_thread.cpp). The functions find the
// calling library, and so its namespace, from their return address. All are looked up by name when a library is relocated, after
// the namespace's own definitions.

namespace deploy::loader {

Library* library_at(const void* address) {
  IndexedObject found;
  return index_find(reinterpret_cast<std::uintptr_t>(address), found) ? found.library : nullptr;
}

int find_object(void* address, dl_find_object* result) {
  IndexedObject found;
  if (!index_find(reinterpret_cast<std::uintptr_t>(address), found)) return ::_dl_find_object(address, result);
  if (found.eh_frame_header == 0) return -1;
  result->dlfo_flags = 0;
  result->dlfo_map_start = reinterpret_cast<void*>(found.start);
  result->dlfo_map_end = reinterpret_cast<void*>(found.end);
  result->dlfo_link_map = &found.library->link;
  result->dlfo_eh_frame = reinterpret_cast<void*>(found.eh_frame_header);
  return 0;
}

namespace {

extern "C" int __cxa_atexit(void (*)(void*), void*, void*);
extern "C" void __cxa_finalize(void*);
extern "C" int __register_atfork(void (*)(), void (*)(), void (*)(), void*);

int ns_cxa_atexit(void (*function)(void*), void* argument, void* dso) {
  Library* library = library_at(dso);
  if (!library) library = DEPLOY_CALLER;
  if (!library) return ::deploy::loader::__cxa_atexit(function, argument, dso);
  return library->owner->at_exit({function, argument, dso, library});
}

void ns_cxa_finalize(void* dso) {
  Library* library = dso ? library_at(dso) : DEPLOY_CALLER;
  if (!library) return ::deploy::loader::__cxa_finalize(dso);
  library->owner->run_exit_handlers([dso](const ExitHandler& h) { return !dso || h.dso == dso; });
}

// glibc keeps the handlers; it must be told when they go.
int ns_register_atfork(void (*prepare)(), void (*parent)(), void (*child)(), void* dso) {
  if (Library* library = library_at(dso)) library->fork_handlers = dso;
  return ::deploy::loader::__register_atfork(prepare, parent, child, dso);
}

int ns_cxa_thread_atexit(void (*destructor)(void*), void* object, void* dso) {
  Library* library = library_at(dso);
  return tls_at_thread_exit(destructor, object, library ? library : DEPLOY_CALLER);
}

int ns_pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* argument) {
  Library* caller = DEPLOY_CALLER;
  if (!caller) return ::pthread_create(thread, attributes, body, argument);
  return caller->owner->start_thread(thread, attributes, body, argument, caller);
}

int ns_thrd_create(thrd_t* thread, thrd_start_t body, void* argument) {
  Library* caller = DEPLOY_CALLER;
  if (!caller) return ::thrd_create(thread, body, argument);
  return c11_result(caller->owner->start_thread(thread, nullptr, c11_body(body), argument, caller));
}

// A key's destructor is private code: the key must go when the namespace goes, or a later thread's exit would call unmapped memory.
int ns_pthread_key_create(pthread_key_t* key, void (*destructor)(void*)) {
  Library* caller = DEPLOY_CALLER;
  const int error = ::pthread_key_create(key, destructor);
  if (error != 0 || !caller) return error;
  const std::lock_guard guard(caller->owner->threads_lock);
  Library* destroyer = library_at(reinterpret_cast<const void*>(destructor));
  try {
    caller->owner->keys[*key] = destroyer ? destroyer : caller;
  } catch (const std::bad_alloc&) {
    ::pthread_key_delete(*key);
    return ENOMEM;
  }
  return 0;
}

int ns_pthread_key_delete(pthread_key_t key) {
  if (Library* caller = DEPLOY_CALLER) {
    const std::lock_guard guard(caller->owner->threads_lock);
    caller->owner->keys.erase(key);
  }
  return ::pthread_key_delete(key);
}

int ns_dl_iterate_phdr(int (*callback)(dl_phdr_info*, std::size_t, void*), void* data) {
  Library* caller = DEPLOY_CALLER;
  if (caller) {
    std::vector<dl_phdr_info> list;
    try {
      const std::lock_guard guard(caller->owner->lock);
      for (const auto& library : caller->owner->libraries) {
        dl_phdr_info info{};
        info.dlpi_addr = library->bias();
        info.dlpi_name = library->path.c_str();
        info.dlpi_phdr = library->image.program_headers.data();
        info.dlpi_phnum = static_cast<ElfW(Half)>(library->image.program_headers.size());
        info.dlpi_adds = caller->owner->added_count;
        info.dlpi_subs = caller->owner->removed_count;
        info.dlpi_tls_modid = library->tls_module;
        info.dlpi_tls_data = tls_block(library->tls_module);
        list.push_back(info);
      }
    } catch (const std::bad_alloc&) {
      list.clear();  // the callback sees the system's libraries alone
    }
    for (dl_phdr_info& info : list) {
      if (const int stop = callback(&info, sizeof info, data); stop != 0) return stop;
    }
  }
  return ::dl_iterate_phdr(callback, data);
}

}  // namespace

void* find_interposed(std::string_view name) {
  static const auto* const kTable = [] {
    auto* table = new std::unordered_map<std::string_view, void*>;
    const auto add = [table](std::string_view symbol, auto function) { (*table)[symbol] = reinterpret_cast<void*>(function); };
    add("__tls_get_addr", tls_get_addr);
    add("__cxa_atexit", ns_cxa_atexit);
    add("__cxa_finalize", ns_cxa_finalize);
    add("__cxa_thread_atexit_impl", ns_cxa_thread_atexit);
    add("__register_atfork", ns_register_atfork);
    add("pthread_create", ns_pthread_create);
    add("thrd_create", ns_thrd_create);
    add("pthread_key_create", ns_pthread_key_create);
    add("__pthread_key_create", ns_pthread_key_create);
    add("pthread_key_delete", ns_pthread_key_delete);
    add("_dl_find_object", find_object);
    add("dl_iterate_phdr", ns_dl_iterate_phdr);
    for (const auto& [symbol, function] : libdl_functions()) (*table)[symbol] = function;
    for (const auto& [symbol, function] : backtrace_functions()) (*table)[symbol] = function;
    for (const auto& [symbol, function] : registration_functions()) (*table)[symbol] = function;
    for (const auto& [symbol, function] : variable_functions()) (*table)[symbol] = function;
    for (const auto& [symbol, function] : signal_functions()) (*table)[symbol] = function;
    for (const auto& [symbol, function] : host_thread_functions()) (*table)[symbol] = function;
    return table;
  }();
  const auto found = kTable->find(name);
  return found == kTable->end() ? nullptr : found->second;
}

}  // namespace deploy::loader
