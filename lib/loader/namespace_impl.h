#pragma once

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/loader/classify.h"
#include "lib/loader/heap/heap.h"
#include "lib/loader/library.h"
#include "lib/loader/namespace.h"
#include "lib/loader/openmp.h"
#include "lib/loader/relocation_program.h"

namespace deploy::loader {

// What a reference is bound to.
struct Definition {
  const Library* library = nullptr;   // null: the system or the host defines it
  const Elf64_Sym* symbol = nullptr;  // in `library`
  std::uintptr_t address = 0;         // 0: an undefined weak reference
  bool is_ifunc = false;              // `address` is the resolver's (gABI GNU extension STT_GNU_IFUNC)
};

struct ExitHandler {
  void (*function)(void*);
  void* argument;
  void* dso;         // the registering library's __dso_handle
  Library* library;  // that library
};

// The state behind Namespace. The members of one concern are implemented in one file, named beside them.
//
// Two recursive locks, as glibc has them. `loading` makes loads and unloads one after another, with the initialisers and finalisers
// they run, which may load more. `lock` guards the tables, is taken after it and never held while an initialiser or finaliser runs:
// one may wait for a thread that looks up a symbol, throws or starts threads.
class NamespaceImpl {
 public:
  explicit NamespaceImpl(NamespaceOptions options);
  ~NamespaceImpl();

  // load.cpp
  Result<Library*> load(const std::string& path, Visibility visibility, Library* caller);
  // What dlopen means by a name: a library of this namespace, a private file, or nothing (then it is the system's). With
  // `only_loaded` (RTLD_NOLOAD) a private file that is not loaded is null too.
  Result<Library*> load_by_name(const std::string& name, Visibility visibility, Library* caller, bool only_loaded, bool& is_system);
  Library* load_known(Library* library, Visibility visibility);  // counts up; widens its visibility
  void make_global(Library* library);
  Library* find_loaded(const FileIdentity& identity) const;
  Library* find_loaded(std::string_view name) const;

  // resolve.cpp
  Result<Definition> resolve(const Library& from, std::size_t symbol_index);
  // The last steps of resolve alone: the host's functions and the system. `answer`: what the system said before in this state, 0 if
  // that is not known; `by_system` is set where the system's answer was taken.
  Result<Definition> resolve_outside(const Library& from, std::size_t symbol_index, std::uintptr_t answer = 0,
                                     bool* by_system = nullptr);
  SystemState system_state(const Library& from) const;
  // `symbol` as a definition; of a unique symbol, the one that the whole namespace uses.
  Definition adopt(const Library& library, const Elf64_Sym& symbol);
  Definition adopt_unique(const Library& library, const Elf64_Sym& symbol, std::uint32_t hash);  // the GNU hash of its name
  // Whether the namespace's global scope defines this name: one of its libraries, or a shared one that these need, where the
  // system's loader would not find it for itself.
  bool is_global(std::string_view name) const;
  // By name, as dlsym does: in `scope`, nothing else.
  const Library* find_in(const std::vector<Library*>& scope, const SymbolName& name, const Elf64_Sym*& symbol) const;
  std::uintptr_t address_of(const Library& library, const Elf64_Sym& symbol);
  // From the system's libraries, never a private name; null where there is none.
  void* find_system(const Library* from, std::string_view name, const VersionNeed& version);

  // init_fini.cpp
  Result<void> initialise(const std::vector<Library*>& libraries);
  void finalise();
  void finalise(Library& library);
  int at_exit(const ExitHandler& handler);
  // The newest first; all those that `matches` accepts, also ones registered on the way.
  void run_exit_handlers(const std::function<bool(const ExitHandler&)>& matches);

  // unload.cpp
  int close(Library* library, const Library* caller);  // dlclose; -1: it was closed more often than opened
  void unload_unused(const Library* caller);           // under `loading`
  std::vector<Library*> unused(const Library* caller);
  void remove(const std::vector<Library*>& libraries);
  void release_tls(Library& library);

  // threads.cpp
  int start_thread(pthread_t* thread, const pthread_attr_t* attributes, void* (*body)(void*), void* argument,
                   Library* starter) noexcept;
  void thread_ended(pthread_t thread);
  void enter_thread();
  Result<void> check_no_threads();
  void cancel_threads();
  Result<void> wait_for_threads(std::chrono::milliseconds patience);
  void delete_keys(const std::function<bool(const Library*)>& of);

  void unmap_all();

  // namespace.cpp
  Result<void> load_allocator();

  const NamespaceOptions options;
  std::unique_ptr<Heap> heap;      // never null after Namespace::create; goes after the libraries
  bool loading_allocator = false;  // guarded by loading
  std::recursive_mutex loading;
  std::recursive_mutex lock;
  Classifier classifier;
  std::vector<std::unique_ptr<Library>> libraries;  // in load order
  std::vector<Library*> global_scope;
  std::unordered_multimap<std::uint32_t, Definition> unique_symbols;  // STB_GNU_UNIQUE, by the GNU hash of the name
  std::unordered_map<std::string, void*> system_symbols;              // "name@version", what find_system said
  std::vector<Library*> initialised;                                  // in order; guarded by loading
  std::mutex handlers_lock;                                           // never held while foreign code runs
  std::vector<ExitHandler> exit_handlers;                             // guarded by handlers_lock
  std::vector<SystemLibrary> system_handles;                          // opened by private code through dlopen
  OpenMp openmp;
  std::map<pthread_key_t, Library*> keys;            // guarded by threads_lock: pthread keys, and whose destructor each has
  mutable std::mutex threads_lock;                   // never held while foreign code runs
  std::condition_variable thread_gone;               // with threads_lock
  bool given_up = false;                             // it stays mapped; written and read by who destroys it
  std::map<pthread_t, Library*> threads;             // guarded by threads_lock: running threads, and the library that started each
  std::uint64_t added_count = 0, removed_count = 0;  // libraries ever, for dl_iterate_phdr
  std::atomic<std::uint64_t> static_tls_version{0};  // counts libraries with initial-exec TLS
  const std::uint64_t serial;                        // unique in the process
};

// init_fini.cpp: the functions that DT_INIT_ARRAY or DT_FINI_ARRAY lists, once it is relocated.
std::vector<std::uintptr_t> function_addresses(const Library& library, const AddressRange& range);

// interpose.cpp: the function that stands for `name` in every namespace (its own libdl and so on), or null.
void* find_interposed(std::string_view name);

}  // namespace deploy::loader
