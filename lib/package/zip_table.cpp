#include "lib/package/zip_table.h"

#include <algorithm>
#include <utility>

#include "lib/package/zip_bytes.h"

// The zip format, as far as packages use it (PKWARE's APPNOTE, sections 4.3 and 4.5):
//
//   [local header, name, extra, data, descriptor] ...  [directory: one entry a file]  [zip64 end, zip64 locator]  [end, comment]
//
// The end record lies within the last 64 KiB and says where the directory is; its entries say where each local header is,
// and only the local header says where the data begins, because its extra field (PyTorch pads it, so that data is 64-byte aligned)
// differs from the directory's. Sizes and offsets of 2^32-1 stand for a 64-bit number in the entry's zip64 extra field. A
// descriptor repeats checksum and sizes where the writer did not know them before; PyTorch writes one behind each record.
//
// The format says most things twice, and programs differ in what they believe: some look for the last end record and some for the
// first, some take the directory from where the end record says and some from before the end record, some go from local header
// to local header. A file that means one thing here and another one there could show harmless code to whoever looks at it, and run
// other code. So there is only one way to read what is accepted here: one end record, the directory right before it, the records
// one behind the other from the first byte on, and no contradictions. What PyTorch, deploy.package and Python's zipfile write is
// like that.
//
// The tables are read into memory before they are looked at, a bounded number of bytes each, and never from a mapping: a file that
// is overwritten meanwhile gives an error.

namespace deploy {

using namespace zip;

namespace {

// Generous: a package of 100,000 records has a directory of 20 MB.
constexpr std::uint64_t kMostEntries = 1 << 20, kLargestDirectory = 256 << 20;
constexpr std::size_t kLongestComment = 0xffff;

struct Directory {
  std::uint64_t offset = 0, size = 0, count = 0;
};

class Reader {
 public:
  Reader(const ByteSource& file, const std::string& path) : file_(file), path_(path) {}

  Result<ZipTable> read() {
    if (file_.size() == 0) return damaged("is empty (0 bytes); expected a package, a zip file written by torch.package");
    Result<Directory> directory = find_directory();
    if (!directory) return std::move(directory.failure());
    directory_ = *directory;
    table_.directory_offset = directory_.offset;
    table_.directory.resize(static_cast<std::size_t>(directory_.size));
    if (Result<void> done = file_.read(directory_.offset, table_.directory); !done) return std::move(done.failure());
    table_.entries.reserve(static_cast<std::size_t>(directory_.count));
    std::uint64_t at = 0;
    for (std::uint64_t i = 0; i < directory_.count; ++i) {
      Result<std::uint64_t> next = read_entry(at, table_.entries.emplace_back());
      if (!next) return std::move(next.failure());
      at = *next;
    }
    if (at != directory_.size) {
      return damaged("is a damaged zip file: its directory has " + std::to_string(directory_.size - at) + " bytes more than its " +
                     std::to_string(directory_.count) + " entries");
    }
    return std::move(table_);
  }

 private:
  Failure damaged(const std::string& problem) const { return damaged_zip(path_, problem); }

  Result<Directory> find_directory() {
    const std::uint64_t size = file_.size();
    const auto tail_size =
        static_cast<std::size_t>(std::min<std::uint64_t>(size, kLongestComment + kEndSize + kLocator64Size + kEnd64Size));
    std::vector<std::byte> tail(tail_size);
    if (Result<void> done = file_.read(size - tail_size, tail); !done) return std::move(done.failure());
    const std::size_t last = tail_size >= kEndSize ? tail_size - kEndSize : 0;
    const std::size_t first = last > kLongestComment ? last - kLongestComment : 0;
    std::vector<std::size_t> found;
    for (std::size_t at = last + 1; tail_size >= kEndSize && at-- > first;) {
      if (number<std::uint32_t>(tail, at) != kEndSignature) continue;
      // The comment has to end with the file.
      if (at + kEndSize + number<std::uint16_t>(tail, at + 20) == tail_size) found.push_back(at);
    }
    if (found.empty()) return not_found();
    const std::size_t end = found[0];
    table_.comment_offset = size - tail_size + end + kEndSize;
    table_.comment = text(tail, end + kEndSize, tail_size - end - kEndSize);
    if (found.size() > 1 || table_.comment.find("PK\x05\x06") != std::string::npos) {
      return damaged(
          "has more than one zip end record, and programs differ in which one they read; expected one, and none in its comment");
    }
    return read_end(tail, end, size - tail_size);
  }

