#include "lib/support/mapped_from.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cinttypes>
#include <cstdio>
#include <memory>
#include <string>

namespace deploy {

namespace {

// A line of /proc/self/maps: "7f2a4c000000-7f2a4c021000 r--p 00012000 fe:01 4711      /usr/lib/libx.so" (proc_pid_maps(5)).
struct Mapping {
  std::uintptr_t begin = 0, end = 0;
  std::uint64_t offset = 0, inode = 0;
  unsigned major = 0, minor = 0;
  std::string path;
};

std::optional<Mapping> parse(const char* line) {
  Mapping m;
  int path = 0;
  if (std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*4s %" SCNx64 " %x:%x %" SCNu64 " %n", &m.begin, &m.end, &m.offset, &m.major,
                  &m.minor, &m.inode, &path) != 6)
    return std::nullopt;
  m.path = line + path;
  if (m.path.ends_with('\n')) m.path.pop_back();
  return m;
}

std::optional<Mapping> mapping_of(std::uintptr_t begin, std::uintptr_t end) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> maps(std::fopen("/proc/self/maps", "re"), &std::fclose);
  char line[8192];
  while (maps && std::fgets(line, sizeof line, maps.get())) {
    auto mapping = parse(line);
    if (mapping && mapping->begin <= begin && begin < mapping->end) return end <= mapping->end ? mapping : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

std::optional<FilePlace> mapped_from(std::span<const std::byte> memory) {
  const auto begin = reinterpret_cast<std::uintptr_t>(memory.data());
  const auto mapping = mapping_of(begin, begin + memory.size());
  if (!mapping || mapping->inode == 0 || !mapping->path.starts_with('/')) return std::nullopt;
  auto file = FileDescriptor::open(mapping->path);
  struct stat status{};
  if (!file || ::fstat(file->get(), &status) != 0) return std::nullopt;
  if (status.st_ino != mapping->inode || status.st_dev != makedev(mapping->major, mapping->minor)) return std::nullopt;
  const std::uint64_t offset = mapping->offset + (begin - mapping->begin);
  if (offset + memory.size() > static_cast<std::uint64_t>(status.st_size)) return std::nullopt;
  return FilePlace{std::move(*file), offset};
}

}  // namespace deploy
