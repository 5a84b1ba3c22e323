#include "lib/loader/classify.h"

#include <fnmatch.h>

#include <algorithm>
#include <filesystem>
#include <set>

namespace deploy::loader {

namespace {

// The libraries of glibc itself: one copy a process, because they share one thread descriptor and one heap.
constexpr const char* kGlibc[] = {"libc.so.6",    "libm.so.6",      "libpthread.so.0", "libdl.so.2",  "librt.so.1",
                                  "libutil.so.1", "libresolv.so.2", "libnsl.so.1",     "libanl.so.1", "ld-linux-x86-64.so.2",
                                  "libmvec.so.1", "libcrypt.so.1"};

bool matches(const std::vector<std::string>& patterns, std::string_view name) {
  const std::string text(name);
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& p) { return ::fnmatch(p.c_str(), text.c_str(), 0) == 0; });
}

std::string_view file_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

bool starts_with_folder(const std::string& path, const std::string& folder) {
  return path.size() > folder.size() && path.starts_with(folder) && (folder.ends_with('/') || path[folder.size()] == '/');
}

// Whether the file lies in one of the folders or below it, by its path as it was given or with symbolic links of its folder
// followed. The file itself may be a symbolic link: installers link to a store of theirs.
bool is_below(const std::string& path, const std::vector<std::string>& folders) {
  namespace fs = std::filesystem;
  if (folders.empty()) return false;
  std::error_code error;
  const fs::path given = fs::absolute(path, error).lexically_normal();
  const auto holds = [&](const fs::path& file) {
    return std::any_of(folders.begin(), folders.end(),
                       [&](const std::string& folder) { return starts_with_folder(file.native(), folder); });
  };
  if (error || holds(given)) return !error;
  const fs::path folder = fs::canonical(fs::path(path).parent_path(), error);
  return !error && holds(folder / given.filename());
}

// Takes the names out of `wanted` that a library defines which this one needs, directly or not.
void remove_defined_by_needed(const std::string& path, const LibraryFile& file, const SearchPath& inherited,
                              std::set<FileIdentity>& visited, std::vector<std::string_view>& wanted) {
  const SearchPath search = search_path_of(file.dynamic(), path, inherited);
  for (const std::string& needed : file.dynamic().needed) {
    if (wanted.empty()) return;
    const auto found = find_library(needed, search);
    if (!found) continue;
    auto dependency = LibraryFile::open(*found);
    if (!dependency || !visited.insert(dependency->identity).second) continue;
    if (const auto content = dependency->content()) {
      const auto symbols = dependency->parsed->symbols(ImageBytes::of_file(dependency->image(), content->bytes()));
      if (symbols) std::erase_if(wanted, [&](std::string_view name) { return symbols->find(SymbolName(name)) != nullptr; });
    }
    remove_defined_by_needed(*found, *dependency, search, visited, wanted);
  }
}

}  // namespace

SearchPath search_path_of(const DynamicTable& dynamic, const std::string& path, const SearchPath& inherited) {
  SearchPath search;
  for (const std::string& folder : dynamic.runpath) search.runpath.push_back(expand_origin(folder, path));
  if (!dynamic.runpath.empty()) return search;  // DT_RUNPATH switches every DT_RPATH off (ld.so(8))
  for (const std::string& folder : dynamic.rpath) search.rpath.push_back(expand_origin(folder, path));
  search.rpath.insert(search.rpath.end(), inherited.rpath.begin(), inherited.rpath.end());
  return search;
}

bool Classifier::is_private_name(std::string_view name) const { return matches(policy_.private_names, name); }
bool Classifier::is_quiet_name(std::string_view name) const { return matches(policy_.private_quiet_names, name); }
bool Classifier::is_shared_name(std::string_view name) const {
  return std::find(std::begin(kGlibc), std::end(kGlibc), name) != std::end(kGlibc) || matches(policy_.shared_names, name);
}

void Classifier::scope_grew() {
  std::erase_if(decided_, [](const auto& entry) { return !entry.second; });
}

bool Classifier::is_private(const std::string& path, const LibraryFile& file, const SearchPath& inherited, bool by_place) {
  const Key key{file.identity, by_place};
  const auto [entry, fresh] = decided_.try_emplace(key, false);  // a cycle of DT_NEEDED adds nothing
  if (!fresh) return entry->second;
  const bool result = decide(path, file, inherited, by_place);
  decided_[key] = result;
  return result;
}

bool Classifier::decide(const std::string& path, const LibraryFile& file, const SearchPath& inherited, bool by_place) {
  const std::string_view name = file_name(path);
  const std::string& soname = file.dynamic().soname;
  if (is_shared_name(name) || is_shared_name(soname)) return false;
  if (is_private_name(name) || is_private_name(soname)) return true;
  const bool stateless = is_stateless(name, soname);
  if (by_place && !stateless && is_stateful(path, soname)) return true;
  const auto content = file.content();
  const auto symbols =
      content ? file.parsed->symbols(ImageBytes::of_file(file.image(), content->bytes())) : Result<SymbolTable>(content.failure());
  if (symbols && has_private_reference(*symbols)) return true;
  if (needs_private(path, file, inherited, by_place && !stateless)) return true;
  return symbols && has_global_reference(path, file, inherited, *symbols);
}

bool Classifier::is_stateless(std::string_view name, const std::string& soname) const {
  return matches(policy_.stateless_names, name) || matches(policy_.stateless_names, soname);
}

bool Classifier::is_stateful(const std::string& path, const std::string& soname) const {
  return matches(policy_.stateful_names, file_name(path)) || matches(policy_.stateful_names, soname) ||
         is_below(path, policy_.private_folders);
}

bool Classifier::needs_private(const std::string& path, const LibraryFile& file, const SearchPath& inherited, bool by_place) {
  const SearchPath search = search_path_of(file.dynamic(), path, inherited);
  for (const std::string& needed : file.dynamic().needed) {
    if (is_shared_name(needed) || is_quiet_name(needed)) continue;
    if (is_private_name(needed)) return true;
    const auto found = find_library(needed, search);
    if (!found) continue;
    auto dependency = LibraryFile::open(*found);
    if (dependency && is_private(*found, *dependency, search, by_place)) return true;
  }
  return false;
}

bool Classifier::has_private_reference(const SymbolTable& symbols) const {
  if (!policy_.is_private_symbol) return false;
  const auto all = symbols.symbols();
  return std::any_of(all.begin(), all.end(), [&](const Elf64_Sym& s) {
    return s.st_shndx == SHN_UNDEF && s.st_name != 0 && policy_.is_private_symbol(symbols.name(s));
  });
}

bool Classifier::has_global_reference(const std::string& path, const LibraryFile& file, const SearchPath& inherited,
                                      const SymbolTable& symbols) const {
  if (!is_global_) return false;
  std::vector<std::string_view> wanted;
  for (const Elf64_Sym& s : symbols.symbols()) {
    if (s.st_shndx == SHN_UNDEF && s.st_name != 0 && is_global_(symbols.name(s))) wanted.push_back(symbols.name(s));
  }
  if (wanted.empty()) return false;
  std::set<FileIdentity> visited;
  remove_defined_by_needed(path, file, inherited, visited, wanted);
  return !wanted.empty();
}

}  // namespace deploy::loader
