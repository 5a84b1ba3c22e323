#include "lib/package/package_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "lib/package/signing.h"

namespace deploy {

namespace {

constexpr std::size_t kPiece = 1 << 20;
// Weights whose checksums are compared unless the options say otherwise: what takes some 50 ms.
constexpr std::uint64_t kSmallWeights = 64 << 20;
// How large a manifest may be: what it says of a record, whose name JSON may escape, and what it says of the whole. One of 100,000
// records has 15 MB.
constexpr std::uint64_t kFreeManifest = 1 << 20, kMostPerRecord = 256, kMostPerByte = 6;

// zlib's state for data without a header, as zip files have it.
class Inflater {
 public:
  Inflater() { good_ = inflateInit2(&stream_, -MAX_WBITS) == Z_OK; }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // Hands on what `data` inflates to. A failure of the sink; or one without a message: no deflated data.
  Result<void> add(std::span<const std::byte> data, const PackageFile::Sink& sink) {
    std::vector<std::byte> out(kPiece);
    stream_.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(data.data()));
    stream_.avail_in = static_cast<uInt>(data.size());
    while (good_ && !ended_ && (stream_.avail_in != 0 || stream_.avail_out == 0)) {
      stream_.next_out = reinterpret_cast<Bytef*>(out.data());
      stream_.avail_out = static_cast<uInt>(out.size());
      const int status = inflate(&stream_, Z_NO_FLUSH);
      good_ = status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR;
      ended_ = status == Z_STREAM_END;
      const std::size_t size = out.size() - stream_.avail_out;
      if (size == 0) break;
      if (Result<void> taken = sink(std::span(out).first(size)); !taken) return taken;
    }
    if (!good_ || (ended_ && stream_.avail_in != 0)) return Failure{ErrorCode::kInvalidPackage, ""};
    return {};
  }
  bool ended() const { return ended_; }

 private:
  z_stream stream_ = {};
  bool good_ = false, ended_ = false;
};

}  // namespace

Result<PackageFile> PackageFile::open(const std::string& path, const FileOptions& options) {
  PackageFile package;
  package.path_ = path;
  package.options_ = options;
  if (Result<void> found = package.find_file(); !found) return std::move(found.failure());
  Result<void> read = package.read_tables();
  // Whatever is wrong with a file that is being written may be for that reason.
  if (read || read.failure().code == ErrorCode::kInvalidPackage) {
    if (Result<void> same = package.check_unchanged(); !same) return std::move(same.failure());
  }
  if (!read) return std::move(read.failure());
  return package;
}

Result<void> PackageFile::read_tables() {
  if (Result<void> found = find_records(); !found) return found;
  if (options_.verify() || options_.in_memory) {
    if (Result<void> copied = copy_and_verify(); !copied) return copied;
  }
  return find_manifest();
}

Result<void> PackageFile::find_file() {
  if (const std::string problem = path_problem(path_); !problem.empty()) {
    return Failure{ErrorCode::kInvalidArgument, "the path of a package, " + quoted_path(path_) + ", " + problem};
  }
  Result<FileDescriptor> file = FileDescriptor::open(path_);
  if (!file) {
    Failure& failure = file.failure();
    if (failure.code == ErrorCode::kInvalidArgument) failure.code = ErrorCode::kInvalidPackage;  // a directory, a device
    return std::move(failure).within("package");
  }
  file_ = std::move(*file);
  Result<Identity> identity = identify();
  if (!identity) return std::move(identity.failure());
  identity_ = *identity;
  return {};
}

