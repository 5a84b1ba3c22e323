// The files of the standard library by their paths, for code that opens what lies beside a module:
//
//     open(os.path.join(os.path.dirname(os.path.realpath(pydoc.__file__)), "pydoc_data/_pydoc.css"))
//
// `__file__` of a module of the image is "<image>/python3.X/...", and no such folder exists. The standard library opens its own
// data so, and so do programs that read a module's source. All of them come to the C library by a dozen functions, whichever Python
// function they use. This file defines these functions; the image's main library is the first in the global scope of its namespace,
// so the loader binds libpython's references, and those of every private library, to them. A path that has no component "<image>"
// goes on to the C library, after one strstr.
//
// A path below "<image>" is answered out of the archive (stdlib.cpp): stat describes its entry, open gives a sealed memfd with the
// content, opendir a list of names. The image is a read-only file system (EROFS). The current folder may stand before "<image>",
// because os.path.abspath and realpath take the path for a relative one. Extension modules lie elsewhere, and are not to be had by
// path.

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <zlib.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "lib/interpreter/guest/archive.h"

namespace deploy::guest {
namespace {

constexpr std::string_view kRoot = "<image>";
constexpr std::string_view kStdlib = "python" Py_STRINGIFY(PY_MAJOR_VERSION) "." Py_STRINGIFY(PY_MINOR_VERSION);

// The function of the C library that one of ours stands before.
template <typename Function>
Function* next(std::atomic<void*>& known, const char* name) {
  void* function = known.load(std::memory_order_acquire);
  if (!function) {
    function = dlsym(RTLD_NEXT, name);
    known.store(function, std::memory_order_release);
  }
  return reinterpret_cast<Function*>(function);
}
#define DEPLOY_NEXT(name)                      \
  ([] {                                        \
    static std::atomic<void*> known = nullptr; \
    return next<decltype(name)>(known, #name); \
  }())

// What follows "<image>" in a path that has it as a component; null for all other paths.
const char* below_image(const char* path) {
  if (!path) return nullptr;
  for (const char* at = std::strstr(path, kRoot.data()); at; at = std::strstr(at + 1, kRoot.data())) {
    const char end = at[kRoot.size()];
    if ((at == path || at[-1] == '/') && (end == '/' || end == '\0')) return at + kRoot.size();
  }
  return nullptr;
}

enum class Kind { kNone, kFile, kFolder };

// A path of the image, normalised: without ".", ".." and empty components.
struct Place {
  Kind kind = Kind::kNone;
  long entry = -1;      // of a file
  char path[PATH_MAX];  // of a folder: what its entries' paths begin with, with a slash at the end; "" is the standard library's
  bool is_root = false;
};

bool normalise(const char* rest, char* out, std::size_t capacity) {
  std::size_t size = 0;
  out[0] = '\0';
  while (*rest) {
    while (*rest == '/') ++rest;
    const std::size_t length = std::strcspn(rest, "/");
    const std::string_view part(rest, length);
    rest += length;
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (size == 0) return false;  // out of the image
      const char* slash = std::strrchr(out, '/');
      size = slash ? static_cast<std::size_t>(slash - out) : 0;
    } else {
      if (size + length + 2 >= capacity) return false;
      if (size) out[size++] = '/';
      std::memcpy(out + size, part.data(), length);
      size += length;
    }
    out[size] = '\0';
  }
  return true;
}

Place find_place(const char* rest) {
  Place place;
  char whole[PATH_MAX];
  if (!normalise(rest, whole, sizeof whole)) return place;
  if (whole[0] == '\0') {
    place.kind = Kind::kFolder;
    place.is_root = true;
    place.path[0] = '\0';
    return place;
  }
  const std::string_view path(whole);
  if (!path.starts_with(kStdlib) || (path.size() > kStdlib.size() && path[kStdlib.size()] != '/')) return place;
  const std::string_view inner = path.size() > kStdlib.size() ? path.substr(kStdlib.size() + 1) : std::string_view();
  place.entry = find_entry(inner);
  if (place.entry >= 0 && !is_library(place.entry)) {
    place.kind = Kind::kFile;
    return place;
  }
  std::memcpy(place.path, inner.data(), inner.size());
  std::size_t size = inner.size();
  if (size) place.path[size++] = '/';
  place.path[size] = '\0';
  const long first = first_entry(place.path);
  if (first >= 0 && !is_library(first)) place.kind = Kind::kFolder;
  return place;
}

int fail(int error) {
  errno = error;
  return -1;
}

// Bytes of the archive in a file that nobody can change. -1 with errno.
int open_entry(long entry, int flags) {
  const std::size_t size = entry_size(entry);
  auto* bytes = static_cast<Bytef*>(std::malloc(size + 1));
  if (!bytes) return fail(ENOMEM);
  uLongf got = size;
  const std::string_view packed = entry_content(entry);
  const bool whole =
      size == 0 || (uncompress(bytes, &got, reinterpret_cast<const Bytef*>(packed.data()), packed.size()) == Z_OK && got == size);
  const int file = whole ? memfd_create("deploy-image-file", MFD_ALLOW_SEALING | (flags & O_CLOEXEC ? MFD_CLOEXEC : 0)) : fail(EIO);
  for (std::size_t done = 0; file >= 0 && done < size;) {
    const ssize_t written = write(file, bytes + done, size - done);
    if (written <= 0) {
      const int error = written < 0 ? errno : ENOSPC;
      close(file);
      std::free(bytes);
      return fail(error);
    }
    done += static_cast<std::size_t>(written);
  }
  std::free(bytes);
  if (file >= 0) {
    lseek(file, 0, SEEK_SET);
    fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
  }
  return file;
}

int open_in_image(const char* rest, int flags) {
  const Place place = find_place(rest);
  if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)) return fail(place.kind == Kind::kFolder ? EISDIR : EROFS);
  if (place.kind == Kind::kNone) return fail(flags & O_CREAT ? EROFS : ENOENT);
  if (place.kind == Kind::kFolder) return fail(EACCES);  // its names come by opendir alone
  if (flags & O_DIRECTORY) return fail(ENOTDIR);
  return open_entry(place.entry, flags);
}

