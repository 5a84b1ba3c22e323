#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/loader/library.h"
#include "lib/loader/relocation_program.h"

// Resolved once, replayed N times
//
// What a reference binds to depends on the files in the scope it is looked up in and on their order, on nothing else. So the first
// load of a set of libraries writes down what every word of every library comes to, as programs (relocation_program.h), and every
// further namespace that loads the same set in the same scope runs those instead of hashing and comparing 50,000 names. Addresses
// are not kept: they differ between namespaces. References that leave the namespace (to the system or the host), and unique symbols
// that an earlier load defined, are not kept either but looked up again.
//
// A set is known by its files as they were parsed, in scope order: a file that was replaced is another set.

namespace deploy::loader {

// By library of the load.
struct ResolutionRecord {
  std::vector<RelocationProgram> libraries;
};

// The scope of one load: global libraries first, then the local ones, each once.
class ReplayScope {
 public:
  ReplayScope(const std::vector<Library*>& global, const std::vector<Library*>& local, const std::vector<Library*>& added);

  const std::string& key() const { return key_; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(libraries_.size()); }
  const Library* at(std::uint32_t index) const { return libraries_[index]; }
  std::optional<std::uint32_t> index_of(const Library* library) const;

 private:
  std::vector<const Library*> libraries_;
  std::unordered_map<const Library*, std::uint32_t> indices_;
  std::string key_;
};

// Process-wide, thread-safe. find_resolution: null for a set that was not loaded before.
std::shared_ptr<const ResolutionRecord> find_resolution(const std::string& key);
void keep_resolution(const std::string& key, std::shared_ptr<const ResolutionRecord> record);

}  // namespace deploy::loader
