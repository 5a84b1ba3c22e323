#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/support/result.h"

namespace deploy::loader {

class Heap;
class NamespaceImpl;
struct OpenMpRuntime;
struct Library;  // opaque outside this folder; lives as long as its namespace

// A library that lies inside another file: `offset` is a multiple of the page size. The content never changes, and
// the descriptor outlives the namespace.
struct EmbeddedFile {
  int fd = -1;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

// The rule private or shared (D1), said without knowing Python or torch.
struct Policy {
  // A library with an undefined symbol for which this is true is private; and a name for which it is true is never taken from the
  // system.
  std::function<bool(std::string_view symbol)> is_private_symbol;
  // File-name patterns (fnmatch). Private ones make whatever needs them private too. `private_quiet` ones are
  // private when a private library needs them, but do not make others private (libgcc_s).
  std::vector<std::string> private_names;
  std::vector<std::string> private_quiet_names;
  std::vector<std::string> shared_names;  // always the system's, whatever they need; wins over all the others
  // Private unless a name in `stateless_names` says otherwise: libraries in these folders and below, which code of the namespace
  // brought along, and those with these names. They keep what their users give them (callbacks, tables, types), and the user is one
  // namespace. They make whatever needs them private too, unless a name in `stateless_names` says otherwise.
  std::vector<std::string> private_folders;  // absolute and normal; one behind a symbolic link in both forms
  std::vector<std::string> stateful_names;
  // Libraries that keep nothing of their users: large ones, or those that a process should have once.
  std::vector<std::string> stateless_names;
};

struct NamespaceOptions {
  std::string name;  // for messages and debuggers
  Policy policy;
  // Files that exist only here, asked before the file system, by the path that dlopen was given.
  std::function<std::optional<EmbeddedFile>(std::string_view path)> embedded;
  // Symbols that the host defines for the namespace's libraries, looked up before everything else.
  std::vector<std::pair<std::string, void*>> host_symbols;
  // Environment variables that private code reads where neither it nor the process has set them: names and values.
  std::vector<std::pair<std::string, std::string>> default_variables;
  // The library of the private allocator (heap/allocator.c), a path as for dlopen; empty: the namespace uses the process's, as it
  // does in any case where another than the C library's own is in front (LD_PRELOAD, sanitizers).
  std::string allocator;
  // Names (pthread_getname_np) of threads that wait for work for ever, in C code that holds nothing which would have to be undone:
  // end() cancels them.
  std::vector<std::string> cancelled_threads;
  // Of the namespace's heap, in bytes; 0: none.
  std::size_t memory_limit = 0;
};

enum class Visibility { kLocal, kGlobal };  // RTLD_LOCAL, RTLD_GLOBAL

// A set of private copies of libraries with its own symbol scope, TLS, C++ run time and libdl. Thread-safe.
class Namespace {
 public:
  static Result<std::unique_ptr<Namespace>> create(NamespaceOptions options);

  // unload() that ignores failures.
  ~Namespace();

  // Loads the library at `path` and what it needs: maps all, relocates all, then runs initialisers, dependencies first. A failure
  // undoes the load completely. A second load of the same file counts up.
  Result<Library*> load(const std::string& path, Visibility visibility);

  // The address of a symbol of `library` or its dependencies.
  Result<void*> symbol(Library* library, const std::string& name);

  // Prepares the calling thread to run code of the namespace (its reserve of static TLS). Cheap after the first time.
  void enter_thread();
  // The calling thread has left the namespace's code for now: what it has free in the heap is there for other threads.
  void leave_thread() noexcept;

  // The OpenMP run times that it shares with the process. Lock-free; they stay open as long as the namespace is loaded.
  std::span<const OpenMpRuntime> openmp_runtimes() const noexcept;

  // Runs destructors (__cxa_atexit, DT_FINI_ARRAY, DT_FINI) in reverse order of initialisation, frees TLS of all threads, unmaps
  // all. Fails, with the library named, while a thread started by the namespace's code runs.
  Result<void> unload();

  // The same for a namespace that is to go: destructors run although threads of private code do, since it is destructors that stop
  // threads; then those have `patience` to end. Where one does not, the failure names the library that started it, and the
  // namespace, which is of no use any more, stays mapped for the life of the process.
  Result<void> end(std::chrono::milliseconds patience);

  // Threads started by the namespace's libraries that have not ended.
  std::size_t live_threads() const;

  // What the namespace allocates; see heap/heap.h.
  Heap& heap() const;
  bool has_private_allocator() const;
  // Bytes of its libraries' writable pages: each namespace has its own copy of those it wrote to.
  std::size_t library_data() const;

  NamespaceImpl& impl() { return *impl_; }

 private:
  explicit Namespace(std::unique_ptr<NamespaceImpl> impl);
  std::unique_ptr<NamespaceImpl> impl_;
};

}  // namespace deploy::loader
