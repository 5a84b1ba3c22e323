#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/loader/library.h"

// Resolved once, replayed N times
//
// What a reference binds to depends on the files in the scope it is looked up in and on their order, on nothing else. So the first load of
// a set of libraries writes down, for every referenced symbol, which symbol of which library of the scope it was bound to, and every
// further namespace that loads the same set in the same scope reads that instead of hashing and comparing 50,000 names. Addresses are not
// kept: they differ between namespaces, and a library's bias plus the symbol's value is cheap. References that leave the namespace (to
// the system or the host), and unique symbols that an earlier load defined, are not kept either but looked up again.
//
// A set is known by the identity, size and modification time of its files in scope order, so a file that was replaced is another set.

namespace deploy::loader {

struct RecordedBinding {
  static constexpr std::uint32_t kUnknown = 0xffffffff;  // not recorded: resolve it
  static constexpr std::uint32_t kOutside = 0xfffffffe;  // no library of the scope defines it: the host or the system may
  std::uint32_t library = kUnknown;                      // index in the scope
  std::uint32_t symbol = 0;                              // index in that library's symbol table
  std::uint64_t value = 0;                               // that symbol's st_value
  // Whether bias + value is all there is to it: no indirect function, no unique or absolute symbol.
  bool is_plain = false;
};

// By library of the load, then by symbol index. Libraries without symbol references are empty.
struct ResolutionRecord {
  std::vector<std::vector<RecordedBinding>> libraries;
  // By library of the load: the indices of the other libraries of the scope that any of its references is bound to.
  std::vector<std::vector<std::uint32_t>> bound;

  void note_bound();  // fills `bound` from `libraries`
};

// The scope of one load: global libraries first, then the local ones, each once.
class ReplayScope {
 public:
  ReplayScope(const std::vector<Library*>& global, const std::vector<Library*>& local, const std::vector<Library*>& added);

  const std::string& key() const { return key_; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(libraries_.size()); }
  const Library* at(std::uint32_t index) const { return libraries_[index]; }
  std::uint32_t index_of(const Library* library) const;  // kUnknown where it is not in the scope

 private:
  std::vector<const Library*> libraries_;
  std::unordered_map<const Library*, std::uint32_t> indices_;
  std::string key_;
};

// Process-wide, thread-safe. find_resolution: null for a set that was not loaded before.
std::shared_ptr<const ResolutionRecord> find_resolution(const std::string& key);
void keep_resolution(const std::string& key, std::shared_ptr<const ResolutionRecord> record);

}  // namespace deploy::loader