Result<PackageFile::Identity> PackageFile::identify() const {
  struct stat status{};
  if (::fstat(file_.get(), &status) != 0)
    return Failure{ErrorCode::kSystem, "cannot stat '" + path_ + "': " + std::strerror(errno)};
  return Identity{static_cast<std::int64_t>(status.st_dev), static_cast<std::int64_t>(status.st_ino), status.st_size,
                  status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
}

Result<void> PackageFile::check_unchanged() const {
  const Result<Identity> now = identify();
  if (!now) return now.failure();
  if (*now == identity_) return {};
  return damaged("was " + std::string((*now)[2] < identity_[2] ? "cut off" : "changed") +
                 " while it was being read: " + std::to_string((*now)[2]) + " bytes, and had " + std::to_string(identity_[2]) +
                 " before; write a new file and rename it over the old one");
}

Result<void> PackageFile::find_records() {
  Result<Archive> archive = Archive::read(FileSource(contents(), static_cast<std::uint64_t>(identity_[2]), path_), path_);
  if (!archive) return std::move(archive.failure());
  archive_ = std::move(*archive);
  return {};
}

// The table that was read so far is not to be trusted yet: it says only what need not be copied, and where the signed part would
// end. Afterwards it is read again from the copy, and has to say the same: then the signature lies where the copy has it, too.
Result<void> PackageFile::copy_and_verify() {
  Result<std::vector<std::string>> keys = key_names(options_.trusted_keys);
  if (!keys) return std::move(keys.failure());
  FileDescriptor memory(::memfd_create("deploy-package", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory.valid() || ::ftruncate(memory.get(), identity_[2]) != 0) {
    return Failure{ErrorCode::kSystem,
                   "no memory file of " + std::to_string(identity_[2]) + " bytes for '" + path_ + "': " + std::strerror(errno)};
  }
  const Result<Digests> digests = copy(memory.get());
  if (!digests) return digests.failure();
  if (!options_.sha256.empty()) {
    std::string expected = options_.sha256;
    std::ranges::transform(expected, expected.begin(), [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c; });
    if (expected != hex(digests->whole)) {
      return Failure{ErrorCode::kUntrusted,
                     "package '" + path_ + "' has the SHA-256 " + hex(digests->whole) + "; expected " + expected};
    }
  }
  if (!keys->empty()) {
    Result<std::optional<PackageSignature>> signature = PackageSignature::parse(archive_.comment());
    if (!signature) return std::move(signature.failure()).within("package '" + path_ + "'");
    if (Result<void> trusted = check_trusted(*signature, digests->signed_part, *keys, path_); !trusted) return trusted;
  }
  ::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);

  memory_ = std::move(memory);
  const Archive before = std::exchange(archive_, Archive());
  if (Result<void> found = find_records(); !found) return found;
  const auto same = [](const Record& a, const Record& b) {
    return a.name == b.name && a.offset == b.offset && a.stored_size == b.stored_size && a.deflated == b.deflated;
  };
  if (before.comment_offset() != archive_.comment_offset() || before.comment() != archive_.comment() ||
      !std::ranges::equal(before.records(), archive_.records(), same)) {
    return damaged("was changed while it was being read");
  }
  return {};
}

// Copies the file, without the weights that are to be mapped from it.
Result<PackageFile::Digests> PackageFile::copy(int target) const {
  std::vector<const Record*> left_out;
  for (const Record& record : archive_.records()) {
    if (record.is_mapped() && !options_.in_memory) left_out.push_back(&record);
  }
  std::ranges::sort(left_out, {}, &Record::offset);

  const auto size = static_cast<std::uint64_t>(identity_[2]);
  Sha256 whole;
  std::optional<Sha256Digest> signed_part;
  std::vector<std::byte> piece(kPiece);
  auto next = left_out.begin();
  for (std::uint64_t at = 0; at < size;) {
    // Pieces end where the comment begins, and where weights begin and end.
    std::uint64_t end = std::min(size, at + kPiece);
    if (at < archive_.comment_offset()) end = std::min(end, archive_.comment_offset());
    while (next != left_out.end() && (*next)->offset + (*next)->stored_size <= at) ++next;
    bool copied = true;
    if (next != left_out.end()) {
      copied = at < (*next)->offset;
      end = std::min(end, (*next)->offset + (copied ? 0 : (*next)->stored_size));
    }
    const std::span<std::byte> bytes(piece.data(), static_cast<std::size_t>(end - at));
    const Result<std::size_t> read = read_at(file_.get(), bytes, at, path_);
    if (!read) return read.failure();
    if (*read != bytes.size()) return damaged("was cut off while it was being read");
    if (at == archive_.comment_offset()) signed_part = Sha256(whole).finish();
    whole.add(bytes);
    // Zeros are what the copy has there already: a file of holes costs no memory.
    copied = copied && std::ranges::any_of(bytes, [](std::byte each) { return each != std::byte{0}; });
    for (std::size_t done = 0; copied && done < bytes.size();) {
      const ssize_t n = ::pwrite(target, bytes.data() + done, bytes.size() - done, static_cast<off_t>(at + done));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return Failure{ErrorCode::kSystem, "cannot copy '" + path_ + "' into memory: " + std::strerror(errno)};
      done += static_cast<std::size_t>(n);
    }
    at = end;
  }
  const Sha256Digest digest = whole.finish();
  return Digests{digest, signed_part.value_or(digest)};
}

Result<void> PackageFile::find_manifest() {
  const Record* record = archive_.find(kManifestRecord);
  if (!record) return {};
  std::uint64_t most = kFreeManifest;
  for (const Record& each : archive_.records()) most += kMostPerRecord + kMostPerByte * each.name.size();
  if (record->size > most) {
    return damaged("has a manifest of " + std::to_string(record->size) + " bytes; expected at most " + std::to_string(most) +
                   " for a package of " + std::to_string(archive_.records().size()) + " records");
  }
  Result<std::string> text = read_checked(*record);
  if (!text) return std::move(text.failure());
  Result<PackageManifest> manifest = PackageManifest::parse(std::move(*text), archive_, path_);
  if (!manifest) return std::move(manifest.failure());
  manifest_ = std::move(*manifest);
  return {};
}

bool PackageFile::checks_weights() const {
  std::uint64_t weights = 0;
  for (const Record& record : archive_.records()) weights += record.is_mapped() ? record.stored_size : 0;
  return options_.check_weights.value_or(weights <= kSmallWeights);
}

Result<void> PackageFile::check(const std::function<bool(const Record&)>& which) const {
  if (options_.verify()) return {};
  for (const Record& record : archive_.records()) {
    if (!which(record)) continue;
    uLong checksum = crc32(0, nullptr, 0);
    const Result<void> done = read(record, [&](std::span<const std::byte> data) {
      checksum = crc32(checksum, reinterpret_cast<const Bytef*>(data.data()), static_cast<uInt>(data.size()));
      return Result<void>();
    });
    if (!done) return done;
    if (checksum != record.checksum) {
      return wrong_checksum(record);
    }
  }
  return {};
}

Result<std::string> PackageFile::read_checked(const Record& record) const {
  Result<std::string> data = read(record);
  if (!data || options_.verify()) return data;
  const uLong checksum = crc32_z(0, reinterpret_cast<const Bytef*>(data->data()), data->size());
  if (checksum != record.checksum) return wrong_checksum(record);
  return data;
}

Result<std::string> PackageFile::read(const Record& record) const {
  std::string data;
  // The table was checked against the file's size, so this much memory is in proportion to the file; a deflated record may lie.
  if (!record.deflated) data.reserve(static_cast<std::size_t>(record.size));
  const Result<void> done = read(record, [&](std::span<const std::byte> piece) {
    data.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    return Result<void>();
  });
  if (!done) return done.failure();
  return data;
}

Result<void> PackageFile::read(const Record& record, const Sink& sink) const {
  const int descriptor = record.is_mapped() ? weights() : contents();
  if (!record.deflated) return read_stored(descriptor, record, sink);
  Inflater inflater;
  std::uint64_t size = 0;
  const auto problem = [&](const char* what) { return damaged("is damaged: record '" + record.name + "' " + what); };
  const Sink count = [&](std::span<const std::byte> data) -> Result<void> {
    size += data.size();
    if (size > record.size) return problem("inflates to more bytes than the file says");
    return sink(data);
  };
  const Result<void> done =
      read_stored(descriptor, record, [&](std::span<const std::byte> data) { return inflater.add(data, count); });
  if (!done && done.failure().message.empty()) return problem("cannot be inflated");
  if (!done) return done;
  if (!inflater.ended() || size != record.size) return problem("inflates to fewer bytes than the file says");
  return {};
}

Result<void> PackageFile::read_stored(int descriptor, const Record& record, const Sink& sink) const {
  std::vector<std::byte> piece(static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, record.stored_size)));
  for (std::uint64_t done = 0; done < record.stored_size;) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), record.stored_size - done));
    const Result<std::size_t> size = read_at(descriptor, std::span(piece).first(wanted), record.offset + done, path_);
    if (!size) return size.failure();
    if (*size < wanted) return damaged("was cut off while it was in use: record '" + record.name + "' is not all there");
    if (Result<void> taken = sink(std::span(piece).first(wanted)); !taken) return taken;
    done += wanted;
  }
  return {};
}

Failure PackageFile::wrong_checksum(const Record& record) const {
  return damaged("is damaged: record '" + record.name + "' does not have the checksum that the file says (CRC-32)");
}

Failure PackageFile::damaged(const std::string& problem) const {
  return {ErrorCode::kInvalidPackage, "'" + path_ + "' " + problem};
}

}  // namespace deploy
