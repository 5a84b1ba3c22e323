#include <dlfcn.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>

#include "lib/loader/interpose.h"
#include "lib/loader/namespace_impl.h"
#include "lib/loader/shared_libraries.h"
#include "lib/loader/tls.h"

// The namespace's own libdl (dlopen(3), dlsym(3), dladdr(3), dlinfo(3)), as private code sees it
//
// A handle is either the address of a Library of the caller's namespace, the address of the namespace itself (dlopen(NULL): its
// global scope, which stands for the main program), or a handle of the system's dlopen for a shared library. What is private is
// decided by the same rule as for DT_NEEDED. dlclose counts, and unloads what nothing uses any more (unload.cpp).

namespace deploy::loader {

namespace {

constexpr int kRequestPhdr = 11;  // RTLD_DI_PHDR; <dlfcn.h> has it since glibc 2.36

// Whether this thread has an error that dlerror() has not handed out yet; its text is tls_error_text().
thread_local bool t_has_error = false;

std::nullptr_t set_error(std::string_view message) {
  tls_error_text() = message;
  t_has_error = true;
  return nullptr;
}

// What `work` returns. The callers are C code, which an exception must not pass: where there is no memory, `refused`.
template <class Work, class Result>
Result in_c(Work&& work, Result refused) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    tls_error_text().clear();
    tls_error_text() = "out of memory";  // needs none
    t_has_error = true;
    return refused;
  }
}

Library* as_library(NamespaceImpl& space, void* handle) {
  const std::lock_guard guard(space.lock);
  const auto found = std::find_if(space.libraries.begin(), space.libraries.end(), [&](const auto& l) { return l.get() == handle; });
  return found == space.libraries.end() ? nullptr : found->get();
}

void* open_system(NamespaceImpl& space, const char* path, int flags) {
  void* handle = open_shared(path, flags, space.heap->allocator() != nullptr);
  if (!handle) return nullptr;
  space.openmp.look_for(handle);
  const std::lock_guard guard(space.lock);
  try {
    space.system_handles.push_back({handle, path});
  } catch (const std::bad_alloc&) {
    close_shared(handle);
    throw;
  }
  space.system_symbols.clear();  // what was missing may be there now
  return handle;
}

void* open(Library* caller, const char* path, int flags) {
  NamespaceImpl& space = *caller->owner;
  t_has_error = false;
  if (!path || !*path) return &space;
  const Visibility visibility = (flags & RTLD_GLOBAL) ? Visibility::kGlobal : Visibility::kLocal;
  bool is_system = false;
  auto library = space.load_by_name(path, visibility, caller, (flags & RTLD_NOLOAD) != 0, is_system);
  if (is_system) return open_system(space, path, flags);
  if (!library) return set_error(library.failure().message);
  if (!*library) return nullptr;  // RTLD_NOLOAD: absence is no error
  if (flags & RTLD_NODELETE) (*library)->stays = true;
  return *library;
}

void* ns_dlopen(const char* path, int flags) {
  Library* caller = DEPLOY_CALLER;
  return caller ? in_c([&] { return open(caller, path, flags); }, static_cast<void*>(nullptr)) : ::dlopen(path, flags);
}

void* ns_dlmopen(Lmid_t, const char* path, int) {
  return set_error(std::string("dlmopen of '") + (path ? path : "") +
                   "': link namespaces of glibc cannot be made from private code");
}

// `user`, if any, is bound to what it found.
void* lookup_in(NamespaceImpl& space, const std::vector<Library*>& scope, const SymbolName& name, Library* user = nullptr) {
  const Elf64_Sym* symbol = nullptr;
  const Library* library = space.find_in(scope, name, symbol);
  if (library && user) user->bound.insert(library);
  return library ? reinterpret_cast<void*>(space.address_of(*library, *symbol)) : nullptr;
}

// RTLD_DEFAULT: the scope that the caller's own references are bound in.
void* lookup_default(NamespaceImpl& space, Library* caller, const SymbolName& name) {
  if (void* found = lookup_in(space, space.global_scope, name, caller)) return found;
  if (caller) {
    if (void* found = lookup_in(space, caller->local_scope, name, caller)) return found;
  }
  if (void* found = space.heap->function(name.text)) return found;
  if (void* found = find_interposed(name.text)) return found;
  if (space.options.policy.is_private_symbol && space.options.policy.is_private_symbol(name.text)) return nullptr;
  return space.find_system(caller, name.text, {name.version, {}, false});
}

