#include "tests/cpp/package/zip_builder.h"

#include <zlib.h>

#include <cstring>

namespace deploy::testing {

namespace {

template <class T>
void put(std::string& out, std::uint64_t value) {
  const T number = static_cast<T>(value);
  out.append(reinterpret_cast<const char*>(&number), sizeof(T));
}

std::uint64_t or_else(std::uint64_t value, std::uint64_t otherwise) { return value == UINT64_MAX ? otherwise : value; }

}  // namespace

std::string descriptor(const std::string& data, bool is_signed, bool is_wide) {
  std::string out = is_signed ? std::string("PK\x07\x08") : "";
  put<std::uint32_t>(out, crc32(0, reinterpret_cast<const Bytef*>(data.data()), static_cast<uInt>(data.size())));
  for (int i = 0; i < 2; ++i) {
    if (is_wide) {
      put<std::uint64_t>(out, data.size());
    } else {
      put<std::uint32_t>(out, data.size());
    }
  }
  return out;
}

std::string ZipBuilder::build(const End& end) const {
  std::string out, directory;
  for (const Entry& entry : entries_) {
    const std::uint64_t header = or_else(entry.header, out.size()), size = or_else(entry.size, entry.data.size());
    const std::string& local_name = entry.local_name.empty() ? entry.name : entry.local_name;
    put<std::uint32_t>(out, 0x04034b50);
    const int flags = entry.flags | (entry.unknown ? 8 : 0),
              method = entry.local_method == 0xffff ? entry.method : entry.local_method;
    const std::uint64_t known = entry.unknown ? 0 : 1;
    for (const std::uint64_t field : {45, flags, method, 0, 0}) put<std::uint16_t>(out, field);
    for (const std::uint64_t field : {std::uint64_t(entry.local_checksum), known * entry.data.size(), known * size}) {
      put<std::uint32_t>(out, field);
    }
    put<std::uint16_t>(out, local_name.size());
    put<std::uint16_t>(out, entry.padding);
    out += local_name + std::string(entry.padding, '\0') + entry.data + entry.after;

    std::string extra = entry.extra;
    if (entry.zip64 && !entry.zip64_missing) {
      put<std::uint16_t>(extra, 0x5455);  // another field before it
      put<std::uint16_t>(extra, 1);
      extra += '\0';
      put<std::uint16_t>(extra, 1);
      put<std::uint16_t>(extra, 24);
      for (const std::uint64_t field : {size, std::uint64_t(entry.data.size()), header}) put<std::uint64_t>(extra, field);
    }
    put<std::uint32_t>(directory, 0x02014b50);
    const int made_by = entry.is_link ? 3 << 8 | 45 : 45;
    for (const std::uint64_t field : {made_by, 45, flags, int(entry.method), 0, 0}) put<std::uint16_t>(directory, field);
    const std::string& content = entry.checksum_of.empty() ? entry.data : entry.checksum_of;
    put<std::uint32_t>(directory, crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size())));
    put<std::uint32_t>(directory, entry.zip64 ? 0xffffffff : entry.data.size());
    put<std::uint32_t>(directory, entry.zip64 ? 0xffffffff : size);
    put<std::uint16_t>(directory, entry.name.size());
    put<std::uint16_t>(directory, extra.size());
    for (int i = 0; i < 3; ++i) put<std::uint16_t>(directory, 0);
    put<std::uint32_t>(directory, entry.is_link ? 0120777u << 16 : 0);
    put<std::uint32_t>(directory, entry.zip64 ? 0xffffffff : header);
    directory += entry.name + extra;
  }
  const std::uint64_t offset = or_else(end.offset, out.size()), size = or_else(end.size, directory.size());
  const std::uint64_t count = or_else(end.count, entries_.size());
  out += directory;
  if (end.zip64) {
    const std::uint64_t at = or_else(end.zip64_at, out.size());
    put<std::uint32_t>(out, 0x06064b50);
    put<std::uint64_t>(out, 44);
    put<std::uint16_t>(out, 45);
    put<std::uint16_t>(out, 45);
    put<std::uint32_t>(out, 0);
    put<std::uint32_t>(out, 0);
    for (const std::uint64_t field : {count, count, size, offset}) put<std::uint64_t>(out, field);
    put<std::uint32_t>(out, 0x07064b50);
    put<std::uint32_t>(out, 0);
    put<std::uint64_t>(out, at);
    put<std::uint32_t>(out, 1);
  }
  put<std::uint32_t>(out, 0x06054b50);
  put<std::uint16_t>(out, end.disk);
  put<std::uint16_t>(out, 0);
  for (int i = 0; i < 2; ++i) put<std::uint16_t>(out, end.zip64 ? 0xffff : count);
  put<std::uint32_t>(out, end.zip64 ? 0xffffffff : size);
  put<std::uint32_t>(out, end.zip64 ? 0xffffffff : offset);
  put<std::uint16_t>(out, end.comment.size());
  return out + end.comment;
}

}  // namespace deploy::testing
