#include "lib/package/archive.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

// The zip format, as far as packages use it (PKWARE's APPNOTE, sections 4.3 and 4.5):
//
//   [local header, name, extra, data] ...  [central directory: one entry a file]  [zip64 end, zip64 locator]  [end, comment]
//
// The end record lies within the last 64 KiB and says where the central directory is; its entries say where each local header is,
// and only the local header says where the data begins, because its extra field (PyTorch pads it, so that data is 64-byte aligned)
// differs from the directory's. Sizes and offsets of 2^32-1 stand for a 64-bit number in the entry's zip64 extra field.

namespace deploy {

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80                   ? 1
                               : lead >= 0xc2 && lead < 0xe0 ? 2
                               : lead >= 0xe0 && lead < 0xf0 ? 3
                               : lead >= 0xf0 && lead < 0xf5 ? 4
                                                             : 0;
    if (length == 0 || length > text.size() - i) return false;
    std::uint32_t point = length == 1 ? lead : lead & (0x7f >> length);
    for (std::size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xc0) != 0x80) return false;
      point = point << 6 | (next & 0x3f);
    }
    constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (point < kSmallest[length] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return false;
    i += length;
  }
  return true;
}

namespace {

using Bytes = std::span<const std::byte>;

constexpr std::uint32_t kLocalSignature = 0x04034b50, kEntrySignature = 0x02014b50, kEndSignature = 0x06054b50;
constexpr std::uint32_t kEnd64Signature = 0x06064b50, kLocator64Signature = 0x07064b50;
constexpr std::size_t kLocalSize = 30, kEntrySize = 46, kEndSize = 22, kEnd64Size = 56, kLocator64Size = 20;
constexpr std::uint32_t kSeeZip64 = 0xffffffff;
constexpr std::uint16_t kZip64Extra = 0x0001, kEncrypted = 0x0001, kStored = 0, kDeflated = 8;
constexpr std::uint64_t kMostDeflated = 1032;  // bytes that one byte can inflate to

// Whether [offset, offset + size) lies inside `limit` bytes; safe against overflow.
bool inside(std::uint64_t offset, std::uint64_t size, std::uint64_t limit) { return offset <= limit && size <= limit - offset; }

// A little-endian number; the caller has checked that it is there.
template <class T>
T read(Bytes bytes, std::uint64_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

std::string_view text(Bytes bytes, std::uint64_t at, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes.data() + at), size};
}

// For messages: what may be in a name that was not checked.
std::string quoted(std::string_view name) {
  std::string out = "'";
  for (const char c : name.substr(0, 200)) out += c >= 0x20 && c < 0x7f ? c : '?';
  return out + "'";
}

// The reason why `name` cannot be a record's, or null. Records become file names and module names.
const char* name_problem(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.front() == '/') return "is an absolute path";
  if (name.find('\\') != name.npos) return "has a backslash";
  if (std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
    return "has a control character";
  if (!is_utf8(name)) return "is not UTF-8";
  for (std::size_t start = 0; start <= name.size();) {
    const std::size_t end = std::min(name.find('/', start), name.size());
    const std::string_view part = name.substr(start, end - start);
    if (part == "..") return "leaves the archive ('..')";
    if (part.empty() || part == ".") return "has an empty or '.' component";
    start = end + 1;
  }
  return nullptr;
}

struct Directory {
  std::uint64_t offset = 0, size = 0, count = 0;
};

struct Entry {
  std::string_view name;
  std::uint64_t header = 0;  // of the local header
  Record record;
};

class Parser {
 public:
  Parser(Bytes file, const std::string& path) : file_(file), path_(path) {}

