#include "lib/package/unit_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <unordered_set>
#include <utility>
#include <vector>

#include "lib/package/digest.h"
#include "lib/support/folder.h"

namespace deploy {

namespace {

// The time of change of every unpacked file: 2001-01-01. Byte code says which time its source had.
constexpr timespec kFileTime = {978307200, 0};
constexpr const char* kScratchFile = "file";

Failure system_failure(const std::string& what, int error = errno) {
  return {ErrorCode::kSystem, what + ": " + std::strerror(error)};
}

std::string last_of(const std::string& name) { return name.substr(name.rfind('/') + 1); }

// Writes a record to a new file of this name, comparing its digest.
Result<void> write_file(const PackageFile& file, const Record& record, int folder, const std::string& name) {
  const std::string what = "'" + record.name + "' of package '" + file.path() + "'";
  const FileDescriptor out(::openat(folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!out.valid()) return system_failure("cannot make the file for " + what);
  Sha256 digest;
  const Result<void> written = file.read(record, [&](std::span<const std::byte> data) -> Result<void> {
    digest.add(data);
    for (std::size_t done = 0; done < data.size();) {
      const ssize_t n = ::write(out.get(), data.data() + done, data.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return system_failure("cannot unpack " + what);
      done += static_cast<std::size_t>(n);
    }
    return {};
  });
  if (!written) return written;
  if (hex(digest.finish()) != file.manifest()->digests.at(record.name)) {
    return Failure{ErrorCode::kInvalidPackage, "'" + file.path() + "' is damaged: record '" + record.name +
                                                   "' does not have the SHA-256 that its manifest says"};
  }
  const timespec times[2] = {kFileTime, kFileTime};
  if (::fchmod(out.get(), 0444) != 0 || ::futimens(out.get(), times) != 0) return system_failure("cannot unpack " + what);
  return {};
}

bool is_intact(const PackageFile& file, const Record& record, int folder, const std::string& name) {
  struct stat status{};
  if (::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(status.st_mode) || !is_own(status))
    return false;
  if (static_cast<std::uint64_t>(status.st_size) != record.size || status.st_mtim.tv_sec != kFileTime.tv_sec ||
      status.st_mtim.tv_nsec != 0) {
    return false;
  }
  if (!file.options().verify()) return true;
  const FileDescriptor opened(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!opened.valid()) return false;
  Sha256 digest;
  std::vector<std::byte> piece(1 << 16);
  for (ssize_t n = 0; (n = ::read(opened.get(), piece.data(), piece.size())) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    digest.add(std::span(piece).first(static_cast<std::size_t>(n)));
  }
  return hex(digest.finish()) == file.manifest()->digests.at(record.name);
}

// Removes what is not of the unit: a module that somebody put there could be imported in place of one that was verified.
Result<void> remove_others(const TreeUnit& unit, int root) {
  std::unordered_set<std::string> known;  // files and folders, folders with a slash
  std::vector<std::string> folders = {""};
  for (const Record* record : unit.records) {
    known.insert(record->name);
    for (std::size_t slash = record->name.find('/'); slash != std::string::npos; slash = record->name.find('/', slash + 1)) {
      std::string folder = record->name.substr(0, slash + 1);
      if (known.insert(folder).second) folders.push_back(std::move(folder));
    }
  }
  FoldersBelow below(root);
  for (const std::string& folder : folders) {
    const Result<int> opened = below.folder_of(folder);
    if (!opened) return opened.failure();
    for (const std::string& name : names_in(*opened)) {
      if (!known.contains(folder + name) && !known.contains(folder + name + "/")) remove_at(*opened, name);
    }
  }
  return {};
}

}  // namespace

Result<void> write_unit(const PackageFile& file, const TreeUnit& unit, int folder) {
  FoldersBelow folders(folder);
  for (const Record* record : unit.records) {
    const Result<int> parent = folders.folder_of(record->name);
    if (!parent) return parent.failure();
    if (auto written = write_file(file, *record, *parent, last_of(record->name)); !written) return written;
  }
  return {};
}

Result<void> repair_unit(const PackageFile& file, const TreeUnit& unit, int folder, int scratch) {
  FoldersBelow folders(folder);
  for (const Record* record : unit.records) {
    const Result<int> parent = folders.folder_of(record->name);
    if (!parent) return parent.failure();
    const std::string name = last_of(record->name);
    if (is_intact(file, *record, *parent, name)) continue;
    struct stat status{};
    if (::fstatat(*parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode)) remove_at(*parent, name);
    auto written = write_file(file, *record, scratch, kScratchFile);
    if (written && ::renameat(scratch, kScratchFile, *parent, name.c_str()) != 0) {
      written = system_failure("cannot replace '" + record->name + "' of package '" + file.path() + "'");
    }
    if (!written) {
      remove_at(scratch, kScratchFile);
      return written;
    }
  }
  return file.options().verify() ? remove_others(unit, folder) : Result<void>();
}

}  // namespace deploy
