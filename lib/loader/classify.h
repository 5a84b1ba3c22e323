#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "lib/loader/library_file.h"
#include "lib/loader/namespace.h"
#include "lib/loader/search.h"

namespace deploy::loader {

// Decides for a file whether it is private to a namespace (D1), from what the file says:
//   1. a name in Policy::shared_names, or one of glibc's own libraries: shared;
//   2. a name in Policy::private_names: private;
//   3. an undefined symbol for which Policy::is_private_symbol holds: private;
//   4. a path in Policy::private_folders or a name in Policy::stateful_names: private, unless the name is in
//   Policy::stateless_names;
//   5. a DT_NEEDED library that is private (private_quiet names aside): private. Where the name is in Policy::stateless_names, a
//      library that is private by rule 4 alone does not count: its user goes without what a private copy would know;
//   6. an undefined symbol that no library defines which it needs, but the namespace's global scope does: private;
//   7. else shared.
// The file's name and its soname both count as its name. Remembers what it has decided.
class Classifier {
 public:
  // `is_global`: whether the namespace's global scope defines this name.
  explicit Classifier(const Policy& policy, std::function<bool(std::string_view)> is_global = {})
      : policy_(policy), is_global_(std::move(is_global)) {}

  bool is_private(const std::string& path, const LibraryFile& file, const SearchPath& inherited) {
    return is_private(path, file, inherited, true);
  }
  // The global scope defines more than before: what was shared may be private now.
  void scope_grew();
  // The library with this name is private once a private library needs it (rules 2 and private_quiet).
  bool is_private_name(std::string_view name) const;
  bool is_quiet_name(std::string_view name) const;
  bool is_shared_name(std::string_view name) const;

 private:
  using Key = std::pair<FileIdentity, bool>;  // with `by_place`

  // `by_place`: whether rule 4 holds.
  bool is_private(const std::string& path, const LibraryFile& file, const SearchPath& inherited, bool by_place);
  bool decide(const std::string& path, const LibraryFile& file, const SearchPath& inherited, bool by_place);
  bool is_stateful(const std::string& path, const std::string& soname) const;
  bool is_stateless(std::string_view name, const std::string& soname) const;
  bool needs_private(const std::string& path, const LibraryFile& file, const SearchPath& inherited, bool by_place);
  bool has_private_reference(const SymbolTable& symbols) const;
  bool has_global_reference(const std::string& path, const LibraryFile& file, const SearchPath& inherited,
                            const SymbolTable& symbols) const;

  const Policy& policy_;
  const std::function<bool(std::string_view)> is_global_;
  std::map<Key, bool> decided_;
};

// Where the DT_NEEDED entries of a library at `path` are looked for; `inherited` is what its loaders' DT_RPATH add.
SearchPath search_path_of(const DynamicTable& dynamic, const std::string& path, const SearchPath& inherited);

}  // namespace deploy::loader
