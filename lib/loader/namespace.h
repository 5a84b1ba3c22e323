#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/support/result.h"

namespace deploy::loader {

class NamespaceImpl;
struct Library;  // opaque outside this folder; lives as long as its namespace

// A library that lies inside another file (a sealed memfd): `offset` is a multiple of the page size. The content never changes, and
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
};

struct NamespaceOptions {
  std::string name;  // for messages and debuggers
  Policy policy;
  // Files that exist only here, asked before the file system, by the path that dlopen was given.
  std::function<std::optional<EmbeddedFile>(std::string_view path)> embedded;
  // Symbols that the host defines for the namespace's libraries, looked up before everything else.
  std::vector<std::pair<std::string, void*>> host_symbols;
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

  // Runs destructors (__cxa_atexit, DT_FINI_ARRAY, DT_FINI) in reverse order of initialisation, frees TLS of all threads, unmaps
  // all. Fails, with the library named, while a thread started by the namespace's code runs.
  Result<void> unload();

  // Threads started by the namespace's libraries that have not ended.
  std::size_t live_threads() const;

  NamespaceImpl& impl() { return *impl_; }

 private:
  explicit Namespace(std::unique_ptr<NamespaceImpl> impl);
  std::unique_ptr<NamespaceImpl> impl_;
};

}  // namespace deploy::loader
