#include "lib/package/tree_cache.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <unordered_set>
#include <utility>

#include "lib/package/digest.h"

namespace deploy {

namespace {

namespace fs = std::filesystem;

// The time of change of every unpacked file: 2001-01-01. Byte code says which time its source had.
constexpr timespec kFileTime = {978307200, 0};
constexpr std::chrono::hours kUnused{30 * 24};

Failure system_failure(const std::string& what, int error = errno) {
  return {ErrorCode::kSystem, what + ": " + std::strerror(error)};
}

std::string default_folder() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache == '/') return std::string(cache) + "/deploy";
  if (const char* home = std::getenv("HOME"); home && *home == '/') return std::string(home) + "/.cache/deploy";
  passwd entry{}, *found = nullptr;
  char buffer[4096];
  if (getpwuid_r(geteuid(), &entry, buffer, sizeof buffer, &found) == 0 && found && found->pw_dir[0] == '/') {
    return std::string(found->pw_dir) + "/.cache/deploy";
  }
  return {};
}

// Why nobody should run code out of this folder, or empty.
std::string folder_problem(const std::string& folder) {
  struct stat status{};
  if (::stat(folder.c_str(), &status) != 0) return std::strerror(errno);
  if (!S_ISDIR(status.st_mode)) return "it is no folder";
  if (status.st_uid != ::geteuid())
    return "it belongs to user " + std::to_string(status.st_uid) + ", not to " + std::to_string(::geteuid());
  if (status.st_mode & (S_IWGRP | S_IWOTH)) return "others than its owner may write in it";
  if (::access(folder.c_str(), W_OK | X_OK) != 0) return std::strerror(errno);
  return {};
}

