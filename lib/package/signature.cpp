#include "deploy/signature.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "deploy/manifest.h"
#include "lib/package/package_file.h"
#include "lib/package/signing.h"

// What concerns package files alone and needs no interpreter.

namespace deploy {

namespace {

// The digest of the file's bytes up to its comment, the comment's length being `comment_size`.
Result<Sha256Digest> digest_of(int descriptor, const std::string& path, std::uint64_t end, std::uint16_t comment_size) {
  Sha256 digest;
  std::vector<std::byte> piece(1 << 20);
  for (std::uint64_t at = 0; at < end;) {
    const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), end - at));
    if (Result<void> read = FileSource(descriptor, end, path).read(at, std::span(piece).first(wanted)); !read) {
      return std::move(read.failure());
    }
    for (std::uint64_t i = 0; i < 2; ++i) {  // the last two bytes are the length
      if (end - 2 + i >= at && end - 2 + i < at + wanted) {
        piece[static_cast<std::size_t>(end - 2 + i - at)] = static_cast<std::byte>(comment_size >> 8 * i);
      }
    }
    digest.add(std::span(piece).first(wanted));
    at += wanted;
  }
  return digest.finish();
}

Result<void> write_comment(const std::string& path, std::uint64_t end, std::string_view comment) {
  const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  const unsigned char size[2] = {static_cast<unsigned char>(comment.size()), static_cast<unsigned char>(comment.size() >> 8)};
  // The length last: until it is written the file is the unsigned one, or no zip file.
  const auto at = static_cast<off_t>(end);
  if (!file.valid() || ::pwrite(file.get(), comment.data(), comment.size(), at) != static_cast<ssize_t>(comment.size()) ||
      ::ftruncate(file.get(), at + static_cast<off_t>(comment.size())) != 0 || ::pwrite(file.get(), size, 2, at - 2) != 2) {
    return Failure{ErrorCode::kSystem, "cannot write the signature into '" + path + "': " + std::strerror(errno)};
  }
  return {};
}

}  // namespace

std::string sign_package(const std::string& path, const std::string& private_key) {
  const PackageFile file = PackageFile::open(path).value();
  const std::uint64_t end = file.archive().comment_offset();
  const Sha256Digest digest = digest_of(file.contents(), path, end, PackageSignature::kCommentSize).value();
  const PackageSignature signature = sign(digest, private_key).value();
  write_comment(path, end, signature.comment()).value();
  return signature.public_key;
}

std::optional<std::string> package_signer(const std::string& path) {
  const PackageFile file = PackageFile::open(path).value();
  const std::string& comment = file.archive().comment();
  Result<std::optional<PackageSignature>> parsed = PackageSignature::parse(comment);
  if (!parsed) std::move(parsed.failure()).within("package '" + path + "'").raise();
  const std::optional<PackageSignature>& signature = *parsed;
  if (!signature) return std::nullopt;
  const Sha256Digest digest =
      digest_of(file.contents(), path, file.archive().comment_offset(), static_cast<std::uint16_t>(comment.size())).value();
  check_trusted(signature, digest, {signature->public_key}, path).value();
  return signature->public_key;
}

std::string verify_package(const std::string& path, const std::vector<std::string>& trusted_keys) {
  if (trusted_keys.empty()) throw Error(ErrorCode::kInvalidArgument, "verify_package needs at least one key that is trusted");
  const PackageFile file = PackageFile::open(path, {.trusted_keys = trusted_keys}).value();
  return PackageSignature::parse(file.archive().comment()).value()->public_key;
}

std::optional<Manifest> read_manifest(const std::string& path) {
  const PackageFile file = PackageFile::open(path).value();
  if (!file.manifest()) return std::nullopt;
  return file.manifest()->manifest;
}

}  // namespace deploy