  Result<std::vector<Entry>> entries() {
    if (file_.empty()) return damaged("is empty (0 bytes); expected a package, a zip file written by torch.package");
    Result<Directory> directory = find_directory();
    if (!directory) return std::move(directory.failure());
    directory_ = *directory;
    std::vector<Entry> entries;
    entries.reserve(static_cast<std::size_t>(directory_.count));
    std::uint64_t at = directory_.offset;
    for (std::uint64_t i = 0; i < directory_.count; ++i) {
      Entry entry;
      Result<std::uint64_t> next = read_entry(at, entry);
      if (!next) return std::move(next.failure());
      at = *next;
      if (!entry.name.empty()) entries.push_back(std::move(entry));
    }
    if (Result<void> checked = check_overlap(entries); !checked) return std::move(checked.failure());
    return entries;
  }

  // Where the comment begins, once entries() has succeeded.
  std::uint64_t comment_offset() const { return comment_offset_; }

  Failure damaged(const std::string& problem) const { return {ErrorCode::kInvalidPackage, "'" + path_ + "' " + problem}; }

 private:
  Result<Directory> find_directory() {
    const std::size_t size = file_.size();
    const std::size_t last = size >= kEndSize ? size - kEndSize : 0, first = last > 0xffff ? last - 0xffff : 0;
    for (std::size_t at = last + 1; size >= kEndSize && at-- > first;) {
      if (read<std::uint32_t>(file_, at) != kEndSignature) continue;
      if (at + kEndSize + read<std::uint16_t>(file_, at + 20) != size) continue;  // the comment has to end with the file
      comment_offset_ = at + kEndSize;
      return read_end(at);
    }
    const bool zip = size >= 4 && read<std::uint32_t>(file_, 0) == kLocalSignature;
    return damaged(zip ? "is a truncated zip file: it begins as one, but its end record is missing (" + std::to_string(size) +
                             " bytes)"
                       : "is no package: not a zip file (" + std::to_string(size) + " bytes, no zip end record)");
  }

  Result<Directory> read_end(std::size_t at) const {
    const auto disk = read<std::uint16_t>(file_, at + 4), directory_disk = read<std::uint16_t>(file_, at + 6);
    Directory directory{read<std::uint32_t>(file_, at + 16), read<std::uint32_t>(file_, at + 12),
                        read<std::uint16_t>(file_, at + 10)};
    std::uint64_t end = at;
    const bool zip64 = directory.offset == kSeeZip64 || directory.size == kSeeZip64 || directory.count == 0xffff;
    if (zip64 && at >= kLocator64Size && read<std::uint32_t>(file_, at - kLocator64Size) == kLocator64Signature) {
      end = read<std::uint64_t>(file_, at - kLocator64Size + 8);
      if (!inside(end, kEnd64Size, at - kLocator64Size) || read<std::uint32_t>(file_, end) != kEnd64Signature) {
        return damaged("is a damaged zip file: its zip64 end record is not where its locator says (" + std::to_string(end) + ")");
      }
      directory = {read<std::uint64_t>(file_, end + 48), read<std::uint64_t>(file_, end + 40),
                   read<std::uint64_t>(file_, end + 32)};
    } else if (disk != directory_disk || (disk != 0 && disk != 0xffff)) {
      return damaged("is one part of a zip file of several parts, which is not supported");
    }
    if (!inside(directory.offset, directory.size, end)) {
      return damaged("is a damaged or truncated zip file: its directory (" + std::to_string(directory.size) + " bytes at " +
                     std::to_string(directory.offset) + ") does not fit before its end record at " + std::to_string(end));
    }
    if (directory.count > directory.size / kEntrySize) {
      return damaged("is a damaged zip file: a directory of " + std::to_string(directory.size) + " bytes cannot have " +
                     std::to_string(directory.count) + " entries");
    }
    return directory;
  }