// RTLD_NEXT: what the caller's reference would bind to if the search began after the caller.
void* lookup_next(NamespaceImpl& space, Library* caller, const SymbolName& name) {
  std::vector<Library*> scope = space.global_scope;
  scope.insert(scope.end(), caller->local_scope.begin(), caller->local_scope.end());
  const auto self = std::find(scope.begin(), scope.end(), caller);
  if (self != scope.end()) scope.erase(scope.begin(), std::next(self));
  std::erase(scope, caller);
  if (void* found = lookup_in(space, scope, name, caller)) return found;
  if (void* found = space.heap->function(name.text)) return found;
  if (void* found = find_interposed(name.text)) return found;
  return space.find_system(caller, name.text, {name.version, {}, false});
}

void* symbol_of(Library* caller, void* handle, const char* text, const char* version) {
  NamespaceImpl& space = *caller->owner;
  t_has_error = false;
  SymbolName name(text);
  if (version) name.version = version;
  std::string where = "the namespace";
  void* found = nullptr;
  {
    const std::lock_guard guard(space.lock);
    if (handle == RTLD_DEFAULT || handle == &space) {
      found = lookup_default(space, caller, name);
    } else if (handle == RTLD_NEXT) {
      found = lookup_next(space, caller, name);
    } else if (Library* library = as_library(space, handle)) {
      where = library->path;
      std::vector<Library*> closure{library};
      for (std::size_t i = 0; i < closure.size(); ++i) {
        for (Library* needed : closure[i]->needed) {
          if (std::find(closure.begin(), closure.end(), needed) == closure.end()) closure.push_back(needed);
        }
      }
      found = lookup_in(space, closure, name);
      for (std::size_t i = 0; !found && i < closure.size(); ++i) {
        for (const SystemLibrary& system : closure[i]->system) {
          if (!found) found = version ? ::dlvsym(system.handle, text, version) : ::dlsym(system.handle, text);
        }
      }
      found = private_counterpart(space.heap.get(), found, text);
    } else {
      return private_counterpart(space.heap.get(), version ? ::dlvsym(handle, text, version) : ::dlsym(handle, text), text);
    }
  }
  if (!found) set_error(where + ": undefined symbol: " + text + (version ? std::string(", version ") + version : std::string()));
  return found;
}

void* ns_dlsym(void* handle, const char* name) {
  Library* caller = DEPLOY_CALLER;
  return caller ? in_c([&] { return symbol_of(caller, handle, name, nullptr); }, static_cast<void*>(nullptr))
                : ::dlsym(handle, name);
}

void* ns_dlvsym(void* handle, const char* name, const char* version) {
  Library* caller = DEPLOY_CALLER;
  return caller ? in_c([&] { return symbol_of(caller, handle, name, version); }, static_cast<void*>(nullptr))
                : ::dlvsym(handle, name, version);
}

int close(Library* caller, void* handle) {
  NamespaceImpl& space = *caller->owner;
  if (handle == &space) return 0;
  if (Library* library = as_library(space, handle)) {
    const int error = space.close(library, caller);
    if (error != 0) set_error(library->path + ": closed more often than opened");
    return error;
  }
  const std::lock_guard guard(space.lock);
  const auto held = std::find_if(space.system_handles.begin(), space.system_handles.end(),
                                 [&](const SystemLibrary& s) { return s.handle == handle; });
  if (held == space.system_handles.end()) return ::dlclose(handle);
  space.system_handles.erase(held);
  space.system_symbols.clear();
  return close_shared(handle);
}

int ns_dlclose(void* handle) {
  Library* caller = DEPLOY_CALLER;
  return caller ? in_c([&] { return close(caller, handle); }, -1) : ::dlclose(handle);
}

char* ns_dlerror() {
  if (std::exchange(t_has_error, false)) {
    ::dlerror();
    return tls_error_text().data();
  }
  return ::dlerror();
}

// The nearest symbol at or below an address, of those that have one.
const Elf64_Sym* nearest_symbol(const Library& library, std::uintptr_t address) {
  const Elf64_Sym* best = nullptr;
  const std::uint64_t vaddr = address - library.bias();
  for (const Elf64_Sym& s : library.symbols->symbols()) {
    if (s.st_shndx == SHN_UNDEF || s.st_value == 0 || ELF64_ST_TYPE(s.st_info) == STT_TLS || s.st_value > vaddr) continue;
    if (s.st_size != 0 && vaddr - s.st_value >= s.st_size) continue;
    if (!best || s.st_value > best->st_value) best = &s;
  }
  return best;
}

}  // namespace