// Writes a record to a new file of this name, comparing its digest.
Result<void> write_file(const PackageFile& file, const Record& record, const std::string& path) {
  const FileDescriptor out(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!out.valid()) return system_failure("cannot make '" + path + "'");
  Sha256 digest;
  const Result<void> written = file.read(record, [&](std::span<const std::byte> data) -> Result<void> {
    digest.add(data);
    for (std::size_t done = 0; done < data.size();) {
      const ssize_t n = ::write(out.get(), data.data() + done, data.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return system_failure("cannot write '" + path + "'");
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
  if (::fchmod(out.get(), 0444) != 0 || ::futimens(out.get(), times) != 0) return system_failure("cannot finish '" + path + "'");
  return {};
}

Result<void> make_parents(const std::string& path, std::unordered_set<std::string>& made) {
  const std::string parent = path.substr(0, path.rfind('/'));
  if (!made.insert(parent).second) return {};
  std::error_code error;
  fs::create_directories(parent, error);
  if (error) return system_failure("cannot make the folder '" + parent + "'", error.value());
  return {};
}

bool is_intact(const PackageFile& file, const Record& record, const std::string& path) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
  if (static_cast<std::uint64_t>(status.st_size) != record.size || status.st_mtim.tv_sec != kFileTime.tv_sec ||
      status.st_mtim.tv_nsec != 0) {
    return false;
  }
  if (!file.options().verify()) return true;
  Sha256 digest;
  const Result<FileDescriptor> opened = FileDescriptor::open(path);
  if (!opened) return false;
  std::byte piece[1 << 16];
  for (ssize_t n = 0; (n = ::read(opened->get(), piece, sizeof piece)) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    digest.add(std::span(piece, static_cast<std::size_t>(n)));
  }
  return hex(digest.finish()) == file.manifest()->digests.at(record.name);
}

// Replaces what is not as it was unpacked. `scratch` is the name of a file that nobody else uses.
Result<void> repair(const PackageFile& file, const TreeUnit& unit, const std::string& folder, const std::string& scratch) {
  std::unordered_set<std::string> made;
  for (const Record* record : unit.records) {
    const std::string path = folder + "/" + record->name;
    if (is_intact(file, *record, path)) continue;
    std::error_code error;
    if (fs::is_directory(fs::symlink_status(path, error))) fs::remove_all(path, error);
    if (auto parents = make_parents(path, made); !parents) return parents;
    if (auto written = write_file(file, *record, scratch); !written) {
      ::unlink(scratch.c_str());
      return written;
    }
    if (::rename(scratch.c_str(), path.c_str()) != 0) return system_failure("cannot replace '" + path + "'");
  }
  return {};
}

Result<void> write_all(const PackageFile& file, const TreeUnit& unit, const std::string& folder) {
  std::unordered_set<std::string> made;
  for (const Record* record : unit.records) {
    const std::string path = folder + "/" + record->name;
    if (auto parents = make_parents(path, made); !parents) return parents;
    if (auto written = write_file(file, *record, path); !written) return written;
  }
  return {};
}

}  // namespace

Result<TreeCache> TreeCache::open(const std::string& folder) {
  const std::string cache = folder.empty() ? default_folder() : folder;
  const std::string ask = "; set Environment::cache_dir to a folder that only this user writes in";
  if (cache.empty()) {
    return Failure{ErrorCode::kEnvironment,
                   "there is no folder to unpack the code of packages in: neither XDG_CACHE_HOME nor HOME is set" + ask};
  }
  std::error_code error;
  const std::string trees = fs::absolute(cache, error).lexically_normal().native() + "/trees-1";
  const mode_t parents_mode = 0700;
  for (std::size_t slash = trees.find('/', 1);; slash = trees.find('/', slash + 1)) {
    const std::string part = trees.substr(0, slash);
    if (::mkdir(part.c_str(), parents_mode) != 0 && errno != EEXIST && errno != EROFS && errno != EACCES) break;
    if (slash == trees.npos) break;
  }
  if (const std::string problem = folder_problem(trees); !problem.empty()) {
    return Failure{ErrorCode::kEnvironment, "the code of packages cannot be unpacked in '" + trees + "': " + problem + ask};
  }
  return TreeCache(trees);
}

Result<UnpackedUnit> TreeCache::unpack(const PackageFile& file, const TreeUnit& unit) const {
  UnpackedUnit out{trees_ + "/" + unit.key, FileDescriptor()};
  const std::string lock = out.folder + ".lock";
  // Whoever removes the unit takes the lock file away while it holds it: then there is another one by now.
  for (struct stat held{}, named{}; !out.hold.valid();) {
    out.hold = FileDescriptor(::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!out.hold.valid() || ::flock(out.hold.get(), LOCK_SH) != 0) return system_failure("cannot lock '" + lock + "'");
    const bool same = ::fstat(out.hold.get(), &held) == 0 && ::stat(lock.c_str(), &named) == 0 && held.st_ino == named.st_ino;
    if (!same) out.hold = FileDescriptor();
  }
  ::futimens(out.hold.get(), nullptr);

  std::string temporary = out.folder + ".XXXXXX";
  if (!::mkdtemp(temporary.data())) return system_failure("cannot make a folder in '" + trees_ + "'");
  Result<void> done;
  std::error_code error;
  if (fs::is_directory(out.folder, error)) {
    done = repair(file, unit, out.folder, temporary + "/file");
  } else {
    remove_unused();
    done = write_all(file, unit, temporary);
    if (done && ::rename(temporary.c_str(), out.folder.c_str()) != 0 && errno != EEXIST && errno != ENOTEMPTY) {
      done = system_failure("cannot move '" + temporary + "' to '" + out.folder + "'");
    }
  }
  fs::remove_all(temporary, error);
  if (!done) return std::move(done.failure());
  return out;
}

void TreeCache::remove_unused() const {
  const auto now = fs::file_time_type::clock::now();
  std::error_code error;
  for (auto entry = fs::directory_iterator(trees_, error); !error && entry != fs::directory_iterator(); entry.increment(error)) {
    std::error_code ignored;
    const fs::path path = entry->path();
    const auto time = fs::last_write_time(path, ignored);
    if (ignored || now - time < kUnused) continue;
    if (path.extension() != ".lock") {
      // What an unpacking left that did not end; complete units go with their lock.
      if (path.has_extension()) fs::remove_all(path, ignored);
      continue;
    }
    const FileDescriptor lock(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!lock.valid() || ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) continue;
    fs::remove_all(fs::path(trees_) / path.stem(), ignored);
    ::unlink(path.c_str());
  }
}

}  // namespace deploy