  // Reads the directory entry at `at`, and the local header that it names; gives where the next entry begins. A folder leaves
  // `entry` unnamed.
  Result<std::uint64_t> read_entry(std::uint64_t at, Entry& entry) const {
    const std::uint64_t end = directory_.offset + directory_.size;
    if (!inside(at, kEntrySize, end) || read<std::uint32_t>(file_, at) != kEntrySignature) {
      return damaged("is a damaged zip file: no directory entry at " + std::to_string(at));
    }
    const auto name_size = read<std::uint16_t>(file_, at + 28), extra_size = read<std::uint16_t>(file_, at + 30);
    const std::uint64_t next = at + kEntrySize + name_size + extra_size + read<std::uint16_t>(file_, at + 32);
    if (next > end) return damaged("is a damaged zip file: the directory entry at " + std::to_string(at) + " is cut off");
    const std::string_view name = text(file_, at + kEntrySize, name_size);
    if (name.ends_with('/')) return next;

    entry.name = name;
    if (const char* problem = name_problem(name)) return damaged("has a record whose name " + quoted(name) + " " + problem);
    const auto flags = read<std::uint16_t>(file_, at + 8), method = read<std::uint16_t>(file_, at + 10);
    if (flags & kEncrypted) return damaged("has an encrypted record " + quoted(name) + ", which is not supported");
    if (method != kStored && method != kDeflated) {
      return damaged("has a record " + quoted(name) + " of compression method " + std::to_string(method) +
                     "; expected stored (0) or deflated (8)");
    }
    entry.record.deflated = method == kDeflated;
    entry.record.stored_size = read<std::uint32_t>(file_, at + 20);
    entry.record.size = read<std::uint32_t>(file_, at + 24);
    entry.record.checksum = read<std::uint32_t>(file_, at + 16);
    entry.header = read<std::uint32_t>(file_, at + 42);
    if (!read_zip64(file_.subspan(at + kEntrySize + name_size, extra_size), entry)) {
      return damaged("has a record " + quoted(name) + " without its zip64 sizes");
    }
    if (is_link(at)) return damaged("has a symbolic link " + quoted(name) + "; expected files only");
    if (entry.record.deflated && entry.record.size / kMostDeflated > entry.record.stored_size) {
      return damaged("has a deflated record " + quoted(name) + " of " + std::to_string(entry.record.stored_size) +
                     " bytes that says it is " + std::to_string(entry.record.size) + " bytes");
    }
    if (!entry.record.deflated && entry.record.size != entry.record.stored_size) {
      return damaged("has a stored record " + quoted(name) + " of two sizes: " + std::to_string(entry.record.size) + " and " +
                     std::to_string(entry.record.stored_size));
    }
    if (Result<void> local = read_local(entry); !local) return std::move(local.failure());
    return next;
  }

  // Written on a Unix machine, which keeps the file's mode in the upper half of the attributes, and a link by that.
  bool is_link(std::uint64_t at) const {
    constexpr std::uint32_t kUnix = 3, kTypeMask = 0170000, kLink = 0120000;
    return read<std::uint16_t>(file_, at + 4) >> 8 == kUnix && (read<std::uint32_t>(file_, at + 38) >> 16 & kTypeMask) == kLink;
  }

  // Replaces the numbers of `entry` that the directory left to its zip64 field, in the field's order. False: the field is missing
  // or short.
  static bool read_zip64(Bytes extra, Entry& entry) {
    std::uint64_t* const numbers[] = {&entry.record.size, &entry.record.stored_size, &entry.header};
    const bool wanted = std::any_of(std::begin(numbers), std::end(numbers), [](auto* n) { return *n == kSeeZip64; });
    if (!wanted) return true;
    for (std::size_t at = 0; inside(at, 4, extra.size());) {
      const auto id = read<std::uint16_t>(extra, at), size = read<std::uint16_t>(extra, at + 2);
      at += 4;
      if (!inside(at, size, extra.size())) return false;
      if (id == kZip64Extra) {
        std::size_t used = 0;
        for (std::uint64_t* number : numbers) {
          if (*number != kSeeZip64) continue;
          if (!inside(used, 8, size)) return false;
          *number = read<std::uint64_t>(extra, at + used);
          used += 8;
        }
        return true;
      }
      at += size;
    }
    return false;
  }

