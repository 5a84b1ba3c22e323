#include <dlfcn.h>
#include <link.h>

#include <algorithm>

#include "lib/loader/namespace_impl.h"

// Symbol resolution (gABI chapter 5, "Symbol Resolution"; versions as in the LSB)
//
// A reference is looked up in this order, and the first definition wins:
//
//   1. the library itself, under DT_SYMBOLIC
//   2. the namespace's global scope: what was loaded with Visibility::kGlobal, in load order
//   3. the library's local scope: what was loaded by the same call, breadth-first
//   4. the host's functions for the namespace (its malloc: heap/heap.h; its libdl, __tls_get_addr, ...: interpose.cpp;
//      NamespaceOptions::host_symbols)
//   5. the system's libraries
//
// In step 5 a reference with a version of glibc's is asked for in the process's global scope, so that the host's copy relocations
// and preloaded allocators are honoured. Everything else is asked for in the libraries that the referring library needs, never in
// the global scope: there the host's own Python or libtorch could answer. For such names (Policy::is_private_symbol) step 5 is
// skipped altogether.

namespace deploy::loader {

namespace {

bool is_unique(const Elf64_Sym& symbol) { return ELF64_ST_BIND(symbol.st_info) == STB_GNU_UNIQUE; }
bool is_ifunc(const Elf64_Sym& symbol) { return ELF64_ST_TYPE(symbol.st_info) == STT_GNU_IFUNC; }

Definition definition_of(const Library& library, const Elf64_Sym& symbol) {
  const std::uintptr_t base = symbol.st_shndx == SHN_ABS ? 0 : library.bias();
  return {&library, &symbol, base + symbol.st_value, is_ifunc(symbol)};
}

bool is_glibc(std::string_view file) {
  return file.starts_with("libc.so") || file.starts_with("libm.so") || file.starts_with("libpthread.so") ||
         file.starts_with("libdl.so") || file.starts_with("librt.so") || file.starts_with("ld-linux");
}

// Whether a symbol of a library that the system has loaded has no version; then it stands for every version (as glibc's own lookup
// has it, but not its dlvsym).
bool is_unversioned(const link_map& map, const ElfW(Sym) * symbol) {
  const ElfW(Half)* versions = nullptr;
  const ElfW(Sym)* symbols = nullptr;
  for (const ElfW(Dyn)* d = map.l_ld; d->d_tag != DT_NULL; ++d) {
    if (d->d_tag == DT_VERSYM) versions = reinterpret_cast<const ElfW(Half)*>(d->d_un.d_ptr);
    if (d->d_tag == DT_SYMTAB) symbols = reinterpret_cast<const ElfW(Sym)*>(d->d_un.d_ptr);
  }
  return !versions || (symbol && symbols && (versions[symbol - symbols] & 0x7fff) <= VER_NDX_GLOBAL);
}

template <class Entry>
Entry* system_info(const void* address, int kind, Dl_info& info) {
  Entry* entry = nullptr;
  return ::dladdr1(address, &info, reinterpret_cast<void**>(&entry), kind) ? entry : nullptr;
}

std::string_view file_name(const char* path) {
  const std::string_view text = path ? path : "";
  return text.substr(text.rfind('/') + 1);
}

// Data that the host executable copied out of a library (R_X86_64_COPY) lives in the executable: every user must take that copy.
// And who puts another malloc in front of the C library's (LD_PRELOAD, sanitizers) does so for everybody, or memory is freed by who
// did not allocate it.
void* honour_interposition(void* found, const std::string& name) {
  void* global = ::dlsym(RTLD_DEFAULT, name.c_str());
  if (!global || global == found) return found;
  Dl_info info, found_info;
  const auto* map = system_info<link_map>(global, RTLD_DL_LINKMAP, info);
  if (!map || !map->l_name) return found;
  if (map->l_name[0] == '\0') return global;
  if (is_glibc(file_name(map->l_name)) || !::dladdr(found, &found_info) || !is_glibc(file_name(found_info.dli_fname))) return found;
  const auto* symbol = system_info<ElfW(Sym)>(global, RTLD_DL_SYMENT, info);
  return is_unversioned(*map, symbol) ? global : found;
}

Failure undefined(const Library& from, std::string_view name, const VersionNeed& version, bool is_private) {
  std::string message = from.path + ": undefined symbol '" + std::string(name) + "'";
  if (!version.version.empty())
    message += " of version " + std::string(version.version) + (version.file.empty() ? "" : " of " + std::string(version.file));
  message += is_private ? "; no private library of the namespace defines it, and the host's own copy is never used"
                        : "; neither a library of the namespace nor one of the system's that it needs defines it";
  return {ErrorCode::kLoader, std::move(message)};
}

}  // namespace

const Library* NamespaceImpl::find_in(const std::vector<Library*>& scope, const SymbolName& name, const Elf64_Sym*& symbol) const {
  for (const Library* library : scope) {
    if ((symbol = library->symbols->find(name))) return library;
  }
  return nullptr;
}

bool NamespaceImpl::is_global(std::string_view name) const {
  const Elf64_Sym* symbol = nullptr;
  if (find_in(global_scope, SymbolName(name), symbol)) return true;
  const std::string text(name);
  const bool any = std::any_of(global_scope.begin(), global_scope.end(), [](const Library* l) { return !l->system.empty(); });
  bool found = false;
  if (any && !::dlsym(RTLD_DEFAULT, text.c_str())) {
    for (const Library* library : global_scope) {
      for (const SystemLibrary& system : library->system) found = found || ::dlsym(system.handle, text.c_str());
    }
  }
  ::dlerror();
  return found;
}

std::uintptr_t NamespaceImpl::address_of(const Library& library, const Elf64_Sym& symbol) {
  const Definition d = definition_of(library, symbol);
  if (ELF64_ST_TYPE(symbol.st_info) == STT_TLS) {
    const TlsIndex index{library.tls_module, symbol.st_value};
    return reinterpret_cast<std::uintptr_t>(tls_get_addr(&index));
  }
  if (!d.is_ifunc) return d.address;
  return library.image.is_code(d.address - library.bias()) ? reinterpret_cast<std::uintptr_t (*)()>(d.address)() : 0;
}

Result<Definition> NamespaceImpl::resolve(const Library& from, std::size_t index) {
  const Elf64_Sym& reference = from.symbols->symbols()[index];
  const unsigned bind = ELF64_ST_BIND(reference.st_info);
  if (bind == STB_LOCAL || (ELF64_ST_VISIBILITY(reference.st_other) != STV_DEFAULT && reference.st_shndx != SHN_UNDEF)) {
    return definition_of(from, reference);
  }
  const VersionNeed version = from.symbols->version_need(index);
  SymbolName name = from.symbols->hashed_name(index);
  name.version = version.version;
  name.prefers_oldest = true;
  const Elf64_Sym* symbol = nullptr;
  const Library* library = nullptr;
  if (from.dynamic.symbolic && (symbol = from.symbols->find(name))) library = &from;
  if (!library) library = find_in(global_scope, name, symbol);
  if (!library) library = find_in(from.local_scope, name, symbol);
  return library ? adopt(*library, *symbol) : resolve_outside(from, index);
}

Definition NamespaceImpl::adopt(const Library& library, const Elf64_Sym& symbol) {
  return is_unique(symbol) ? adopt_unique(library, symbol, gnu_hash(library.symbols->name(symbol)))
                           : definition_of(library, symbol);
}

Definition NamespaceImpl::adopt_unique(const Library& library, const Elf64_Sym& symbol, std::uint32_t hash) {
  const auto [begin, end] = unique_symbols.equal_range(hash);
  for (auto entry = begin; entry != end; ++entry) {
    const Definition& known = entry->second;
    if (known.symbol == &symbol || known.library->symbols->name(*known.symbol) == library.symbols->name(symbol)) return known;
  }
  return unique_symbols.emplace(hash, definition_of(library, symbol))->second;
}

Result<Definition> NamespaceImpl::resolve_outside(const Library& from, std::size_t index, std::uintptr_t answer, bool* by_system) {
  const Elf64_Sym& reference = from.symbols->symbols()[index];
  const std::string_view name = from.symbols->name(reference);
  const VersionNeed version = from.symbols->version_need(index);
  const auto outside = [](void* address) { return Definition{nullptr, nullptr, reinterpret_cast<std::uintptr_t>(address), false}; };
  if (void* address = heap->function(name)) return outside(address);
  if (void* address = find_interposed(name)) return outside(address);
  for (const auto& [symbol, address] : loading_allocator ? heap->symbols() : std::vector<std::pair<std::string, void*>>()) {
    if (symbol == name) return outside(address);
  }
  for (const auto& [host_name, address] : options.host_symbols) {
    if (host_name == name) return outside(address);
  }
  if (answer != 0) return Definition{nullptr, nullptr, answer, false};
  const bool is_private = options.policy.is_private_symbol && options.policy.is_private_symbol(name);
  const bool is_weak = ELF64_ST_BIND(reference.st_info) == STB_WEAK || version.weak;
  if (!is_private) {
    if (void* address = find_system(&from, name, version)) {
      if (by_system) *by_system = true;
      return outside(address);
    }
  }
  if (is_weak) return Definition{};
  return undefined(from, name, version, is_private);
}

SystemState NamespaceImpl::system_state(const Library& from) const {
  SystemState state;
  state.private_heap = heap->allocator() != nullptr;
  state.host_symbols = options.host_symbols;
  const auto count = [](dl_phdr_info* info, std::size_t, void* to) {
    static_cast<SystemState*>(to)->opened = info->dlpi_adds;
    static_cast<SystemState*>(to)->closed = info->dlpi_subs;
    return 1;
  };
  ::dl_iterate_phdr(count, &state);
  const auto add = [&](const std::vector<SystemLibrary>& libraries) {
    for (const SystemLibrary& library : libraries) state.handles.push_back(library.handle);
  };
  add(from.system);
  for (const auto* scope : {&from.local_scope, &global_scope}) {
    for (const Library* library : *scope) add(library->system);
  }
  add(system_handles);
  return state;
}

void* NamespaceImpl::find_system(const Library* from, std::string_view name, const VersionNeed& need) {
  const std::string text(name), version(need.version);
  const bool from_glibc = !version.empty() && (need.file.empty() || is_glibc(need.file));
  const std::string key = text + "@" + version + (from_glibc || !from ? std::string() : "@" + from->path);
  if (const auto known = system_symbols.find(key); known != system_symbols.end()) return known->second;
  void* found = nullptr;
  if (from_glibc) {
    found = ::dlvsym(RTLD_DEFAULT, text.c_str(), version.c_str());
  }
  const auto look_in = [&](const std::vector<SystemLibrary>& libraries) {
    for (const SystemLibrary& library : libraries) {
      if (found) return;
      if (!version.empty()) found = ::dlvsym(library.handle, text.c_str(), version.c_str());
      if (!found) found = ::dlsym(library.handle, text.c_str());
    }
  };
  if (!found && from) {
    look_in(from->system);
    for (const Library* other : from->local_scope) look_in(other->system);
  }
  if (!found) {
    for (const Library* other : global_scope) look_in(other->system);
  }
  if (!found) look_in(system_handles);
  // A library need not say that it needs the C library: every process has it.
  static void* const c_library = ::dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
  if (!found && version.empty() && c_library) found = ::dlsym(c_library, text.c_str());
  if (found) found = honour_interposition(found, text);
  ::dlerror();
  return system_symbols[key] = found;
}

}  // namespace deploy::loader