  Failure not_found() const {
    std::uint32_t signature = 0;
    if (file_.size() >= sizeof signature) (void)file_.read(0, std::as_writable_bytes(std::span(&signature, 1)));
    const std::string size = std::to_string(file_.size()) + " bytes";
    return damaged(signature == kLocalSignature
                       ? "is a truncated zip file: it begins as one, but its end record is missing (" + size + ")"
                       : "is no package: not a zip file (" + size + ", no zip end record)");
  }

  // The end record is at `at` of `tail`, which begins at `base` of the file.
  Result<Directory> read_end(Bytes tail, std::size_t at, std::uint64_t base) const {
    const auto disk = number<std::uint16_t>(tail, at + 4), directory_disk = number<std::uint16_t>(tail, at + 6);
    const auto here = number<std::uint16_t>(tail, at + 8);
    Directory directory{number<std::uint32_t>(tail, at + 16), number<std::uint32_t>(tail, at + 12),
                        number<std::uint16_t>(tail, at + 10)};
    if (disk != directory_disk || (disk != 0 && disk != 0xffff) || here != directory.count) {
      return damaged("is one part of a zip file of several parts, which is not supported");
    }
    std::uint64_t end = base + at;
    if (at >= kLocator64Size && number<std::uint32_t>(tail, at - kLocator64Size) == kLocator64Signature) {
      const auto said = number<std::uint64_t>(tail, at - kLocator64Size + 8);
      const bool fits = at >= kLocator64Size + kEnd64Size && said == end - kLocator64Size - kEnd64Size;
      const std::size_t end64 = fits ? at - kLocator64Size - kEnd64Size : 0;
      if (!fits || number<std::uint32_t>(tail, end64) != kEnd64Signature ||
          number<std::uint64_t>(tail, end64 + 4) != kEnd64Size - 12) {
        return damaged("is a damaged zip file: its zip64 end record is not where its locator says (" + std::to_string(said) + ")");
      }
      end = said;
      const Directory wide{number<std::uint64_t>(tail, end64 + 48), number<std::uint64_t>(tail, end64 + 40),
                           number<std::uint64_t>(tail, end64 + 32)};
      const auto agree = [](std::uint64_t narrow, std::uint64_t all, std::uint64_t see) { return narrow == see || narrow == all; };
      if (!agree(directory.offset, wide.offset, kSeeZip64) || !agree(directory.size, wide.size, kSeeZip64) ||
          !agree(directory.count, wide.count, 0xffff) || number<std::uint64_t>(tail, end64 + 24) != wide.count) {
        return damaged("is a damaged zip file: its two end records say different things of its directory");
      }
      directory = wide;
    }
    return check_directory(directory, end);
  }

  Result<Directory> check_directory(const Directory& directory, std::uint64_t end) const {
    if (!inside(directory.offset, directory.size, end)) {
      return damaged("is a damaged or truncated zip file: its directory (" + std::to_string(directory.size) + " bytes at " +
                     std::to_string(directory.offset) + ") does not fit before its end record at " + std::to_string(end));
    }
    if (directory.count > directory.size / kEntrySize) {
      return damaged("is a damaged zip file: a directory of " + std::to_string(directory.size) + " bytes cannot have " +
                     std::to_string(directory.count) + " entries");
    }
    if (const std::uint64_t more = end - directory.offset - directory.size; more != 0) {
      return damaged("has " + std::to_string(more) + " bytes that are in no record: its directory ends at " +
                     std::to_string(directory.offset + directory.size) + ", and its end record begins at " + std::to_string(end) +
                     "; expected nothing in front of the first record and nothing between them");
    }
    if (directory.count > kMostEntries || directory.size > kLargestDirectory) {
      return damaged("has " + std::to_string(directory.count) + " records in a directory of " + std::to_string(directory.size) +
                     " bytes; expected at most " + std::to_string(kMostEntries) + " in " + std::to_string(kLargestDirectory) +
                     " bytes");
    }
    return directory;
  }

