#include <algorithm>
#include <array>
#include <optional>

#include "lib/package/zip_bytes.h"
#include "lib/package/zip_table.h"

namespace deploy {

using namespace zip;

namespace {

// A piece of the file, so that small records that follow each other are read together.
class Window {
 public:
  explicit Window(const ByteSource& file) : file_(file) {}

  // `size` bytes at `offset`, which lie inside the file; until the next call.
  Result<Bytes> view(std::uint64_t offset, std::size_t size) {
    if (offset < start_ || !inside(offset - start_, size, bytes_.size())) {
      constexpr std::uint64_t kPiece = 4096;
      bytes_.resize(static_cast<std::size_t>(std::max<std::uint64_t>(size, std::min(kPiece, file_.size() - offset))));
      start_ = offset;
      if (Result<void> done = file_.read(offset, bytes_); !done) {
        bytes_.clear();
        return std::move(done.failure());
      }
    }
    return Bytes(bytes_).subspan(static_cast<std::size_t>(offset - start_), size);
  }

 private:
  const ByteSource& file_;
  std::uint64_t start_ = 0;
  std::vector<std::byte> bytes_;
};

class Headers {
 public:
  Headers(const ByteSource& file, const std::string& path, std::uint64_t end) : window_(file), path_(path), end_(end) {}

  // In file order. The entry before, if any, was the last one that was read.
  Result<void> read(ZipEntry& entry) {
    bool has_descriptor = false;
    if (Result<void> done = read_header(entry, has_descriptor); !done) return done;
    if (before_ && entry.header < before_->offset + before_->stored_size) {
      return damaged("is a damaged zip file: records " + quoted_name(before_->name) + " and " + quoted_name(entry.name) +
                     " overlap");
    }
    if (Result<void> done = check_space(entry.header); !done) return done;
    before_ = &entry;
    has_descriptor_ = has_descriptor;
    return {};
  }

  // What lies between the last entry that was read and `next`: nothing, or a descriptor.
  Result<void> check_space(std::uint64_t next) {
    const std::uint64_t start = before_ ? before_->offset + before_->stored_size : 0, size = next - start;
    if (size == 0) return {};
    if (has_descriptor_) {
      const Result<bool> known = is_descriptor(start, size);
      if (!known) return known.failure();
      if (*known) return {};
    }
    return damaged("has " + std::to_string(size) + " bytes at " + std::to_string(start) +
                   " that are in no record; expected one record behind the other, from the file's begin to its directory");
  }

 private:
  Failure damaged(const std::string& problem) const { return damaged_zip(path_, problem); }

  Result<void> read_header(ZipEntry& entry, bool& has_descriptor) {
    const std::uint64_t at = entry.header;
    const auto missing = [&] {
      return damaged("is a damaged zip file: no header of record " + quoted_name(entry.name) + " at " + std::to_string(at));
    };
    if (!inside(at, kLocalSize, end_)) return missing();
    const Result<Bytes> fixed = window_.view(at, kLocalSize);
    if (!fixed) return fixed.failure();
    if (number<std::uint32_t>(*fixed, 0) != kLocalSignature) return missing();
    const auto name_size = number<std::uint16_t>(*fixed, 26), extra_size = number<std::uint16_t>(*fixed, 28);
    const auto flags = number<std::uint16_t>(*fixed, 6), method = number<std::uint16_t>(*fixed, 8);
    const auto checksum = number<std::uint32_t>(*fixed, 14);
    std::uint64_t stored_size = number<std::uint32_t>(*fixed, 18), size = number<std::uint32_t>(*fixed, 22);
    entry.offset = at + kLocalSize + name_size + extra_size;
    if (!inside(entry.offset, entry.stored_size, end_)) {
      return damaged("is a damaged or truncated zip file: record " + quoted_name(entry.name) + " (" +
                     std::to_string(entry.stored_size) + " bytes at " + std::to_string(entry.offset) +
                     ") does not fit before the directory at " + std::to_string(end_));
    }
    const bool needs_extra = size == kSeeZip64 || stored_size == kSeeZip64;
    const Result<Bytes> rest = window_.view(at + kLocalSize, name_size + (needs_extra ? extra_size : 0u));
    if (!rest) return rest.failure();
    if (const std::string_view name = text(*rest, 0, name_size); name != entry.name) {
      return damaged("is a damaged zip file: record " + quoted_name(entry.name) + " is called " + quoted_name(name) +
                     " in its own header");
    }
    std::uint64_t* const numbers[] = {&size, &stored_size};
    has_descriptor = flags & kHasDescriptor;
    // A writer that did not know them when it wrote the header leaves zeros there.
    const auto agree = [&](std::uint64_t own, std::uint64_t known) { return own == known || (own == 0 && has_descriptor); };
    if (!read_zip64(needs_extra ? rest->subspan(name_size) : Bytes(), numbers) || !agree(size, entry.size) ||
        !agree(stored_size, entry.stored_size) || (checksum != 0 && checksum != entry.checksum) || method != entry.method ||
        (flags & kEncrypted)) {
      return damaged("is a damaged zip file: record " + quoted_name(entry.name) +
                     " has another size, checksum or compression in its own header than in the directory");
    }
    return {};
  }

  // Checksum and sizes of 4 or 8 bytes, with or without a signature in front of them.
  Result<bool> is_descriptor(std::uint64_t start, std::uint64_t size) {
    constexpr std::array<std::uint64_t, 4> kSizes = {12, 16, 20, 24};
    if (std::ranges::find(kSizes, size) == kSizes.end()) return false;
    const Result<Bytes> bytes = window_.view(start, static_cast<std::size_t>(size));
    if (!bytes) return bytes.failure();
    const bool is_signed = size % 8 == 0, is_wide = size >= 20;
    const std::size_t at = is_signed ? 4 : 0;
    if (is_signed && number<std::uint32_t>(*bytes, 0) != kDescriptorSignature) return false;
    const std::uint64_t stored_size =
        is_wide ? number<std::uint64_t>(*bytes, at + 4) : std::uint64_t{number<std::uint32_t>(*bytes, at + 4)};
    const std::uint64_t whole =
        is_wide ? number<std::uint64_t>(*bytes, at + 12) : std::uint64_t{number<std::uint32_t>(*bytes, at + 8)};
    return number<std::uint32_t>(*bytes, at) == before_->checksum && stored_size == before_->stored_size && whole == before_->size;
  }

  Window window_;
  const std::string& path_;
  std::uint64_t end_;
  const ZipEntry* before_ = nullptr;
  bool has_descriptor_ = false;
};

}  // namespace

Result<void> read_local_headers(const ByteSource& file, const std::string& path, ZipTable& table) {
  std::vector<ZipEntry*> sorted;
  sorted.reserve(table.entries.size());
  for (ZipEntry& entry : table.entries) sorted.push_back(&entry);
  std::ranges::stable_sort(sorted, {}, &ZipEntry::header);
  Headers headers(file, path, table.directory_offset);
  for (ZipEntry* entry : sorted) {
    if (Result<void> done = headers.read(*entry); !done) return done;
  }
  return headers.check_space(table.directory_offset);
}

}  // namespace deploy
