#include <algorithm>
#include <set>

#include "lib/loader/debugger.h"
#include "lib/loader/namespace_impl.h"
#include "lib/loader/object_index.h"
#include "lib/loader/shared_libraries.h"
#include "lib/loader/signals.h"

// Unloading while the namespace lives: dlclose, and a load whose initialiser threw
//
// A library stays while something may still use it. Roots are
//   - what dlopen holds, DF_1_NODELETE and RTLD_NODELETE, whose initialisers run at this moment, and the caller of dlclose;
//   - who defines a unique symbol that the namespace has adopted (as with glibc);
//   - who started a thread that runs, and who registered destructors of thread_local objects that have not run yet.
// A reached library keeps what it needs and what its references are bound to. All the rest goes: exit handlers and finalisers run
// in reverse order of initialisation, without the tables' lock, then it is unmapped. If a finaliser started a thread, the memory is
// kept until the namespace goes.

namespace deploy::loader {

std::vector<Library*> NamespaceImpl::unused(const Library* caller) {
  std::set<const Library*> reached;
  std::vector<const Library*> queue;
  const auto reach = [&](const Library* library) {
    if (library && reached.insert(library).second) queue.push_back(library);
  };
  const std::lock_guard guard(lock);
  for (const auto& library : libraries) {
    if (library->references > 0 || library->stays || library->initialising || library.get() == caller ||
        tls_has_destructors(library.get())) {
      reach(library.get());
    }
  }
  for (const auto& [hash, definition] : unique_symbols) reach(definition.library);
  {
    const std::lock_guard threads_guard(threads_lock);
    for (const auto& [thread, starter] : threads) reach(starter);
  }
  while (!queue.empty()) {
    const Library* library = queue.back();
    queue.pop_back();
    for (const Library* other : library->needed) reach(other);
    for (const Library* other : library->bound) reach(other);
  }
  std::vector<Library*> rest;
  for (const auto& library : libraries) {
    if (!reached.contains(library.get()) && !library->withdrawn) rest.push_back(library.get());
  }
  return rest;
}

void NamespaceImpl::unload_unused(const Library* caller) {
  const std::vector<Library*> victims = unused(caller);
  if (victims.empty()) return;
  const auto is_victim = [&](const Library* library) {
    return std::find(victims.begin(), victims.end(), library) != victims.end();
  };
  for (Library* library : victims) library->withdrawn = true;  // whoever asks for it from now on gets a new copy
  for (std::size_t i = initialised.size(); i-- > 0;) {
    Library* library = initialised[i];
    if (!is_victim(library)) continue;
    initialised.erase(initialised.begin() + static_cast<std::ptrdiff_t>(i));
    finalise(*library);
    i = std::min(i, initialised.size());  // a finaliser may have loaded more
  }
  {
    const std::lock_guard guard(threads_lock);
    if (std::any_of(threads.begin(), threads.end(), [&](const auto& t) { return is_victim(t.second); })) return;
  }
  remove(victims);
}

namespace {

// libstdc++ keeps 72 KB for exceptions thrown when memory has run out, and frees it for memory checkers only, by this function.
void free_emergency_pool(const Library& library) {
  if (!library.initialised) return;
  const Elf64_Sym* symbol = library.symbols->find(SymbolName("_ZN9__gnu_cxx9__freeresEv"));
  if (symbol) reinterpret_cast<void (*)()>(library.address(symbol->st_value))();
}

}  // namespace

// Unpublishes first: the unwinder and dladdr must not see what is about to go.
void NamespaceImpl::remove(const std::vector<Library*>& victims) {
  std::vector<SystemLibrary> handles;
  for (const Library* library : victims) {
    free_emergency_pool(*library);
    forget_signals(*library);
  }
  {
    const std::lock_guard guard(lock);
    const std::set<const Library*> gone(victims.begin(), victims.end());
    debugger_removed(victims);
    for (Library* library : victims) {
      index_remove(library->mapping.start());
      release_tls(*library);
      handles.insert(handles.end(), library->system.begin(), library->system.end());
    }
    delete_keys([&](const Library* owner) { return gone.contains(owner); });
    const auto forget = [&](std::vector<Library*>& list) {
      std::erase_if(list, [&](const Library* l) { return gone.contains(l); });
    };
    forget(global_scope);
    for (const auto& library : libraries) {
      forget(library->local_scope);
      if (gone.contains(library->loaded_by)) library->loaded_by = nullptr;
    }
    std::erase_if(unique_symbols, [&](const auto& entry) { return gone.contains(entry.second.library); });
    std::erase_if(libraries, [&](const auto& library) { return gone.contains(library.get()); });
    removed_count += victims.size();
    system_symbols.clear();
  }
  for (const SystemLibrary& system : handles) close_shared(system.handle);
}

void NamespaceImpl::release_tls(Library& library) {
  if (library.tls_is_shared) return;
  if (library.tls_module != 0) tls_remove(library.tls_module);
  if (library.static_tls) tls_static_release(*library.static_tls);
}

int NamespaceImpl::close(Library* library, const Library* caller) {
  const std::lock_guard one(loading);
  if (library->references == 0) return -1;
  if (--library->references == 0) unload_unused(caller);
  return 0;
}

}  // namespace deploy::loader