  // Reads the directory entry at `at`; gives where the next one begins.
  Result<std::uint64_t> read_entry(std::uint64_t at, ZipEntry& entry) const {
    const Bytes bytes = table_.directory;
    const std::string where = std::to_string(directory_.offset + at);
    if (!inside(at, kEntrySize, bytes.size()) || number<std::uint32_t>(bytes, at) != kEntrySignature) {
      return damaged("is a damaged zip file: no directory entry at " + where);
    }
    const auto name_size = number<std::uint16_t>(bytes, at + 28), extra_size = number<std::uint16_t>(bytes, at + 30);
    const std::uint64_t next = at + kEntrySize + name_size + extra_size + number<std::uint16_t>(bytes, at + 32);
    if (next > bytes.size()) return damaged("is a damaged zip file: the directory entry at " + where + " is cut off");
    entry.name = text(bytes, at + kEntrySize, name_size);
    entry.flags = number<std::uint16_t>(bytes, at + 8);
    entry.method = number<std::uint16_t>(bytes, at + 10);
    entry.checksum = number<std::uint32_t>(bytes, at + 16);
    entry.stored_size = number<std::uint32_t>(bytes, at + 20);
    entry.size = number<std::uint32_t>(bytes, at + 24);
    entry.header = number<std::uint32_t>(bytes, at + 42);
    if (entry.flags & kEncrypted) return damaged("has an encrypted record " + quoted_name(entry.name) + ", which is not supported");
    const Bytes extra = bytes.subspan(static_cast<std::size_t>(at) + kEntrySize + name_size, extra_size);
    std::uint64_t* const numbers[] = {&entry.size, &entry.stored_size, &entry.header};
    if (!read_zip64(extra, numbers)) return damaged("has a record " + quoted_name(entry.name) + " without its zip64 sizes");
    if (is_renamed(extra, entry.name)) {
      return damaged("has a record " + quoted_name(entry.name) +
                     " with another name for programs that read its Unicode name field");
    }
    if (is_link(at)) return damaged("has a symbolic link " + quoted_name(entry.name) + "; expected files only");
    return next;
  }

  static bool is_renamed(Bytes extra, std::string_view name) {
    for (std::size_t at = 0; inside(at, 4, extra.size());) {
      const auto id = number<std::uint16_t>(extra, at), size = number<std::uint16_t>(extra, at + 2);
      at += 4;
      if (!inside(at, size, extra.size())) return false;
      if (id == kUnicodePathExtra && size > 5 && text(extra, at + 5, size - 5u) != name) return true;
      at += size;
    }
    return false;
  }

  // Written on a Unix machine, which keeps the file's mode in the upper half of the attributes, and a link by that.
  bool is_link(std::uint64_t at) const {
    constexpr std::uint32_t kUnix = 3, kTypeMask = 0170000, kLink = 0120000;
    const Bytes bytes = table_.directory;
    return number<std::uint16_t>(bytes, at + 4) >> 8 == kUnix && (number<std::uint32_t>(bytes, at + 38) >> 16 & kTypeMask) == kLink;
  }

  const ByteSource& file_;
  const std::string& path_;
  Directory directory_;
  ZipTable table_;
};

}  // namespace

std::string quoted_name(std::string_view name) {
  std::string out = "'";
  for (const char c : name.substr(0, 200)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return out + (name.size() > 200 ? "...'" : "'");
}

Failure damaged_zip(const std::string& path, const std::string& problem) {
  return {ErrorCode::kInvalidPackage, "'" + path + "' " + problem};
}

Result<ZipTable> read_zip_table(const ByteSource& file, const std::string& path) { return Reader(file, path).read(); }

}  // namespace deploy