int stat_in_image(const char* rest, struct stat* status) {
  const Place place = find_place(rest);
  if (place.kind == Kind::kNone) return fail(ENOENT);
  std::memset(status, 0, sizeof *status);
  const bool is_file = place.kind == Kind::kFile;
  status->st_mode = is_file ? S_IFREG | 0444 : S_IFDIR | 0555;
  status->st_nlink = is_file ? 1 : 2;
  status->st_ino = is_file ? static_cast<ino_t>(place.entry) + 2 : 1;
  status->st_size = is_file ? static_cast<off_t>(entry_size(place.entry)) : 0;
  status->st_blksize = 4096;
  status->st_blocks = (status->st_size + 511) / 512;
  return 0;
}

int access_in_image(const char* rest, int mode) {
  const Place place = find_place(rest);
  if (place.kind == Kind::kNone) return fail(ENOENT);
  if (mode & W_OK) return fail(EROFS);
  return (mode & X_OK) && place.kind == Kind::kFile ? fail(EACCES) : 0;
}

FILE* fopen_in_image(const char* rest, const char* mode) {
  const int flags = mode[0] != 'r' || std::strchr(mode, '+') ? O_RDWR | O_CREAT : O_RDONLY | O_CLOEXEC;
  const int file = open_in_image(rest, flags);
  if (file < 0) return nullptr;
  FILE* stream = fdopen(file, "r");
  if (!stream) close(file);
  return stream;
}

// A folder of the image that is being listed. The C library's DIR is opaque, so ours can be anything; the list of all tells them
// apart.
struct Listing {
  Listing* next_open;
  long entry;  // the next to look at
  bool is_root, at_end;
  char prefix[PATH_MAX];
  struct dirent now;
};
std::atomic<int> open_listings = 0;
std::atomic_flag listings_lock = ATOMIC_FLAG_INIT;
Listing* listings = nullptr;

class ListingsLock {
 public:
  ListingsLock() {
    while (listings_lock.test_and_set(std::memory_order_acquire)) {
    }
  }
  ~ListingsLock() { listings_lock.clear(std::memory_order_release); }
};

Listing* as_listing(DIR* folder) {
  if (open_listings.load(std::memory_order_acquire) == 0) return nullptr;
  const ListingsLock lock;
  for (Listing* each = listings; each; each = each->next_open) {
    if (reinterpret_cast<DIR*>(each) == folder) return each;
  }
  return nullptr;
}

