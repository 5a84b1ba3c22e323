#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/loader/library.h"

// Resolved once, replayed N times
//
// What a reference binds to depends on the files in the scope it is looked up in and on their order, on nothing else. So the first
// load of a set of libraries writes down, for every referenced symbol, which symbol of which library of the scope it was bound to,
// and every further namespace that loads the same set in the same scope reads that instead of hashing and comparing 50,000 names.
// Addresses are not kept: they differ between namespaces, and a library's bias plus the symbol's value is cheap. References that
// leave the namespace (to the system or the host), and unique symbols that an earlier load defined, are not kept either but looked
// up again.
//
// A set is known by the identity, size and modification time of its files in scope order, so a file that was replaced is another
// set.

namespace deploy::loader {

struct RecordedBinding {
  static constexpr std::uint32_t kUnknown = 0;  // not recorded: resolve it
  static constexpr std::uint32_t kOutside = 1;  // no library of the scope defines it: the host or the system may
  static constexpr std::uint32_t kFirst = 2;    // library - kFirst is an index in the scope
  std::uint32_t library;
  std::uint32_t symbol : 31;  // index in that library's symbol table
  std::uint32_t is_plain
      : 1;              // bias + value is all there is to it: no indirect function, no unique, absolute or thread-local symbol
  std::uint64_t value;  // that symbol's st_value
};

// A binding for each symbol of one library. Its memory is zeroed by the kernel page by page, as it is used: most symbols of a large
// library are never referred to.
class BindingTable {
 public:
  BindingTable() = default;
  explicit BindingTable(std::size_t size);

  std::size_t size() const { return size_; }
  RecordedBinding& operator[](std::size_t index) { return bindings_[index]; }
  const RecordedBinding& operator[](std::size_t index) const { return bindings_[index]; }

 private:
  struct Free {
    void operator()(RecordedBinding* bindings) const;
  };
  std::unique_ptr<RecordedBinding[], Free> bindings_;
  std::size_t size_ = 0;
};

// What one library of a load was bound to.
struct LibraryRecord {
  BindingTable bindings;          // by symbol index
  std::set<std::uint32_t> bound;  // the scope's libraries, by index, that any reference is bound to
};

// By library of the load.
struct ResolutionRecord {
  std::vector<LibraryRecord> libraries;
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
