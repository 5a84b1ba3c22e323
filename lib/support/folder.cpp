#include "lib/support/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <memory>
#include <utility>

// Which folder may be trusted
//
// Python imports by path, so a folder is as safe as the way to it: who may write in one of the folders above it can rename the
// next one away and put another in its place. open_trusted_folder() goes from the root folder component by component. Each folder
// on the way has to belong to root or to the effective user, and nobody else may write in it, unless it is sticky as /tmp is: there
// nobody can rename or remove what belongs to others, and the next component has to belong to root or the user, too.
//
// A symbolic link is followed where it belongs to root or to the user, and lies in a folder that passed: /home that leads to
// /data/home is normal. Its target is gone through in the same way. The result is a path without links, each component of which was
// looked at by its descriptor and can be changed by root and the user only. So what is found by this path later is what was checked
// here: between the two nobody else can do anything.
//
// Group-writable folders are refused, as sshd does, because who is in a group cannot be found out in general. There is one
// exception: many distributions give each user a group of his own and a umask of 002, so that ~/.cache is group-writable. A folder
// passes where the group is the user's primary one, has his name and lists no other member, and the folder has no access control
// list.

namespace deploy {

namespace {

constexpr mode_t kOwnMode = 0700, kOthersWrite = S_IWGRP | S_IWOTH;
constexpr int kMostLinks = 40;  // as the kernel has it

Failure system_failure(const std::string& what, int error = errno) {
  return {ErrorCode::kSystem, what + ": " + std::strerror(error)};
}

Failure untrusted(const std::string& problem) { return {ErrorCode::kEnvironment, problem}; }

bool is_group_of_one(int folder, gid_t group) {
  if (::geteuid() == 0) return false;
  std::array<char, 16384> user_text, group_text;
  passwd user_entry{}, *user = nullptr;
  struct group group_entry{}, *found = nullptr;
  if (::getpwuid_r(::geteuid(), &user_entry, user_text.data(), user_text.size(), &user) != 0 || !user) return false;
  if (user->pw_gid != group) return false;
  if (::getgrgid_r(group, &group_entry, group_text.data(), group_text.size(), &found) != 0 || !found) return false;
  if (std::strcmp(found->gr_name, user->pw_name) != 0) return false;
  for (char** member = found->gr_mem; *member; ++member) {
    if (std::strcmp(*member, user->pw_name) != 0) return false;
  }
  const std::string path = "/proc/self/fd/" + std::to_string(folder);
  return ::getxattr(path.c_str(), "system.posix_acl_access", nullptr, 0) < 0;
}

// The way from the root folder to the end of a path.
class Walk {
 public:
  Result<Folder> go(const std::string& path) {
    if (Result<void> root = start_again(); !root) return std::move(root.failure());
    push(path);
    while (!todo_.empty()) {
      const std::string name = std::move(todo_.back());
      todo_.pop_back();
      if (Result<void> done = step(name); !done) return std::move(done.failure());
    }
    FileDescriptor folder(::openat(at_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder.valid()) return untrusted("'" + here() + "' cannot be opened: " + std::strerror(errno));
    return Folder{std::move(folder), here()};
  }

 private:
  // The components of `path` come before all that is still to do.
  void push(const std::string& path) {
    std::vector<std::string> parts;
    for (std::size_t start = 0; start < path.size();) {
      const std::size_t end = std::min(path.find('/', start), path.size());
      if (end > start && path.compare(start, end - start, ".") != 0) parts.push_back(path.substr(start, end - start));
      start = end + 1;
    }
    todo_.insert(todo_.end(), std::make_move_iterator(parts.rbegin()), std::make_move_iterator(parts.rend()));
  }

  Result<void> start_again() {
    names_.clear();
    return enter(AT_FDCWD, "/");
  }

  Result<void> step(const std::string& name) {
    if (name == "..") {
      if (!names_.empty()) names_.pop_back();
      return enter(at_.get(), "..");
    }
    names_.push_back(name);
    FileDescriptor entry(open_entry(name));
    if (!entry.valid() && errno == ENOENT) {
      if (::mkdirat(at_.get(), name.c_str(), kOwnMode) != 0 && errno != EEXIST) {
        return untrusted("'" + here() + "' cannot be made: " + std::strerror(errno));
      }
      entry = FileDescriptor(open_entry(name));
    }
    struct stat status{};
    if (!entry.valid() || ::fstat(entry.get(), &status) != 0) return untrusted("'" + here() + "': " + std::strerror(errno));
    // Before it is used: in a sticky folder nobody else can replace what is root's or the user's.
    if (Result<void> owner = check_owner(status); !owner) return owner;
    if (S_ISLNK(status.st_mode)) return follow(entry.get());
    if (!S_ISDIR(status.st_mode)) return untrusted("'" + here() + "' is no folder");
    return enter(at_.get(), name + "/.");  // the last part has automounted folders mounted
  }

  int open_entry(const std::string& name) const { return ::openat(at_.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC); }

  Result<void> follow(int link) {
    if (++links_ > kMostLinks) return untrusted("'" + here() + "': " + std::strerror(ELOOP));
    std::array<char, PATH_MAX> target;
    const ssize_t size = ::readlinkat(link, "", target.data(), target.size());
    if (size <= 0 || size == PATH_MAX) return untrusted("the symbolic link '" + here() + "' cannot be read");
    names_.pop_back();
    push(std::string(target.data(), static_cast<std::size_t>(size)));
    if (target[0] == '/') return start_again();
    return {};
  }

  Result<void> enter(int parent, const std::string& name) {
    FileDescriptor folder(::openat(parent, name.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    struct stat status{};
    if (!folder.valid() || ::fstat(folder.get(), &status) != 0) return untrusted("'" + here() + "': " + std::strerror(errno));
    if (Result<void> owner = check_owner(status); !owner) return owner;
    const mode_t writers = status.st_mode & kOthersWrite;
    const bool alone =
        writers == 0 || status.st_mode & S_ISVTX || (writers == S_IWGRP && is_group_of_one(folder.get(), status.st_gid));
    if (!alone) {
      return untrusted("others than its owner may write in '" + here() +
                       "' (chmod go-w would mend that), and could put other code in its place");
    }
    at_ = std::move(folder);
    return {};
  }

  Result<void> check_owner(const struct stat& status) const {
    if (status.st_uid == 0 || status.st_uid == ::geteuid()) return {};
    return untrusted("'" + here() + "' belongs to user " + std::to_string(status.st_uid) +
                     ", who could put other code in its place; expected root or user " + std::to_string(::geteuid()));
  }

  std::string here() const {
    std::string path;
    for (const std::string& name : names_) path.append("/").append(name);
    return path.empty() ? "/" : path;
  }

  FileDescriptor at_;
  std::vector<std::string> names_, todo_;  // `todo_` from its end
  int links_ = 0;
};

// Names that nobody else uses at the same time.
std::string random_name() {
  constexpr char kLetters[] = "abcdefghijklmnopqrstuvwxyz012345";
  std::array<unsigned char, 10> bytes{};
  (void)!::getrandom(bytes.data(), bytes.size(), 0);
  std::string name;
  for (const unsigned char byte : bytes) name += kLetters[byte % 32];
  return name;
}

int open_folder(int parent, const std::string& name) {
  return ::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

// Empties `folder`. Folders below this depth are moved up, into `top`, and emptied there: descriptors and stack are bounded.
void empty_folder(int folder, int top, int depth) {
  constexpr int kDeepest = 16;
  for (const std::string& name : names_in(folder)) {
    if (::unlinkat(folder, name.c_str(), 0) == 0 || (errno != EISDIR && errno != EPERM)) continue;
    if (::unlinkat(folder, name.c_str(), AT_REMOVEDIR) == 0) continue;
    if (depth == kDeepest && ::renameat(folder, name.c_str(), top, random_name().c_str()) == 0) continue;
    FileDescriptor inner(open_folder(folder, name));
    if (!inner.valid() && errno == EACCES && ::fchmodat(folder, name.c_str(), kOwnMode, 0) == 0) {
      inner = FileDescriptor(open_folder(folder, name));
    }
    if (!inner.valid()) continue;
    (void)::fchmod(inner.get(), kOwnMode);
    if (depth < kDeepest) empty_folder(inner.get(), top, depth + 1);
    (void)::unlinkat(folder, name.c_str(), AT_REMOVEDIR);
  }
}

}  // namespace

Result<Folder> open_trusted_folder(const std::string& path) { return Walk().go(path); }

bool is_own(const struct ::stat& status) { return status.st_uid == ::geteuid() && (status.st_mode & kOthersWrite) == 0; }

Result<FileDescriptor> make_own_folder(int parent, const std::string& name) {
  for (int tries = 0; tries < 3; ++tries) {
    FileDescriptor folder(open_folder(parent, name));
    struct stat status{};
    if (folder.valid() && ::fstat(folder.get(), &status) == 0 && is_own(status)) return folder;
    if (folder.valid() || errno != ENOENT) remove_at(parent, name);
    if (::mkdirat(parent, name.c_str(), kOwnMode) != 0 && errno != EEXIST) break;
  }
  return system_failure("cannot make the folder '" + name + "'");
}

Result<std::string> make_temporary_folder(int parent, const std::string& prefix) {
  for (int tries = 0; tries < 100; ++tries) {
    std::string rest = random_name();
    if (::mkdirat(parent, (prefix + rest).c_str(), kOwnMode) == 0) return rest;
    if (errno != EEXIST) break;
  }
  return system_failure("cannot make a folder '" + prefix + "...'");
}

void remove_at(int parent, const std::string& name) {
  if (::unlinkat(parent, name.c_str(), 0) == 0 || (errno != EISDIR && errno != EPERM)) return;
  FileDescriptor folder(open_folder(parent, name));
  if (!folder.valid() && errno == EACCES && ::fchmodat(parent, name.c_str(), kOwnMode, 0) == 0) {
    folder = FileDescriptor(open_folder(parent, name));
  }
  if (!folder.valid()) return;
  (void)::fchmod(folder.get(), kOwnMode);
  // What was moved up is there in the next round; a round without any empties the folder, or never will.
  constexpr int kRounds = 10000;
  for (int round = 0; round < kRounds && ::unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0 && errno == ENOTEMPTY; ++round) {
    const std::vector<std::string> before = names_in(folder.get());
    empty_folder(folder.get(), folder.get(), 0);
    if (names_in(folder.get()) == before) return;
  }
}

std::vector<std::string> names_in(int folder) {
  std::vector<std::string> names;
  const auto close = [](DIR* stream) { ::closedir(stream); };
  const int copy = ::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);  // with a position of its own
  const std::unique_ptr<DIR, decltype(close)> stream(copy < 0 ? nullptr : ::fdopendir(copy), close);
  if (!stream) return names;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  return names;
}

Result<int> FoldersBelow::folder_of(const std::string& path) {
  std::size_t depth = 0, start = 0;
  for (std::size_t slash = path.find('/'); slash != path.npos; slash = path.find('/', start)) {
    const std::string name = path.substr(start, slash - start);
    if (depth == levels_.size() || levels_[depth].name != name) {
      levels_.resize(depth);
      const int parent = depth == 0 ? root_ : levels_[depth - 1].folder.get();
      Result<FileDescriptor> folder = make_own_folder(parent, name);
      if (!folder) return std::move(folder.failure()).within("the folder of '" + path + "'");
      levels_.push_back({name, std::move(*folder)});
    }
    ++depth;
    start = slash + 1;
  }
  levels_.resize(depth);
  return depth == 0 ? root_ : levels_[depth - 1].folder.get();
}

}  // namespace deploy
