#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/package/byte_source.h"
#include "lib/support/result.h"

// The tables of a zip file: its end record, its directory, and the local headers. See the text in zip_table.cpp.

namespace deploy {

// One entry of the directory; `name` points into ZipTable::directory.
struct ZipEntry {
  std::string_view name;                 // with a slash at its end: a folder
  std::uint64_t header = 0, offset = 0;  // where the local header begins, and the data
  std::uint64_t stored_size = 0, size = 0;
  std::uint32_t checksum = 0;
  std::uint16_t flags = 0, method = 0;

  static constexpr std::uint16_t kStored = 0, kDeflated = 8;
  bool is_folder() const { return name.ends_with('/'); }
};

struct ZipTable {
  std::vector<std::byte> directory;
  std::vector<ZipEntry> entries;
  std::uint64_t directory_offset = 0, comment_offset = 0;
  std::string comment;
};

// The end record and the directory; no entry's `offset`. kInvalidPackage says what was found. `path` is for messages only.
Result<ZipTable> read_zip_table(const ByteSource& file, const std::string& path);

// Finds where each entry's data begins, and compares what its own header says with the directory. The entries have to lie one
// behind the other, from the file's begin to `table.directory_offset`. kInvalidPackage.
Result<void> read_local_headers(const ByteSource& file, const std::string& path, ZipTable& table);

// For messages: what may be in a name that was not checked.
std::string quoted_name(std::string_view name);

Failure damaged_zip(const std::string& path, const std::string& problem);

}  // namespace deploy
