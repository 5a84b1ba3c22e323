#include "lib/loader/library_file.h"

#include <sys/stat.h>
#include <time.h>

#include <atomic>
#include <map>
#include <mutex>

#include "lib/support/forks.h"

namespace deploy::loader {

namespace {

constexpr std::size_t kMaxFiles = 8192;  // a process that loads ever new files must not grow for ever
constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kSettled = 2 * kSecond;

std::uint64_t nanoseconds(const timespec& t) {
  return static_cast<std::uint64_t>(t.tv_sec) * kSecond + static_cast<std::uint64_t>(t.tv_nsec);
}

// The modification time can be set to anything, the time of the last change cannot.
struct Version {
  FileIdentity identity;
  std::uint64_t changed = 0;
  auto operator<=>(const Version&) const = default;
};

struct Files {
  ForkLock lock;
  std::map<Version, std::shared_ptr<const ParsedFile>> parsed;  // guarded by lock
  ForkLock extents;                                             // of all parsed files: a fork cannot wait for a lock that goes
};

// Never destroyed: interpreters may be loaded while static objects of the process are being destroyed.
Files& files() {
  static Files* const instance = [] {
    auto* made = new Files;
    hold_in_forks(made->lock);
    hold_in_forks(made->extents);
    return made;
  }();
  return *instance;
}

std::shared_ptr<const ParsedFile> find(const Version& version) {
  Files& f = files();
  const std::lock_guard guard(f.lock);
  const auto found = f.parsed.find(version);
  return found == f.parsed.end() ? nullptr : found->second;
}

void keep(const Version& version, std::shared_ptr<const ParsedFile> parsed) {
  Files& f = files();
  const std::lock_guard guard(f.lock);
  if (f.parsed.size() >= kMaxFiles) f.parsed.clear();
  f.parsed[version] = std::move(parsed);
}

Result<std::shared_ptr<const ParsedFile>> parse(const LibraryFile& file) {
  auto content = file.content();
  if (!content) return content.failure();
  auto image = ElfImage::parse(content->bytes());
  if (!image) return image.failure();
  auto dynamic = DynamicTable::parse(*image, ImageBytes::of_file(*image, content->bytes()));
  if (!dynamic) return dynamic.failure();
  return std::shared_ptr<const ParsedFile>(std::make_shared<ParsedFile>(std::move(*image), std::move(*dynamic)));
}

// `is_fixed`: the content never changes (EmbeddedFile).
Result<LibraryFile> read(LibraryFile file, bool is_fixed) {
  struct stat status{};
  if (::fstat(file.fd, &status) != 0) return Failure{ErrorCode::kSystem, "fstat failed"};
  file.identity = {status.st_dev, status.st_ino, file.offset, static_cast<std::uint64_t>(status.st_size),
                   nanoseconds(status.st_mtim)};
  const Version version{file.identity, is_fixed ? 0 : nanoseconds(status.st_ctim)};
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  const bool is_settled = is_fixed || version.changed + kSettled < nanoseconds(now);
  if (is_settled) file.parsed = find(version);
  if (file.parsed) return file;
  auto parsed = parse(file);
  if (!parsed) return parsed.failure();
  file.parsed = std::move(*parsed);
  if (is_settled) keep(version, file.parsed);
  return file;
}

std::uint64_t next_serial() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

}  // namespace

ParsedFile::ParsedFile(ElfImage image, DynamicTable dynamic)
    : image(std::move(image)), dynamic(std::move(dynamic)), serial(next_serial()) {}

Result<SymbolTable> ParsedFile::symbols(const ImageBytes& bytes) const {
  std::optional<SymbolExtent> known;
  {
    const std::lock_guard guard(files().extents);
    known = extent_;
  }
  auto table = SymbolTable::create(dynamic, bytes, known ? &*known : nullptr);
  if (table && !known) {
    const std::lock_guard guard(files().extents);
    extent_ = table->extent();
  }
  return table;
}

Result<LibraryFile> LibraryFile::open(const std::string& path) {
  auto file = FileDescriptor::open(path);
  if (!file) return file.failure();
  auto size = file->size();
  if (!size) return size.failure();
  LibraryFile library;
  library.fd = file->get();
  library.file = std::move(*file);
  library.size = *size;
  auto result = read(std::move(library), false);
  if (!result) return std::move(result.failure()).within(path);
  return result;
}

Result<LibraryFile> LibraryFile::open(const EmbeddedFile& embedded) {
  LibraryFile library;
  library.fd = embedded.fd;
  library.offset = embedded.offset;
  library.size = embedded.size;
  return read(std::move(library), true);
}

}  // namespace deploy::loader
