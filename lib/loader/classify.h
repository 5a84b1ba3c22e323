#pragma once

#include <map>
#include <string>
#include <string_view>

#include "lib/loader/library_file.h"
#include "lib/loader/namespace.h"
#include "lib/loader/search.h"

namespace deploy::loader {

// Decides for a file whether it is private to a namespace (D1), from what the file says:
//   1. a name in Policy::shared_names, or one of glibc's own libraries: shared;
//   2. a name in Policy::private_names: private;
//   3. an undefined symbol for which Policy::is_private_symbol holds: private;
//   4. a DT_NEEDED library that is private (private_quiet names aside): private;
//   5. else shared.
// The file's name and its soname both count as its name. Remembers what it has decided.
class Classifier {
 public:
  explicit Classifier(const Policy& policy) : policy_(policy) {}

  bool is_private(const std::string& path, const LibraryFile& file, const SearchPath& inherited);
  // The library with this name is private once a private library needs it (rules 2 and private_quiet).
  bool is_private_name(std::string_view name) const;
  bool is_quiet_name(std::string_view name) const;
  bool is_shared_name(std::string_view name) const;

 private:
  bool decide(const std::string& path, const LibraryFile& file, const SearchPath& inherited);
  bool has_private_reference(const LibraryFile& file) const;

  const Policy& policy_;
  std::map<FileIdentity, bool> decided_;
};

// Where the DT_NEEDED entries of a library at `path` are looked for; `inherited` is what its loaders' DT_RPATH add.
SearchPath search_path_of(const DynamicTable& dynamic, const std::string& path, const SearchPath& inherited);

}  // namespace deploy::loader
