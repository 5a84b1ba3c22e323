#include "lib/package/archive.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "lib/package/zip_table.h"

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

constexpr std::uint64_t kMostDeflated = 1032;  // bytes that one byte can inflate to
constexpr std::size_t kLongestPart = 255;      // what file systems take

// The reason why `name` cannot be a record's, or empty. Records become file names and module names.
std::string name_problem(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.front() == '/') return "is an absolute path";
  if (name.size() > Archive::kLongestName) {
    return "has " + std::to_string(name.size()) + " bytes; expected at most " + std::to_string(Archive::kLongestName);
  }
  if (name.find('\\') != name.npos) return "has a backslash";
  if (std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
    return "has a control character";
  if (!is_utf8(name)) return "is not UTF-8";
  std::size_t depth = 0;
  for (std::size_t start = 0; start <= name.size(); ++depth) {
    const std::size_t end = std::min(name.find('/', start), name.size());
    const std::string_view part = name.substr(start, end - start);
    if (part == "..") return "leaves the archive ('..')";
    if (part.empty() || part == ".") return "has an empty or '.' component";
    if (part.size() > kLongestPart) {
      return "has a component of " + std::to_string(part.size()) + " bytes; expected at most " + std::to_string(kLongestPart);
    }
    start = end + 1;
  }
  if (depth > Archive::kDeepest + 1) {
    return "has " + std::to_string(depth - 1) + " folders; expected at most " + std::to_string(Archive::kDeepest);
  }
  return {};
}

// What the directory says of the entries, before anything else of the file is read.
class EntryCheck {
 public:
  explicit EntryCheck(const std::string& path) : path_(path) {}

  Result<void> check(const ZipTable& table) const {
    std::uint64_t stored = 0, inflated = 0;
    for (const ZipEntry& entry : table.entries) {
      if (Result<void> checked = check(entry); !checked) return checked;
      if (entry.method != ZipEntry::kDeflated) continue;
      // Neither sum overflows: no entry says that it is larger than the file, or more than a thousand times as large inflated.
      if (entry.stored_size > table.directory_offset)
        return damaged("has a record " + quoted_name(entry.name) + " that is larger than the file");
      stored += entry.stored_size;
      inflated += entry.size;
    }
    if (inflated > Archive::kFreeInflated && (inflated - Archive::kFreeInflated) / Archive::kMostInflated > stored) {
      return damaged("has deflated records of " + std::to_string(stored) + " bytes that say they are " + std::to_string(inflated) +
                     " bytes; expected at most " + std::to_string(Archive::kMostInflated) + " times as many and " +
                     std::to_string(Archive::kFreeInflated) + " more (write the package without compression)");
    }
    return {};
  }

 private:
  Failure damaged(const std::string& problem) const { return damaged_zip(path_, problem); }

  Result<void> check(const ZipEntry& entry) const {
    const std::string name = quoted_name(entry.name);
    std::string_view stem = entry.name;
    if (entry.is_folder()) stem.remove_suffix(1);
    if (const std::string problem = name_problem(stem); !problem.empty())
      return damaged("has a record whose name " + name + " " + problem);
    if (entry.method != ZipEntry::kStored && entry.method != ZipEntry::kDeflated) {
      return damaged("has a record " + name + " of compression method " + std::to_string(entry.method) +
                     "; expected stored (0) or deflated (8)");
    }
    const std::string size = std::to_string(entry.size), stored_size = std::to_string(entry.stored_size);
    if (entry.is_folder() && entry.size != 0) return damaged("has a folder " + name + " with data of " + size + " bytes");
    if (entry.method == ZipEntry::kDeflated && entry.size / kMostDeflated > entry.stored_size) {
      return damaged("has a deflated record " + name + " of " + stored_size + " bytes that says it is " + size + " bytes");
    }
    if (entry.method == ZipEntry::kStored && entry.size != entry.stored_size) {
      return damaged("has a stored record " + name + " of two sizes: " + size + " and " + stored_size);
    }
    return {};
  }

  const std::string& path_;
};

std::vector<Record> records_of(const ZipTable& table) {
  std::vector<Record> records;
  records.reserve(table.entries.size());
  for (const ZipEntry& entry : table.entries) {
    if (entry.is_folder()) continue;
    const bool deflated = entry.method == ZipEntry::kDeflated;
    records.push_back({std::string(entry.name), entry.offset, entry.stored_size, entry.size, deflated, entry.checksum});
  }
  return records;
}

}  // namespace

Result<Archive> Archive::parse(std::span<const std::byte> file, const std::string& path) { return read(MemorySource(file), path); }

Result<Archive> Archive::read(const ByteSource& file, const std::string& path) {
  Result<ZipTable> table = read_zip_table(file, path);
  if (!table) return std::move(table.failure());
  const auto damaged = [&](const std::string& problem) { return damaged_zip(path, problem); };
  if (Result<void> checked = EntryCheck(path).check(*table); !checked) return std::move(checked.failure());
  if (Result<void> located = read_local_headers(file, path, *table); !located) return std::move(located.failure());
  std::vector<Record> records = records_of(*table);

  Archive archive;
  archive.comment_offset_ = table->comment_offset;
  archive.comment_ = std::move(table->comment);
  std::string found;
  bool one_root = !records.empty();
  for (const Record& record : records) {
    if (found.size() < 300) found.append(found.empty() ? "" : ", ").append(record.name);
    const std::string root = record.name.substr(0, record.name.find('/') + 1);  // with the slash; empty: there is none
    if (archive.root_.empty()) archive.root_ = root;
    one_root = one_root && !root.empty() && root == archive.root_;
  }
  if (!one_root) {
    return damaged("is a zip file but no package: expected all records in one root folder; found: " +
                   (found.empty() ? "none" : found));
  }
  archive.root_.pop_back();
  archive.records_ = std::move(records);
  archive.index_.reserve(archive.records_.size());
  for (std::size_t i = 0; i < archive.records_.size(); ++i) {
    std::string& name = archive.records_[i].name;
    name.erase(0, archive.root_.size() + 1);
    if (!archive.index_.emplace(name, i).second) return damaged("has two records of the name " + quoted_name(name));
  }
  const std::string start = archive.root_ + "/";
  for (const ZipEntry& entry : table->entries) {
    if (!entry.is_folder() || !entry.name.starts_with(start)) continue;
    if (archive.find(entry.name.substr(start.size(), entry.name.size() - start.size() - 1))) {
      return damaged("has a folder and a record of the name " + quoted_name(entry.name));
    }
  }
  if (!archive.find(".data/extern_modules")) {
    return damaged("is a zip file but no package: no record '" + archive.root_ +
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
