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
#include <thread>
#include <utility>

#include "lib/package/unit_folder.h"

namespace deploy {

namespace {

constexpr const char* kTrees = "trees-1";
constexpr std::string_view kLock = ".lock";
constexpr std::int64_t kUnusedSeconds = 30L * 24 * 3600;
// A lock is held exclusively for the time of two system calls.
constexpr std::chrono::seconds kLockPatience{10};
constexpr const char* kAsk = "; set Environment::cache_dir to a folder that only this user writes in";

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
std::string folder_problem(int folder) {
  struct stat status{};
  if (::fstat(folder, &status) != 0) return std::strerror(errno);
  if (status.st_uid != ::geteuid())
    return "it belongs to user " + std::to_string(status.st_uid) + ", not to " + std::to_string(::geteuid());
  if (status.st_mode & (S_IWGRP | S_IWOTH)) return "others than its owner may write in it";
  if (::faccessat(folder, ".", W_OK | X_OK, AT_EACCESS) != 0) return std::strerror(errno);
  return {};
}

bool is_same_file(const struct stat& a, const struct stat& b) { return a.st_ino == b.st_ino && a.st_dev == b.st_dev; }

}  // namespace

Result<TreeCache> TreeCache::open(const std::string& folder) {
  const std::string cache = folder.empty() ? default_folder() : folder;
  if (cache.empty()) {
    return Failure{
        ErrorCode::kEnvironment,
        std::string("there is no folder to unpack the code of packages in: neither XDG_CACHE_HOME nor HOME is set") + kAsk};
  }
  if (const std::string problem = path_problem(cache); !problem.empty()) {
    return Failure{ErrorCode::kInvalidArgument,
                   "the folder to unpack the code of packages in, " + quoted_path(cache) + ", " + problem};
  }
  std::error_code error;
  const std::string absolute = std::filesystem::absolute(cache, error).native();
  const auto unusable = [&](const std::string& path, const std::string& problem) {
    return Failure{ErrorCode::kEnvironment, "the code of packages cannot be unpacked in '" + path + "': " + problem + kAsk};
  };
  Result<Folder> trusted = open_trusted_folder(absolute);
  if (!trusted) return unusable(absolute, trusted.failure().message);
  // A file there is of no use to anybody, because the name is this library's; a link was somebody's decision.
  struct stat status{};
  const int parent = trusted->descriptor.get();
  const bool exists = ::fstatat(parent, kTrees, &status, AT_SYMLINK_NOFOLLOW) == 0, is_link = exists && S_ISLNK(status.st_mode);
  if (exists && !is_link && !S_ISDIR(status.st_mode)) remove_at(parent, kTrees);
  const std::string path = (trusted->path == "/" ? "" : trusted->path) + "/" + kTrees;
  if (::mkdirat(parent, kTrees, 0700) != 0 && errno != EEXIST) return unusable(path, std::strerror(errno));
  FileDescriptor trees(::openat(parent, kTrees, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!trees.valid()) return unusable(path, is_link ? "it is a symbolic link" : std::strerror(errno));
  if (const std::string problem = folder_problem(trees.get()); !problem.empty()) return unusable(path, problem);
  return TreeCache(Folder{std::move(trees), path});
}

Result<UnpackedUnit> TreeCache::unpack(const PackageFile& file, const TreeUnit& unit) const {
  const std::string name = unit.key + (file.options().verify() ? "-verified" : "");
  Result<FileDescriptor> hold = lock(name + std::string(kLock));
  if (!hold) return std::move(hold.failure());
  ::futimens(hold->get(), nullptr);
  if (Result<void> filled = fill(file, unit, name); !filled) {
    if (filled.failure().code == ErrorCode::kSystem) return std::move(filled.failure()).within("in '" + trees_.path + "'");
    return std::move(filled.failure());
  }
  return UnpackedUnit{trees_.path + "/" + name, std::move(*hold)};
}

Result<void> TreeCache::fill(const PackageFile& file, const TreeUnit& unit, const std::string& name) const {
  Result<std::string> temporary = make_temporary_folder(at(), name + ".");
  if (!temporary) return std::move(temporary.failure());
  const std::string scratch_name = name + "." + *temporary;
  Result<FileDescriptor> scratch = make_own_folder(at(), scratch_name);
  if (!scratch) return std::move(scratch.failure());

  struct stat status{};
  bool exists = ::fstatat(at(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
  if (exists && !(S_ISDIR(status.st_mode) && is_own(status))) {
    remove_at(at(), name);
    exists = false;
  }
  Result<void> done;
  if (!exists) {
    remove_unused();
    done = write_unit(file, unit, scratch->get());
    if (done && ::renameat(at(), scratch_name.c_str(), at(), name.c_str()) != 0) {
      exists = errno == EEXIST || errno == ENOTEMPTY;  // another process was faster
      if (!exists) done = system_failure("cannot rename '" + scratch_name + "' to '" + name + "'");
      if (exists) {
        remove_at(at(), scratch_name);
        scratch = make_own_folder(at(), scratch_name);
        if (!scratch) done = std::move(scratch.failure());
      }
    }
  }
  if (done && exists) {
    const Result<FileDescriptor> folder = make_own_folder(at(), name);
    done = folder ? repair_unit(file, unit, folder->get(), scratch->get()) : Result<void>(folder.failure());
  }
  remove_at(at(), scratch_name);
  return done;
}

Result<FileDescriptor> TreeCache::lock(const std::string& name) const {
  const std::string path = "'" + trees_.path + "/" + name + "'";
  const auto give_up = std::chrono::steady_clock::now() + kLockPatience;
  for (;;) {
    FileDescriptor file(::openat(at(), name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
    struct stat held{}, named{};
    const bool usable = file.valid() && ::fstat(file.get(), &held) == 0 && S_ISREG(held.st_mode) && is_own(held);
    if (!usable) {
      const int error = errno;
      if (!file.valid() && (error == ENOSPC || error == EMFILE || error == ENFILE || error == EROFS || error == EDQUOT)) {
        return system_failure("cannot make " + path, error);
      }
      remove_at(at(), name);  // a folder, a link, a FIFO
      if (std::chrono::steady_clock::now() > give_up) return system_failure("cannot make " + path, error);
      continue;
    }
    if (::flock(file.get(), LOCK_SH | LOCK_NB) == 0) {
      // Whoever removes the unit takes the lock file away while it holds it: then there is another one by now.
      if (::fstatat(at(), name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 && is_same_file(held, named)) return file;
      continue;
    }
    if (errno != EWOULDBLOCK && errno != EINTR) return system_failure("cannot lock " + path);
    if (std::chrono::steady_clock::now() > give_up) {
      return Failure{ErrorCode::kEnvironment,
                     "the code of packages cannot be unpacked: another process has held the lock " + path + " for more than " +
                         std::to_string(kLockPatience.count()) +
                         " seconds; end that process (lsof names it), or set Environment::cache_dir to another folder"};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

void TreeCache::remove_unused() const {
  const std::int64_t old = static_cast<std::int64_t>(::time(nullptr)) - kUnusedSeconds;
  for (const std::string& name : names_in(at())) {
    struct stat status{};
    if (::fstatat(at(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 || status.st_mtim.tv_sec >= old) continue;
    if (name.ends_with(kLock)) {
      remove_unit(name);
    } else if (name.find('.') != name.npos) {
      remove_at(at(), name);  // what an unpacking left that did not end; complete units go with their lock
    }
  }
}

// The unit is renamed while its lock is held, and removed afterwards: nobody waits for that.
void TreeCache::remove_unit(const std::string& lock) const {
  const std::string unit = lock.substr(0, lock.size() - kLock.size());
  std::string doomed;
  {
    const FileDescriptor held(::openat(at(), lock.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!held.valid() || ::flock(held.get(), LOCK_EX | LOCK_NB) != 0) return;
    const Result<std::string> rest = make_temporary_folder(at(), unit + ".");
    if (!rest) return;
    doomed = unit + "." + *rest;
    (void)::renameat(at(), unit.c_str(), at(), doomed.c_str());
    (void)::unlinkat(at(), lock.c_str(), 0);
  }
  remove_at(at(), doomed);
}

}  // namespace deploy
