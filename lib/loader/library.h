#pragma once

#include <link.h>

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "lib/loader/memory_map.h"
#include "lib/loader/symbol_table.h"
#include "lib/loader/tls.h"

namespace deploy::loader {

class NamespaceImpl;
class ParsedFile;

// Which bytes a library is: one file may be known under many paths, and a file that was rewritten is another library.
struct FileIdentity {
  std::uint64_t device = 0, inode = 0, offset = 0;
  std::uint64_t size = 0, modified = 0;  // nanoseconds since the epoch
  auto operator<=>(const FileIdentity&) const = default;
};

// A library that the system's dlopen holds for the namespace.
struct SystemLibrary {
  void* handle = nullptr;
  std::string name;  // as it was asked for: a path, or a DT_NEEDED name
};

// One private library of one namespace. Plain data: each field belongs to the part of the loader named beside it.
struct Library {
  // namespace.cpp
  NamespaceImpl* owner = nullptr;
  std::string path;                // as dladdr reports it
  std::vector<std::string> names;  // what a DT_NEEDED entry may call it: the soname and the file's name
  FileIdentity identity;
  std::shared_ptr<const ParsedFile> parsed;
  ElfImage image;
  DynamicTable dynamic;
  MappedImage mapping;
  std::optional<SymbolTable> symbols;  // views into the mapping
  std::vector<Library*> needed;        // private dependencies, in DT_NEEDED order
  std::vector<SystemLibrary> system;   // the others
  std::vector<Library*> local_scope;   // breadth-first over what was loaded with it, itself included
  Library* loaded_by = nullptr;        // whose DT_RPATH applies to its dependencies as well
  bool global = false;
  unsigned references = 0;  // dlopen minus dlclose

  // unload.cpp
  bool stays = false;              // DF_1_NODELETE or RTLD_NODELETE
  bool withdrawn = false;          // being unloaded, or kept only because it cannot be: nobody finds it any more
  std::set<const Library*> bound;  // libraries that its references are bound to, or dlsym gave it symbols of

  // tls.cpp
  std::uint64_t tls_module = 0;
  std::optional<StaticTls> static_tls;
  bool tls_is_shared = false;  // of the allocator: its place in static TLS is the heaps' own, see heap/heap.h
  std::vector<std::unique_ptr<TlsIndex>> descriptor_arguments;

  // init_fini.cpp
  bool initialised = false;  // or begun
  bool initialising = false;
  bool threw = false;             // one of its initialisers: it is not finalised
  void* fork_handlers = nullptr;  // the __dso_handle it gave to pthread_atfork

  link_map link{};  // for dladdr1, dlinfo, _dl_find_object and debuggers

  std::uintptr_t bias() const { return mapping.bias(); }
  std::uintptr_t address(std::uint64_t vaddr) const { return mapping.bias() + vaddr; }
  bool contains(std::uintptr_t a) const { return mapping.start() <= a && a < mapping.end(); }
  TlsImage tls_image() const {
    return {reinterpret_cast<const void*>(address(image.tls->vaddr)), image.tls->file_size, image.tls->memory_size,
            image.tls->alignment};
  }
};

}  // namespace deploy::loader