DIR* opendir_in_image(const char* rest) {
  const Place place = find_place(rest);
  if (place.kind != Kind::kFolder) {
    errno = place.kind == Kind::kFile ? ENOTDIR : ENOENT;
    return nullptr;
  }
  auto* listing = static_cast<Listing*>(std::calloc(1, sizeof(Listing)));
  if (!listing) return nullptr;
  listing->is_root = place.is_root;
  std::strcpy(listing->prefix, place.path);
  listing->entry = first_entry(place.path);
  const ListingsLock lock;
  listing->next_open = listings;
  listings = listing;
  open_listings.fetch_add(1, std::memory_order_release);
  return reinterpret_cast<DIR*>(listing);
}

struct dirent* named(Listing* listing, std::string_view name, bool is_folder) {
  if (name.size() >= sizeof listing->now.d_name) return nullptr;
  listing->now.d_type = is_folder ? DT_DIR : DT_REG;
  listing->now.d_ino = 1;
  listing->now.d_reclen = sizeof listing->now;
  std::memcpy(listing->now.d_name, name.data(), name.size());
  listing->now.d_name[name.size()] = '\0';
  return &listing->now;
}

struct dirent* next_name(Listing* listing) {
  if (listing->is_root) {
    const bool first = !listing->at_end;
    listing->at_end = true;
    return first ? named(listing, kStdlib, true) : nullptr;
  }
  const std::string_view prefix(listing->prefix);
  while (listing->entry >= 0) {
    const long entry = listing->entry;
    const std::string_view path = entry_path(entry);
    if (!path.starts_with(prefix)) break;
    const std::string_view name = path.substr(prefix.size());
    const std::size_t slash = name.find('/');
    // Entries are sorted, but "a.py" comes before "a/b": all of one folder's entries are next to each other all the same.
    listing->entry = slash == name.npos ? entry + 1 : after_folder(entry, prefix.size() + slash);
    if (listing->entry >= entry_count()) listing->entry = -1;
    if (!is_library(entry)) return named(listing, name.substr(0, slash), slash != name.npos);
  }
  listing->entry = -1;
  return nullptr;
}

int close_listing(Listing* listing) {
  {
    const ListingsLock lock;
    Listing** link = &listings;
    while (*link != listing) link = &(*link)->next_open;
    *link = listing->next_open;
    open_listings.fetch_sub(1, std::memory_order_release);
  }
  std::free(listing);
  return 0;
}

}  // namespace
}  // namespace deploy::guest

// The C library's functions. glibc has those with 64 in their names for programs that were compiled so; here the types are the
// same.
#define DEPLOY_EXPORT extern "C" __attribute__((visibility("default")))
#define DEPLOY_MODE(flags)                              \
  mode_t mode = 0;                                      \
  if (flags & (O_CREAT | O_TMPFILE)) {                  \
    va_list rest;                                       \
    va_start(rest, flags);                              \
    mode = static_cast<mode_t>(va_arg(rest, unsigned)); \
    va_end(rest);                                       \
  }

using namespace deploy::guest;

#define DEPLOY_OPEN(name)                                                        \
  DEPLOY_EXPORT int name(const char* path, int flags, ...) {                     \
    if (const char* rest = below_image(path)) return open_in_image(rest, flags); \
    DEPLOY_MODE(flags)                                                           \
    return DEPLOY_NEXT(name)(path, flags, mode);                                 \
  }
#define DEPLOY_OPENAT(name)                                                      \
  DEPLOY_EXPORT int name(int folder, const char* path, int flags, ...) {         \
    if (const char* rest = below_image(path)) return open_in_image(rest, flags); \
    DEPLOY_MODE(flags)                                                           \
    return DEPLOY_NEXT(name)(folder, path, flags, mode);                         \
  }
#define DEPLOY_STAT(name, type)                                                                                   \
  DEPLOY_EXPORT int name(const char* path, struct type* status) noexcept {                                        \
    if (const char* rest = below_image(path)) return stat_in_image(rest, reinterpret_cast<struct stat*>(status)); \
    return DEPLOY_NEXT(name)(path, status);                                                                       \
  }
#define DEPLOY_FSTATAT(name, type)                                                                                \
  DEPLOY_EXPORT int name(int folder, const char* path, struct type* status, int flags) noexcept {                 \
    if (const char* rest = below_image(path)) return stat_in_image(rest, reinterpret_cast<struct stat*>(status)); \
    return DEPLOY_NEXT(name)(folder, path, status, flags);                                                        \
  }