int address_info(const void* address, Dl_info* info, void** extra, int flags) {
  Library* library = library_at(address);
  if (!library) return flags != 0 ? ::dladdr1(address, info, extra, flags) : ::dladdr(address, info);
  const Elf64_Sym* symbol = nearest_symbol(*library, reinterpret_cast<std::uintptr_t>(address));
  info->dli_fname = library->path.c_str();
  info->dli_fbase = reinterpret_cast<void*>(library->mapping.start());
  info->dli_sname = symbol ? library->symbols->name(*symbol).data() : nullptr;
  info->dli_saddr = symbol ? reinterpret_cast<void*>(library->address(symbol->st_value)) : nullptr;
  if (flags == RTLD_DL_LINKMAP) *extra = &library->link;
  if (flags == RTLD_DL_SYMENT) *extra = const_cast<Elf64_Sym*>(symbol);
  return 1;
}

namespace {

int ns_dladdr(const void* address, Dl_info* info) { return address_info(address, info, nullptr, 0); }
int ns_dladdr1(const void* address, Dl_info* info, void** extra, int flags) { return address_info(address, info, extra, flags); }

// The folders that a library's own dlopen calls search, as RTLD_DI_SERINFO wants them: the table, then the texts. With
// `only_size` just how much that is, and how many (RTLD_DI_SERINFOSIZE).
void search_info(const Library& library, Dl_serinfo* result, bool only_size) {
  const SearchPath search = search_path_of(library.dynamic, library.path, {});
  std::vector<std::string> folders = search.rpath;
  folders.insert(folders.end(), search.runpath.begin(), search.runpath.end());
  const std::size_t table = offsetof(Dl_serinfo, dls_serpath) + folders.size() * sizeof(Dl_serpath);
  std::size_t size = table;
  for (const std::string& folder : folders) size += folder.size() + 1;
  if (only_size) {
    result->dls_size = size;
    result->dls_cnt = static_cast<unsigned>(folders.size());
    return;
  }
  char* text = reinterpret_cast<char*>(result) + table;
  for (std::size_t i = 0; i < folders.size(); ++i) {
    result->dls_serpath[i] = {text, 0};
    text = std::copy_n(folders[i].c_str(), folders[i].size() + 1, text);
  }
}

int library_info(Library& library, int request, void* result) {
  switch (request) {
    case RTLD_DI_LMID:
      *static_cast<Lmid_t*>(result) = LM_ID_BASE;
      return 0;
    case RTLD_DI_LINKMAP:
      *static_cast<link_map**>(result) = &library.link;
      return 0;
    case RTLD_DI_ORIGIN: {
      const std::string origin = expand_origin("$ORIGIN", library.path);
      std::memcpy(result, origin.c_str(), origin.size() + 1);
      return 0;
    }
    case RTLD_DI_SERINFO:
    case RTLD_DI_SERINFOSIZE:
      search_info(library, static_cast<Dl_serinfo*>(result), request == RTLD_DI_SERINFOSIZE);
      return 0;
    case RTLD_DI_TLS_MODID:
      *static_cast<std::size_t*>(result) = library.tls_module;
      return 0;
    case RTLD_DI_TLS_DATA:
      *static_cast<void**>(result) = tls_block(library.tls_module);
      return 0;
    case kRequestPhdr:
      *static_cast<const ElfW(Phdr)**>(result) = library.image.program_headers.data();
      return static_cast<int>(library.image.program_headers.size());
    default:
      set_error("dlinfo: request " + std::to_string(request) + " is not known for a private library");
      return -1;
  }
}

int ns_dlinfo(void* handle, int request, void* result) {
  Library* caller = DEPLOY_CALLER;
  if (!caller) return ::dlinfo(handle, request, result);
  if (Library* library = as_library(*caller->owner, handle)) {
    return in_c([&] { return library_info(*library, request, result); }, -1);
  }
  // The namespace itself stands for the main program.
  return ::dlinfo(handle == caller->owner ? ::dlopen(nullptr, RTLD_LAZY) : handle, request, result);
}

}  // namespace

std::vector<std::pair<std::string_view, void*>> libdl_functions() {
  const auto at = [](auto function) { return reinterpret_cast<void*>(function); };
  return {{"dlopen", at(ns_dlopen)}, {"dlmopen", at(ns_dlmopen)}, {"dlsym", at(ns_dlsym)},
          {"dlvsym", at(ns_dlvsym)}, {"dlclose", at(ns_dlclose)}, {"dlerror", at(ns_dlerror)},
          {"dladdr", at(ns_dladdr)}, {"dladdr1", at(ns_dladdr1)}, {"dlinfo", at(ns_dlinfo)}};
}

}  // namespace deploy::loader