  Result<void> read_local(Entry& entry) const {
    const std::uint64_t at = entry.header;
    if (!inside(at, kLocalSize, directory_.offset) || read<std::uint32_t>(file_, at) != kLocalSignature) {
      return damaged("is a damaged zip file: no header of record " + quoted(entry.name) + " at " + std::to_string(at));
    }
    const auto name_size = read<std::uint16_t>(file_, at + 26), extra_size = read<std::uint16_t>(file_, at + 28);
    entry.record.offset = at + kLocalSize + name_size + extra_size;
    if (!inside(entry.record.offset, entry.record.stored_size, directory_.offset)) {
      return damaged("is a damaged or truncated zip file: record " + quoted(entry.name) + " (" +
                     std::to_string(entry.record.stored_size) + " bytes at " + std::to_string(entry.record.offset) +
                     ") does not fit before the directory at " + std::to_string(directory_.offset));
    }
    if (const std::string_view name = text(file_, at + kLocalSize, name_size); name != entry.name) {
      return damaged("is a damaged zip file: record " + quoted(entry.name) + " is called " + quoted(name) + " in its own header");
    }
    return {};
  }

  Result<void> check_overlap(const std::vector<Entry>& entries) const {
    std::vector<const Entry*> sorted;
    for (const Entry& entry : entries) sorted.push_back(&entry);
    std::sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return a->header < b->header; });
    for (std::size_t i = 1; i < sorted.size(); ++i) {
      const Record& before = sorted[i - 1]->record;
      if (sorted[i]->header < before.offset + before.stored_size) {
        return damaged("is a damaged zip file: records " + quoted(sorted[i - 1]->name) + " and " + quoted(sorted[i]->name) +
                       " overlap");
      }
    }
    return {};
  }

  Bytes file_;
  const std::string& path_;
  Directory directory_;
  std::uint64_t comment_offset_ = 0;
};

}  // namespace

Result<Archive> Archive::parse(std::span<const std::byte> file, const std::string& path) {
  Parser parser(file, path);
  Result<std::vector<Entry>> entries = parser.entries();
  if (!entries) return std::move(entries.failure());

  Archive archive;
  archive.comment_offset_ = parser.comment_offset();
  archive.comment_ = text(file, parser.comment_offset(), file.size() - parser.comment_offset());
  std::string found;
  bool one_root = !entries->empty();
  for (const Entry& entry : *entries) {
    if (found.size() < 300) found.append(found.empty() ? "" : ", ").append(entry.name);
    const std::size_t slash = entry.name.find('/');
    const std::string_view root = slash == entry.name.npos ? std::string_view() : entry.name.substr(0, slash);
    if (archive.root_.empty()) archive.root_ = root;
    one_root = one_root && !root.empty() && root == archive.root_;
  }
  if (!one_root) {
    return parser.damaged("is a zip file but no package: expected all records in one root folder; found: " +
                          (found.empty() ? "none" : found));
  }
  for (Entry& entry : *entries) {
    entry.record.name = entry.name.substr(archive.root_.size() + 1);
    if (!archive.index_.emplace(entry.record.name, archive.records_.size()).second) {
      return parser.damaged("has two records of the name " + quoted(entry.record.name));
    }
    archive.records_.push_back(std::move(entry.record));
  }
  if (!archive.find(".data/extern_modules")) {
    return parser.damaged("is a zip file but no package: no record '" + archive.root_ +
                          "/.data/extern_modules', which torch.package writes; found: " + found);
  }
  return archive;
}

const Record* Archive::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &records_[found->second];
}

std::string Archive::describe_records() const {
  constexpr std::size_t kShown = 40;
  std::string out;
  std::size_t shown = 0, others = 0;
  for (const Record& record : records_) {
    if (record.name.starts_with(".data/")) continue;
    if (shown == kShown) {
      ++others;
      continue;
    }
    out.append(shown++ ? ", " : "").append(record.name);
  }
  if (others) out += " and " + std::to_string(others) + " more";
  return out.empty() ? "none" : out;
}

}  // namespace deploy
