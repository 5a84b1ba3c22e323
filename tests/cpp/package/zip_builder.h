#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace deploy::testing {

// Writes zip files, correct ones and others: every field that a test wants wrong can be set.
class ZipBuilder {
 public:
  struct Entry {
    std::string name;
    std::string data = {};
    std::string local_name = {};  // empty: name
    std::uint16_t method = 0, flags = 0;
    std::uint64_t size = UINT64_MAX;      // UINT64_MAX: data's
    std::uint64_t header = UINT64_MAX;    // UINT64_MAX: where it is
    std::size_t padding = 0;              // of the local extra field
    bool is_link = false;                 // a symbolic link, as Unix tools write one
    bool zip64 = false;                   // sizes and offset in the zip64 extra field
    bool zip64_missing = false;           // ... which is left out
    bool unknown = false;                 // no checksum and sizes in the local header, and flag 3, which says so
    std::string after = {};               // behind the data: a descriptor, or what does not belong there
    std::string extra = {};               // of the directory
    std::uint16_t local_method = 0xffff;  // 0xffff: method
    std::uint32_t local_checksum = 0;
    std::string checksum_of = {};  // what the checksum is of; empty: data
  };
  struct End {
    bool zip64 = false;
    std::uint64_t count = UINT64_MAX, size = UINT64_MAX, offset = UINT64_MAX, zip64_at = UINT64_MAX;
    std::uint16_t disk = 0;
    std::string comment = {};
  };

  ZipBuilder& add(Entry entry) {
    entries_.push_back(std::move(entry));
    return *this;
  }
  // What every package has.
  static ZipBuilder package() {
    ZipBuilder zip;
    zip.add({"p/.data/extern_modules", "torch\n"}).add({"p/model/model.pkl", "pickle"}).add({"p/code.py", "x = 1\n"});
    return zip;
  }

  std::string build(const End& end) const;
  std::string build() const { return build(End()); }

 private:
  std::vector<Entry> entries_;
};

// What a writer that did not know checksum and sizes puts behind a record.
std::string descriptor(const std::string& data, bool is_signed = true, bool is_wide = false);

inline std::span<const std::byte> bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

}  // namespace deploy::testing
