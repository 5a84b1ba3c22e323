#include "lib/loader/search.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "lib/support/file.h"

namespace deploy::loader {

namespace {

bool is_loadable(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  Elf64_Ehdr header{};
  const bool whole = ::read(fd, &header, sizeof header) == sizeof header;
  ::close(fd);
  return whole && std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_ident[EI_CLASS] == ELFCLASS64 &&
         header.e_machine == EM_X86_64;
}

std::optional<std::string> in_folders(const std::vector<std::string>& folders, const std::string& name) {
  for (const std::string& folder : folders) {
    if (std::string path = folder + "/" + name; is_loadable(path)) return path;
  }
  return std::nullopt;
}

std::vector<std::string> environment_folders() {
  std::vector<std::string> folders;
  const char* value = std::getenv("LD_LIBRARY_PATH");
  for (std::string_view rest = value ? value : ""; !rest.empty();) {
    const std::size_t end = std::min(rest.find_first_of(":;"), rest.size());
    if (end > 0) folders.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return folders;
}

constexpr std::string_view kCacheMagic = "glibc-ld.so.cache1.1";

struct CacheHeader {  // struct cache_file_new
  char magic[20];
  std::uint32_t entry_count, strings_size;
  std::uint8_t flags, padding[3];
  std::uint32_t extension_offset, unused[3];
};
static_assert(sizeof(CacheHeader) == 48);

struct CacheEntry {  // struct file_entry_new
  std::int32_t flags;
  std::uint32_t key, value, os_version;
  std::uint64_t hardware_capabilities;
};
static_assert(sizeof(CacheEntry) == 24);

constexpr std::int32_t kX8664Library = 0x0303;  // FLAG_X8664_LIB64 | FLAG_ELF_LIBC6

std::string_view text_at(std::string_view cache, std::uint32_t offset) {
  if (offset >= cache.size()) return {};
  return cache.substr(offset, strnlen(cache.data() + offset, cache.size() - offset));
}

}  // namespace

std::string expand_origin(std::string_view folder, std::string_view library_path) {
  const std::size_t slash = library_path.rfind('/');
  const std::string origin(slash == std::string_view::npos ? "." : library_path.substr(0, slash));
  std::string result;
  while (!folder.empty()) {  // in one pass: the origin itself may hold the token
    std::size_t taken = 1;
    for (std::string_view token : {"${ORIGIN}", "$ORIGIN"}) {
      if (folder.starts_with(token)) taken = token.size();
    }
    taken == 1 ? result.push_back(folder[0]) : void(result += origin);
    folder.remove_prefix(taken);
  }
  return result;
}

std::string find_in_cache(std::string_view cache, std::string_view name) {
  // Older files carry the old format first, padded, then the new one.
  const std::size_t start = cache.find(kCacheMagic);
  if (start == std::string_view::npos || start % 8 != 0) return {};
  cache.remove_prefix(start);
  CacheHeader header;
  if (cache.size() < sizeof header) return {};
  std::memcpy(&header, cache.data(), sizeof header);
  for (std::uint64_t i = 0, at = sizeof header; i < header.entry_count && cache.size() - at >= sizeof(CacheEntry);
       ++i, at += sizeof(CacheEntry)) {
    CacheEntry entry;
    std::memcpy(&entry, cache.data() + at, sizeof entry);
    // Entries with hardware capabilities are optimised variants; the plain one is always there too.
    if (entry.flags == kX8664Library && entry.hardware_capabilities == 0 && text_at(cache, entry.key) == name) {
      return std::string(text_at(cache, entry.value));
    }
  }
  return {};
}

std::optional<std::string> find_library(const std::string& name, const SearchPath& path) {
  if (name.find('/') != std::string::npos) return is_loadable(name) ? std::optional(name) : std::nullopt;
  if (auto found = in_folders(path.rpath, name)) return found;
  if (auto found = in_folders(environment_folders(), name)) return found;
  if (auto found = in_folders(path.runpath, name)) return found;
  if (auto file = FileDescriptor::open("/etc/ld.so.cache")) {
    auto size = file->size();
    if (auto mapped = size ? MappedFile::map(file->get(), 0, *size) : Result<MappedFile>(size.failure())) {
      const auto bytes = mapped->bytes();
      const std::string found = find_in_cache({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, name);
      if (!found.empty() && is_loadable(found)) return found;
    }
  }
  return in_folders({"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}, name);
}

}  // namespace deploy::loader
