#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/package/digest.h"
#include "lib/support/result.h"

// Ed25519 signatures of package files, see include/deploy/signature.h and docs/format.md. What is signed is a prefix of our own and
// the SHA-256 of the file up to its zip comment, so that a signature of ours means nothing elsewhere and a file of any size is read
// once.

namespace deploy {

// What a zip comment says: "deploy-signature-1 <public key> <signature>", both in base64.
struct PackageSignature {
  std::string public_key;  // base64, the key's name
  std::string signature;   // 64 raw bytes

  // The number of bytes of a comment.
  static constexpr std::size_t kCommentSize = 18 + 1 + 44 + 1 + 88;

  // nullopt: the comment is none of ours. A failure: it begins as one and is not.
  static Result<std::optional<PackageSignature>> parse(std::string_view comment);
  std::string comment() const;
};

// `private_key`: a PEM file's path or a PEM text. kInvalidArgument, kNotFound, kSystem.
Result<PackageSignature> sign(const Sha256Digest& digest, const std::string& private_key);

// Whether the signature is that of its own key over `digest`. Never for a key that anybody can sign for: one of small order, or one
// whose coordinate is not below the field's prime.
bool holds(const PackageSignature& signature, const Sha256Digest& digest);

// The base64 names of public keys, in order. kInvalidArgument, kNotFound, kSystem.
Result<std::vector<std::string>> key_names(const std::vector<std::string>& public_keys);

// kUntrusted where `signature` is missing, does not hold, is by none of the keys, or by one that anybody can sign for; `path` is
// for messages.
Result<void> check_trusted(const std::optional<PackageSignature>& signature, const Sha256Digest& digest,
                           const std::vector<std::string>& key_names, const std::string& path);

}  // namespace deploy
