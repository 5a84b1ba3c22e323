#include "deploy/package_reader.h"

#include <algorithm>
#include <utility>

#include "lib/package/package_file.h"

namespace deploy {

namespace {

PackageRecord to_public(const Record& record) {
  return {record.name, record.offset, record.stored_size, record.size, record.deflated, record.checksum};
}

std::string read_whole(const PackageFile& file, const Record& record) {
  file.check([&](const Record& each) { return &each == &record; }).value();
  return file.read(record).value();
}

// A part of a stored record is a record of its own, as far as reading goes.
std::string read_part(const PackageFile& file, const Record& record, std::uint64_t begin, std::uint64_t size) {
  if (record.deflated) return file.read(record).value().substr(begin, size);
  Record part = record;
  part.offset += begin;
  part.stored_size = part.size = size;
  return file.read(part).value();
}

}  // namespace

PackageReader::PackageReader(const std::string& path)
    : file_(std::make_shared<const PackageFile>(PackageFile::open(path).value())) {}

const std::string& PackageReader::path() const noexcept { return file_->path(); }
const std::string& PackageReader::root() const noexcept { return file_->archive().root(); }
const std::string& PackageReader::comment() const noexcept { return file_->archive().comment(); }

const Manifest* PackageReader::manifest() const noexcept { return file_->manifest() ? &file_->manifest()->manifest : nullptr; }

std::vector<PackageRecord> PackageReader::records() const {
  std::vector<PackageRecord> records;
  records.reserve(file_->archive().records().size());
  std::ranges::transform(file_->archive().records(), std::back_inserter(records), to_public);
  return records;
}

std::optional<PackageRecord> PackageReader::find(std::string_view name) const {
  const Record* record = file_->archive().find(name);
  return record ? std::optional(to_public(*record)) : std::nullopt;
}

void PackageReader::check() const {
  const bool with_weights = file_->checks_weights();
  file_->check([&](const Record& record) { return with_weights || !record.is_mapped(); }).value();
}

std::string PackageReader::read(std::string_view name, std::uint64_t begin, std::uint64_t size, std::uint64_t most) const {
  const Record* record = file_->archive().find(name);
  if (!record) {
    throw Error(ErrorCode::kNotFound, "package '" + path() + "' has no record '" + std::string(name) +
                                          "'; it has: " + file_->archive().describe_records());
  }
  begin = std::min(begin, record->size);
  size = std::min(size, record->size - begin);
  if (size > most) {
    throw Error(ErrorCode::kInvalidPackage, "'" + path() + "' has a record '" + record->name + "' of " +
                                                std::to_string(record->size) + " bytes; expected at most " + std::to_string(most));
  }
  return size == record->size ? read_whole(*file_, *record) : read_part(*file_, *record, begin, size);
}

}  // namespace deploy
