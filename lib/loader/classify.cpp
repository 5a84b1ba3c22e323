#include "lib/loader/classify.h"

#include <fnmatch.h>

#include <algorithm>

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

bool Classifier::is_private(const std::string& path, const LibraryFile& file, const SearchPath& inherited) {
  const auto [entry, fresh] = decided_.try_emplace(file.identity, false);  // a cycle of DT_NEEDED adds nothing
  if (!fresh) return entry->second;
  const bool result = decide(path, file, inherited);
  decided_[file.identity] = result;
  return result;
}

bool Classifier::decide(const std::string& path, const LibraryFile& file, const SearchPath& inherited) {
  const std::string_view name = file_name(path);
  const std::string& soname = file.dynamic().soname;
  if (is_shared_name(name) || is_shared_name(soname)) return false;
  if (is_private_name(name) || is_private_name(soname)) return true;
  if (has_private_reference(file)) return true;
  const SearchPath search = search_path_of(file.dynamic(), path, inherited);
  for (const std::string& needed : file.dynamic().needed) {
    if (is_shared_name(needed) || is_quiet_name(needed)) continue;
    if (is_private_name(needed)) return true;
    const auto found = find_library(needed, search);
    if (!found) continue;
    auto dependency = LibraryFile::open(*found);
    if (dependency && is_private(*found, *dependency, search)) return true;
  }
  return false;
}

bool Classifier::has_private_reference(const LibraryFile& file) const {
  if (!policy_.is_private_symbol) return false;
  const auto content = file.content();
  if (!content) return false;
  auto symbols = file.parsed->symbols(ImageBytes::of_file(file.image(), content->bytes()));
  if (!symbols) return false;
  const auto all = symbols->symbols();
  return std::any_of(all.begin(), all.end(), [&](const Elf64_Sym& s) {
    return s.st_shndx == SHN_UNDEF && s.st_name != 0 && policy_.is_private_symbol(symbols->name(s));
  });
}

}  // namespace deploy::loader
