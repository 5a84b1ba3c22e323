#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/package/byte_source.h"
#include "lib/support/result.h"

namespace deploy {

// One file of an archive. Its data lies at [offset, offset + stored_size) of the archive's file, which was checked.
struct Record {
  std::string name;  // without the archive's root folder
  std::uint64_t offset = 0;
  std::uint64_t stored_size = 0;
  std::uint64_t size = 0;  // stored_size, unless it is deflated
  bool deflated = false;
  std::uint32_t checksum = 0;  // CRC-32 of its data

  // Weights that interpreters map: they are used where they lie in the file (PyTorch aligns records to this).
  static constexpr std::uint64_t kAlignment = 64;
  bool is_mapped() const {
    return !deflated && offset % kAlignment == 0 && name.starts_with(".data/") && name.ends_with(".storage");
  }
};

// Whether `text` is well-formed UTF-8.
bool is_utf8(std::string_view text);

// The records of a package: a zip file whose entries all lie in one root folder. Reads the directory and the headers only, never
// the data. Nothing in the file is trusted: whatever the bytes, read() gives records that lie inside the file and do not overlap,
// or a kInvalidPackage that says what was found. What other readers of zip files could understand differently is refused (see
// zip_table.cpp), and so is what no honest package has and what would cost more memory than the file's size accounts for:
//
//   a name of more than kLongestName bytes, with more than kDeepest folders or a part of more than 255 bytes
//   more than 2^20 records, or a directory of more than 256 MB
//   deflated records that say they are more than kFreeInflated + kMostInflated times their bytes in the file, together
class Archive {
 public:
  static constexpr std::size_t kLongestName = 2048, kDeepest = 64;
  static constexpr std::uint64_t kFreeInflated = 64 << 20, kMostInflated = 32;

  // Of a file that may change meanwhile: then it is the file as it was, or a kInvalidPackage. `path` is for messages only.
  static Result<Archive> read(const ByteSource& file, const std::string& path);
  // Of a file in memory.
  static Result<Archive> parse(std::span<const std::byte> file, const std::string& path);

  // In file order.
  const std::vector<Record>& records() const { return records_; }
  const Record* find(std::string_view name) const;

  // The root folder's name.
  const std::string& root() const { return root_; }

  // The comment at the file's end, and where it begins.
  const std::string& comment() const { return comment_; }
  std::uint64_t comment_offset() const { return comment_offset_; }

  // "a.py, b.py and 12 more": for messages about a record that is not there.
  std::string describe_records() const;

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  std::string root_, comment_;
  std::uint64_t comment_offset_ = 0;
  std::vector<Record> records_;
  std::unordered_map<std::string, std::size_t, Hash, std::equal_to<>> index_;
};

}  // namespace deploy
