#include <dlfcn.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>

#include "lib/loader/debugger.h"
#include "lib/loader/executable_stack.h"
#include "lib/loader/object_index.h"
#include "lib/loader/relocate.h"
#include "lib/loader/shared_libraries.h"

// Loading is a transaction in four steps, each over all new libraries before the next begins:
//
//   1. map       the requested file and, breadth-first, every private library that it needs; system libraries are opened on the way
//   2. relocate  all of them; then the deferred relocations, whose resolver functions call through relocated code
//   3. publish   scopes, address index, debugger
//   4. run       initialisers, dependencies first; one that throws takes the load back, with finalisers for what was initialised
//
// Relocating all before running any is required, not neat: an initialiser may call a C++ template function that another
// library of the same load interposes. A failure in 1 or 2 undoes everything; nothing of the load was visible.

namespace deploy::loader {

namespace {

constexpr std::size_t kMaxLibrariesPerLoad = 4096;

std::string_view file_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// The file of a library that the host has loaded under a name that the search does not find. It may be one that this namespace must
// have for itself, so the name is never simply handed to the system's loader.
std::optional<std::string> file_of_host_library(const std::string& name) {
  void* handle = ::dlopen(name.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  if (!handle) return std::nullopt;
  link_map* map = nullptr;
  std::optional<std::string> path;
  if (::dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map && map->l_name && map->l_name[0] == '/') path = map->l_name;
  ::dlclose(handle);
  return path;
}

// Whether dlerror's text says that the system had no memory, or no descriptor, for a library.
bool system_refused(std::string_view why) {
  for (const int number : {ENOMEM, EMFILE, ENFILE, EAGAIN}) {
    if (why.ends_with(std::strerror(number))) return true;
  }
  return why.ends_with("failed to map segment from shared object") || why.find("cannot allocate memory") != why.npos;
}

// Names the requested library where the failure is that of another one.
Failure of_load(const Failure& failure, const std::string& path) {
  return failure.message.starts_with(path) ? failure : Failure(failure).within(path);
}

class Load {
 public:
  Load(NamespaceImpl& space, Visibility visibility) : space_(space), visibility_(visibility) {}
  ~Load() {
    if (!committed_) undo();
  }

  Result<Library*> run(const std::string& path, LibraryFile file, Library* caller) {
    auto root = add(path, std::move(file), caller);
    if (!root) return root;
    for (std::size_t i = 0; i < added_.size(); ++i) {
      if (auto done = map_needed(*added_[i]); !done) return of_load(done.failure(), path);
    }
    set_scopes();
    if (auto done = relocate_all(); !done) return of_load(done.failure(), path);
    if (auto done = enter_heap(); !done) return of_load(done.failure(), path);
    committed_ = true;
    publish();
    return root;
  }

  // Depth-first post-order: what a library needs comes before it; a cycle is broken where it is entered. Independent libraries in
  // glibc's order, the last of the breadth-first list first: some depend on what they do not name. DF_1_INITFIRST comes before all.
  std::vector<Library*> initialisation_order() const {
    std::vector<Library*> order;
    std::set<Library*> visited;
    const auto visit = [&](auto&& self, Library* library) -> void {
      if (library->initialised || !visited.insert(library).second) return;
      for (Library* needed : library->needed) self(self, needed);
      order.push_back(library);
    };
    for (Library* library : added_) {
      if (library->dynamic.init_first) visit(visit, library);
    }
    const std::vector<Library*>& scope = added_.front()->local_scope;
    for (auto library = scope.rbegin(); library != scope.rend(); ++library) visit(visit, *library);
    return order;
  }

  // Takes a published load back, whose initialisers did not get through: its own libraries are not found any more, and what nothing
  // else uses by now goes.
  void take_back() {
    {
      const std::lock_guard guard(space_.lock);
      added_.front()->references = 0;
      forget_global();
    }
    space_.unload_unused(nullptr);
    const std::lock_guard guard(space_.lock);
    for (const auto& library : space_.libraries) {
      if (library->threw || (std::find(added_.begin(), added_.end(), library.get()) != added_.end() && !library->initialised))
        library->withdrawn = true;
    }
  }

 private:
  // Maps one file and makes it a library of the namespace.
  Result<Library*> add(const std::string& path, LibraryFile file, Library* loaded_by) {
    if (added_.size() >= kMaxLibrariesPerLoad) return Failure{ErrorCode::kLoader, path + ": needs more than 4096 libraries"};
    if (file.dynamic().no_open)
      return Failure{ErrorCode::kLoader, path + ": must not be opened at run time (linked with -z nodlopen)"};
    if (file.dynamic().is_program)
      return Failure{ErrorCode::kLoader, path + ": a position-independent executable, expected a shared library"};
    auto library = std::make_unique<Library>();
    library->owner = &space_;
    library->path = path;
    library->identity = file.identity;
    library->loaded_by = loaded_by;
    library->parsed = file.parsed;
    library->image = file.image();
    library->dynamic = file.dynamic();
    library->stays = library->dynamic.no_delete;
    library->names = {std::string(file_name(path))};
    if (!library->dynamic.soname.empty()) library->names.push_back(library->dynamic.soname);
    auto mapping = MappedImage::map(library->image, file.fd, file.offset, library->dynamic.text_relocations);
    if (!mapping) return std::move(mapping.failure()).within(path);
    library->mapping = std::move(*mapping);
    auto symbols = file.parsed->symbols(ImageBytes::of_mapping(library->image, library->bias()));
    if (!symbols) return std::move(symbols.failure()).within(path);
    library->symbols = std::move(*symbols);
    library->link.l_addr = library->bias();
    library->link.l_name = library->path.data();
    library->link.l_ld = reinterpret_cast<ElfW(Dyn)*>(library->address(library->image.dynamic.vaddr));
    added_.push_back(library.get());
    space_.libraries.push_back(std::move(library));
    return added_.back();
  }

  Result<void> map_needed(Library& library) {
    const SearchPath search = search_of(library);
    for (const std::string& name : library.dynamic.needed) {
      if (auto done = need(library, name, search); !done) return done;
    }
    return {};
  }

  Result<void> need(Library& library, const std::string& name, const SearchPath& search) {
    if (space_.classifier.is_shared_name(file_name(name))) return open_system(library, name, name);
    if (Library* known = space_.find_loaded(name)) {
      library.needed.push_back(known);
      return {};
    }
    if (const auto path = embedded_in(search.runpath, name)) {
      auto file = LibraryFile::open(*space_.options.embedded(*path));
      if (!file) return std::move(file.failure()).within(*path);
      auto dependency = add(*path, std::move(*file), &library);
      if (!dependency) return dependency.failure();
      library.needed.push_back(*dependency);
      return {};
    }
    auto found = find_library(name, search);
    if (!found) found = file_of_host_library(name);
    if (!found)
      return open_system(library, name,
                         name);  // the system's loader may know more (LD_PRELOAD, its own namespaces), and its error is exact
    auto file = LibraryFile::open(*found);
    if (!file) return file.failure();
    if (Library* known = space_.find_loaded(file->identity)) {
      known->names.push_back(name);
      library.needed.push_back(known);
      return {};
    }
    const bool is_private = space_.classifier.is_quiet_name(file_name(name)) || space_.classifier.is_private(*found, *file, search);
    if (!is_private) return open_system(library, name, *found);
    auto dependency = add(*found, std::move(*file), &library);
    if (!dependency) return dependency.failure();
    (*dependency)->names.push_back(name);
    library.needed.push_back(*dependency);
    return {};
  }

  // Embedded libraries find each other by $ORIGIN, as files beside each other do. They are private, all of them.
  std::optional<std::string> embedded_in(const std::vector<std::string>& folders, const std::string& name) const {
    if (!space_.options.embedded) return std::nullopt;
    for (const std::string& folder : folders) {
      if (std::string path = folder + "/" + name; space_.options.embedded(path)) return path;
    }
    return std::nullopt;
  }

  // Opens a shared library with the system's loader, its own dependencies first and by full path: those in a wheel's .libs folder
  // often have no RUNPATH of their own.
  Result<void> open_system(Library& library, const std::string& name, const std::string& path) {
    std::set<std::string> visited;
    auto handle = open_leaves_first(path, search_of(library), visited, library);
    if (!handle) return std::move(handle.failure()).within(library.path + " needs '" + name + "'");
    library.system.push_back({*handle, path});
    return {};
  }

  Result<void*> open_leaves_first(const std::string& path, const SearchPath& inherited, std::set<std::string>& visited,
                                  Library& library) {
    if (path.find('/') != std::string::npos && visited.insert(path).second) {
      if (auto file = LibraryFile::open(path)) {
        const SearchPath search = search_path_of(file->dynamic(), path, inherited);
        for (const std::string& needed : file->dynamic().needed) {
          if (space_.classifier.is_shared_name(needed)) continue;
          SearchPath local{search.rpath, search.runpath};
          const auto found = find_library(needed, local);
          if (!found || visited.contains(*found)) continue;
          if (auto leaf = open_leaves_first(*found, search, visited, library)) library.system.push_back({*leaf, *found});
        }
      }
    }
    if (void* handle = open_shared(path.c_str(), RTLD_LAZY | RTLD_LOCAL, space_.heap->allocator() != nullptr)) {
      space_.openmp.look_for(handle);
      return handle;
    }
    const char* why = ::dlerror();
    return Failure{why && system_refused(why) ? ErrorCode::kSystem : ErrorCode::kLoader, why ? why : "dlopen failed"};
  }

  SearchPath search_of(const Library& library) const {
    SearchPath inherited;
    for (const Library* by = library.loaded_by; by; by = by->loaded_by) {
      if (!by->dynamic.runpath.empty()) continue;
      for (const std::string& folder : by->dynamic.rpath) inherited.rpath.push_back(expand_origin(folder, by->path));
    }
    return search_path_of(library.dynamic, library.path, inherited);
  }

  // The local scope of a load: breadth-first over its root's dependencies, new and old (gABI chapter 5, "Shared Object
  // Dependencies").
  void set_scopes() {
    std::vector<Library*> order{added_.front()};
    for (std::size_t i = 0; i < order.size(); ++i) {
      for (Library* needed : order[i]->needed) {
        if (std::find(order.begin(), order.end(), needed) == order.end()) order.push_back(needed);
      }
    }
    for (Library* library : added_) library->local_scope = order;
    if (visibility_ == Visibility::kGlobal) make_global(order);
  }

  void make_global(const std::vector<Library*>& order) {
    for (Library* library : order) {
      if (library->global) continue;
      space_.make_global(library);
      made_global_.push_back(library);
    }
  }

  void forget_global() {
    for (Library* library : made_global_) {
      library->global = false;
      std::erase(space_.global_scope, library);
    }
  }

  // Initial-exec references decide which blocks must lie in static TLS before any module gets its number.
  Result<void> reserve_tls() {
    for (Library* library : added_) {
      if (!library->dynamic.static_tls) continue;  // linkers set DF_STATIC_TLS with every such reference
      for (const AddressRange& range : {library->dynamic.relocations, library->dynamic.plt_relocations}) {
        const auto* table = reinterpret_cast<const Elf64_Rela*>(library->address(range.vaddr));
        for (std::uint64_t i = 0; i < range.size / sizeof(Elf64_Rela); ++i) {
          if (ELF64_R_TYPE(table[i].r_info) != R_X86_64_TPOFF64) continue;
          if (auto done = reserve_for(*library, ELF64_R_SYM(table[i].r_info)); !done) return done;
        }
      }
    }
    for (Library* library : added_) {
      if (library->image.tls && !library->tls_is_shared)
        library->tls_module = tls_add(library->tls_image(), library->static_tls ? &*library->static_tls : nullptr);
    }
    return {};
  }

  Result<void> reserve_for(Library& library, std::size_t symbol) {
    Library* target = &library;
    if (symbol != STN_UNDEF) {
      auto definition = space_.resolve(library, symbol);
      if (!definition) return definition.failure();
      target = const_cast<Library*>(definition->library);
    }
    if (!target || target->static_tls || !target->image.tls || std::find(added_.begin(), added_.end(), target) == added_.end())
      return {};
    if (space_.loading_allocator) return share_thread_state(*target);
    auto block = tls_static_reserve(target->tls_image());
    if (!block) return std::move(block.failure()).within(target->path);
    target->static_tls = *block;
    return {};
  }

  // All copies of the allocator keep their state of a thread in one place.
  Result<void> share_thread_state(Library& allocator) {
    auto place = Heap::thread_state_place(allocator.tls_image());
    if (!place) return std::move(place.failure()).within(allocator.path);
    allocator.static_tls = *place;
    allocator.tls_is_shared = true;
    allocator.tls_module = kPrivateTlsModule;  // any but 0, which stands for no module
    return {};
  }

  Result<void> relocate_all() {
    if (auto done = reserve_tls(); !done) return done;
    std::vector<DeferredRelocation> deferred;
    const ReplayScope scope(space_.global_scope, added_.front()->local_scope, added_);
    const auto known = find_resolution(scope.key());
    ResolutionRecord fresh;
    fresh.libraries = std::vector<RelocationProgram>(added_.size());
    for (std::size_t i = added_.size(); i-- > 0;) {
      const RelocationProgram* program = known ? &known->libraries[i] : nullptr;
      if (auto done = relocate(space_, *added_[i], scope, program, fresh.libraries[i], deferred); !done) return done;
    }
    if (!known) keep_resolution(scope.key(), std::make_shared<const ResolutionRecord>(std::move(fresh)));
    run_deferred(deferred);
    for (const Library* library : added_) {
      if (library->image.executable_stack) {
        if (auto done = make_stacks_executable(); !done) return std::move(done.failure()).within(library->path);
      }
      if (auto done = check_functions(*library); !done) return done;
      if (auto done = library->mapping.protect(library->image, library->dynamic.text_relocations); !done) return done;
    }
    return {};
  }

  // What the init and fini arrays point to, now that they are relocated, is code: of this library, or at least of one that is
  // loaded.
  Result<void> check_functions(const Library& library) const {
    const auto is_code = [&](std::uintptr_t address) {
      if (library.contains(address)) return library.image.is_code(address - library.bias());
      for (const auto& other : space_.libraries) {
        if (other->contains(address)) return other->image.is_code(address - other->bias());
      }
      Dl_info info;
      return ::dladdr(reinterpret_cast<const void*>(address), &info) != 0;
    };
    for (const AddressRange& range : {library.dynamic.init_array, library.dynamic.fini_array}) {
      for (std::uintptr_t address : function_addresses(library, range)) {
        if (!is_code(address)) return Failure{ErrorCode::kLoader, library.path + ": an initialiser or finaliser outside the code"};
      }
    }
    return {};
  }

  // Of the allocator: its initialisers run in the heap.
  Result<void> enter_heap() {
    for (const Library* library : added_) {
      if (!library->tls_is_shared) continue;
      space_.heap->set_thread_state(*library);
      if (!space_.heap->enter()) return Failure{ErrorCode::kSystem, "there is no memory for a thread's state in the heap"};
    }
    return {};
  }

  void publish() {
    for (Library* library : added_) {
      const auto& header = library->image.eh_frame_header;
      index_add({library->mapping.start(), library->mapping.end(), header ? library->address(header->vaddr) : 0, library});
      if (library->static_tls && !library->tls_is_shared) space_.static_tls_version.fetch_add(1, std::memory_order_release);
    }
    space_.added_count += added_.size();
    debugger_added(added_);
    space_.enter_thread();
  }

  void undo() {
    forget_global();
    for (auto it = added_.rbegin(); it != added_.rend(); ++it) {
      Library* library = *it;
      space_.release_tls(*library);
      for (const SystemLibrary& system : library->system) close_shared(system.handle);
      std::erase_if(space_.unique_symbols, [&](const auto& entry) { return entry.second.library == library; });
      std::erase_if(space_.libraries, [&](const auto& owned) { return owned.get() == library; });
    }
    space_.system_symbols.clear();
  }

  NamespaceImpl& space_;
  const Visibility visibility_;
  std::vector<Library*> added_;  // breadth-first; the requested one first
  std::vector<Library*> made_global_;
  bool committed_ = false;
};

}  // namespace

Library* NamespaceImpl::find_loaded(const FileIdentity& identity) const {
  for (const auto& library : libraries) {
    if (library->identity == identity && !library->withdrawn) return library.get();
  }
  return nullptr;
}

Library* NamespaceImpl::find_loaded(std::string_view name) const {
  for (const auto& library : libraries) {
    if (library->withdrawn) continue;
    if (std::find(library->names.begin(), library->names.end(), name) != library->names.end()) return library.get();
  }
  return nullptr;
}

Library* NamespaceImpl::load_known(Library* library, Visibility visibility) {
  ++library->references;
  if (visibility == Visibility::kGlobal) {
    for (Library* each : library->local_scope) make_global(each);
  }
  return library;
}

void NamespaceImpl::make_global(Library* library) {
  if (std::exchange(library->global, true)) return;
  global_scope.push_back(library);
  classifier.scope_grew();
}

Result<Library*> NamespaceImpl::load(const std::string& path, Visibility visibility, Library* caller) {
  const std::lock_guard one(loading);
  std::unique_lock guard(lock);
  auto embedded = options.embedded ? options.embedded(path) : std::nullopt;
  auto file = embedded ? LibraryFile::open(*embedded) : LibraryFile::open(path);
  if (!file) return embedded ? std::move(file.failure()).within(path) : std::move(file.failure());
  if (Library* known = find_loaded(file->identity)) return load_known(known, visibility);
  Load transaction(*this, visibility);
  auto loaded = transaction.run(path, std::move(*file), caller);
  if (!loaded) return loaded;
  ++(*loaded)->references;
  guard.unlock();
  if (auto done = initialise(transaction.initialisation_order()); !done) {
    transaction.take_back();
    return std::move(done.failure());
  }
  return loaded;
}

Result<Library*> NamespaceImpl::load_by_name(const std::string& name, Visibility visibility, Library* caller, bool only_loaded,
                                             bool& is_system) {
  const std::lock_guard one(loading);
  std::unique_lock guard(lock);
  is_system = false;
  if (const auto embedded = options.embedded ? options.embedded(name) : std::nullopt) {
    auto file = LibraryFile::open(*embedded);
    Library* known = file ? find_loaded(file->identity) : nullptr;
    guard.unlock();
    return only_loaded && !known ? nullptr : load(name, visibility, caller);
  }
  if (name.find('/') == std::string::npos) {
    if (Library* known = find_loaded(name)) return load_known(known, visibility);
    if (classifier.is_shared_name(name)) {
      is_system = true;
      return nullptr;
    }
  }
  SearchPath search;
  if (caller) search = search_path_of(caller->dynamic, caller->path, {});
  auto found = find_library(name, search);
  if (!found) found = file_of_host_library(name);
  if (!found) {
    is_system = true;  // its dlopen gives the exact error
    return nullptr;
  }
  auto file = LibraryFile::open(*found);
  if (!file) return file.failure();
  if (Library* known = find_loaded(file->identity)) return load_known(known, visibility);
  if (!classifier.is_private(*found, *file, search)) {
    is_system = true;
    return nullptr;
  }
  if (only_loaded) return nullptr;
  guard.unlock();
  return load(*found, visibility, caller);
}

}  // namespace deploy::loader