// Without the headers' own renaming and inline forms of these.
#undef open
#undef stat
DEPLOY_OPEN(open)
DEPLOY_OPEN(open64)
DEPLOY_OPENAT(openat)
DEPLOY_OPENAT(openat64)
DEPLOY_STAT(stat, stat)
DEPLOY_STAT(stat64, stat64)
DEPLOY_STAT(lstat, stat)
DEPLOY_STAT(lstat64, stat64)
DEPLOY_FSTATAT(fstatat, stat)
DEPLOY_FSTATAT(fstatat64, stat64)

extern "C" int __open_2(const char* path, int flags);
extern "C" int __open64_2(const char* path, int flags);
DEPLOY_EXPORT int __open_2(const char* path, int flags) { return open(path, flags); }
DEPLOY_EXPORT int __open64_2(const char* path, int flags) { return open64(path, flags); }

DEPLOY_EXPORT int access(const char* path, int mode) noexcept {
  if (const char* rest = below_image(path)) return access_in_image(rest, mode);
  return DEPLOY_NEXT(access)(path, mode);
}

DEPLOY_EXPORT int faccessat(int folder, const char* path, int mode, int flags) noexcept {
  if (const char* rest = below_image(path)) return access_in_image(rest, mode);
  return DEPLOY_NEXT(faccessat)(folder, path, mode, flags);
}

DEPLOY_EXPORT ssize_t readlink(const char* path, char* buffer, size_t size) noexcept {
  if (const char* rest = below_image(path)) return fail(find_place(rest).kind == Kind::kNone ? ENOENT : EINVAL);
  return DEPLOY_NEXT(readlink)(path, buffer, size);
}

// Files of the image have no extended attributes; shutil.copy2 asks for them.
#define DEPLOY_LIST_ATTRIBUTES(name)                                                                          \
  DEPLOY_EXPORT ssize_t name(const char* path, char* list, size_t size) noexcept {                            \
    if (const char* rest = below_image(path)) return find_place(rest).kind == Kind::kNone ? fail(ENOENT) : 0; \
    return DEPLOY_NEXT(name)(path, list, size);                                                               \
  }
#define DEPLOY_GET_ATTRIBUTE(name)                                                                                  \
  DEPLOY_EXPORT ssize_t name(const char* path, const char* attribute, void* value, size_t size) noexcept {          \
    if (const char* rest = below_image(path)) return fail(find_place(rest).kind == Kind::kNone ? ENOENT : ENODATA); \
    return DEPLOY_NEXT(name)(path, attribute, value, size);                                                         \
  }
DEPLOY_LIST_ATTRIBUTES(listxattr)
DEPLOY_LIST_ATTRIBUTES(llistxattr)
DEPLOY_GET_ATTRIBUTE(getxattr)
DEPLOY_GET_ATTRIBUTE(lgetxattr)

DEPLOY_EXPORT FILE* fopen(const char* path, const char* mode) {
  if (const char* rest = below_image(path)) return fopen_in_image(rest, mode);
  return DEPLOY_NEXT(fopen)(path, mode);
}

DEPLOY_EXPORT FILE* fopen64(const char* path, const char* mode) {
  if (const char* rest = below_image(path)) return fopen_in_image(rest, mode);
  return DEPLOY_NEXT(fopen64)(path, mode);
}

DEPLOY_EXPORT DIR* opendir(const char* path) {
  if (const char* rest = below_image(path)) return opendir_in_image(rest);
  return DEPLOY_NEXT(opendir)(path);
}

DEPLOY_EXPORT struct dirent* readdir(DIR* folder) {
  if (Listing* listing = as_listing(folder)) return next_name(listing);
  return DEPLOY_NEXT(readdir)(folder);
}

DEPLOY_EXPORT struct dirent64* readdir64(DIR* folder) {
  if (Listing* listing = as_listing(folder)) return reinterpret_cast<struct dirent64*>(next_name(listing));
  return DEPLOY_NEXT(readdir64)(folder);
}

DEPLOY_EXPORT int closedir(DIR* folder) {
  if (Listing* listing = as_listing(folder)) return close_listing(listing);
  return DEPLOY_NEXT(closedir)(folder);
}

DEPLOY_EXPORT void rewinddir(DIR* folder) noexcept {
  if (Listing* listing = as_listing(folder)) {
    listing->at_end = false;
    listing->entry = first_entry(listing->prefix);
    return;
  }
  DEPLOY_NEXT(rewinddir)(folder);
}
