#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace deploy::loader {

// The folders that a library's DT_NEEDED names (or its dlopen calls) are looked for in before the system's own, with $ORIGIN
// expanded.
struct SearchPath {
  std::vector<std::string> rpath;    // DT_RPATH of the library and of whoever loaded it, nearest first; empty under DT_RUNPATH
  std::vector<std::string> runpath;  // DT_RUNPATH of the library itself
};

// "$ORIGIN/../lib" with the folder of `library_path` for $ORIGIN (gABI chapter 5, "Substitution Sequences").
std::string expand_origin(std::string_view folder, std::string_view library_path);

// The file that `name` means, in ld.so(8)'s order: as it is when it has a slash; DT_RPATH; LD_LIBRARY_PATH; DT_RUNPATH; the
// cache /etc/ld.so.cache; the standard folders. Nothing: no such file. Only 64-bit x86-64 files count.
std::optional<std::string> find_library(const std::string& name, const SearchPath& path);

// The entry for `name` in an ld.so.cache of the new format (glibc, dl-cache.h): pure, bounds-checked. Empty: none, or not such a
// file.
std::string find_in_cache(std::string_view cache, std::string_view name);

}  // namespace deploy::loader
