#include "lib/package/signing.h"

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>

#include "lib/package/byte_source.h"
#include "lib/support/file.h"

namespace deploy {

namespace {

constexpr std::string_view kMagic = "deploy-signature-1";
constexpr std::string_view kPrefix{"deploy package signature 1\0", 27};
constexpr std::size_t kKeySize = 32, kSignatureSize = 64;
constexpr std::string_view kPemStart = "-----BEGIN";
constexpr std::size_t kLargestKey = 64 << 10;

template <auto Function>
struct FreeWith {
  template <class T>
  void operator()(T* object) const {
    Function(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, FreeWith<EVP_PKEY_free>>;
using Bio = std::unique_ptr<BIO, FreeWith<BIO_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, FreeWith<EVP_MD_CTX_free>>;

std::string base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');  // EVP_EncodeBlock writes a zero after it
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                   reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(size));
  return out;
}

// Of exactly `size` bytes.
std::optional<std::string> from_base64(std::string_view text, std::size_t size) {
  if (text.size() != (size + 2) / 3 * 4) return std::nullopt;
  std::string out(text.size() / 4 * 3, '\0');
  const int decoded = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                      reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  out.resize(size);
  if (decoded < 0 || base64(out) != text) return std::nullopt;
  return out;
}

std::string signed_text(const Sha256Digest& digest) {
  return std::string(kPrefix) + std::string(reinterpret_cast<const char*>(digest.data()), digest.size());
}

// The PEM text of a key: `source` itself, or what is in the file of that name.
Result<std::string> key_text(const std::string& source, const std::string& name) {
  const auto no_key = [&](const std::string& problem) { return Failure{ErrorCode::kInvalidArgument, name + " " + problem}; };
  if (source.starts_with(kPemStart)) {
    if (source.size() > kLargestKey)
      return no_key("has " + std::to_string(source.size()) + " bytes; expected a PEM text of one key");
    return source;
  }
  if (const std::string problem = path_problem(source); !problem.empty()) return no_key(problem + "; expected a PEM file or text");
  Result<FileDescriptor> file = FileDescriptor::open(source);
  if (!file) return std::move(file.failure()).within(name);
  const Result<std::uint64_t> size = file->size();
  if (!size) return size.failure();
  if (*size > kLargestKey) return no_key("has " + std::to_string(*size) + " bytes; expected a PEM file of one key");
  std::string text(static_cast<std::size_t>(*size), '\0');
  if (Result<void> read = FileSource(file->get(), *size, source).read(0, std::as_writable_bytes(std::span(text))); !read) {
    return no_key("was changed while it was being read");
  }
  return text;
}

Result<Key> read_key(const std::string& source, bool is_private) {
  const std::string name = source.starts_with(kPemStart) ? "the key" : "key file " + quoted_path(source);
  const std::string kind = is_private ? "private" : "public";
  Result<std::string> text = key_text(source, name);
  if (!text) return std::move(text.failure());
  const Bio bio(BIO_new_mem_buf(text->data(), static_cast<int>(text->size())));
  Key key;
  if (bio) {
    // No prompt for a passphrase: an encrypted key is refused.
    const auto no_passphrase = [](char*, int, int, void*) { return -1; };
    key.reset(is_private ? PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr)
                         : PEM_read_bio_PUBKEY(bio.get(), nullptr, no_passphrase, nullptr));
  }
  ERR_clear_error();
  OPENSSL_cleanse(text->data(), text->size());
  if (!key) {
    return Failure{ErrorCode::kInvalidArgument, name + " has no " + kind +
                                                    " key in PEM form without a passphrase; expected what `openssl " +
                                                    (is_private ? "genpkey -algorithm ed25519`" : "pkey -pubout`") + " writes"};
  }
  if (EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_ED25519) {
    const char* type = EVP_PKEY_get0_type_name(key.get());
    return Failure{ErrorCode::kInvalidArgument,
                   name + " is a " + kind + " key of type " + (type ? type : "unknown") + "; expected ED25519"};
  }
  return key;
}

// Ed25519 (RFC 8032) names a point by its y coordinate, below p = 2^255 - 19, and one bit for x. Of the points, eight are of small
// order: for such a "key" a signature can be made that holds for any text, or one text in eight, by anybody. And a y of p or more
// is a second name of a point, by which the first could be got around. libcrypto takes both. The y coordinates of the eight,
// little-endian:
bool is_weak(std::string_view raw) {
  using Y = std::array<unsigned char, kKeySize>;
  static constexpr Y kOfOrder1 = {1}, kOfOrder4 = {};
  static constexpr Y kOfOrder8 = {0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
                                  0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05};
  static constexpr Y kAlsoOfOrder8 = {0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b,
                                      0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39,
                                      0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a};
  Y y;
  std::memcpy(y.data(), raw.data(), y.size());
  y.back() &= 0x7f;
  if (y == kOfOrder1 || y == kOfOrder4 || y == kOfOrder8 || y == kAlsoOfOrder8) return true;
  // p - 1, which is of order 2, and everything above it.
  return y.back() == 0x7f && y.front() >= 0xec &&
         std::all_of(y.begin() + 1, y.end() - 1, [](unsigned char each) { return each == 0xff; });
}

Result<std::string> name_of(const Key& key) {
  std::array<unsigned char, kKeySize> raw;
  std::size_t size = raw.size();
  if (EVP_PKEY_get_raw_public_key(key.get(), raw.data(), &size) != 1 || size != raw.size()) {
    return Failure{ErrorCode::kInternal, "libcrypto gives no public key of an Ed25519 key"};
  }
  return base64({reinterpret_cast<const char*>(raw.data()), raw.size()});
}

}  // namespace

Result<std::optional<PackageSignature>> PackageSignature::parse(std::string_view comment) {
  if (!comment.starts_with("deploy-signature-")) return std::optional<PackageSignature>();
  const std::size_t first = comment.find(' '), second = first == comment.npos ? first : comment.find(' ', first + 1);
  if (comment.substr(0, first) != kMagic) {
    return Failure{ErrorCode::kUntrusted,
                   "a signature of a kind that this version does not know; expected '" + std::string(kMagic) + "'"};
  }
  std::optional<std::string> key, signature;
  if (second != comment.npos) {
    key = from_base64(comment.substr(first + 1, second - first - 1), kKeySize);
    signature = from_base64(comment.substr(second + 1), kSignatureSize);
  }
  if (!key || !signature) return Failure{ErrorCode::kUntrusted, "a damaged signature"};
  return std::optional(PackageSignature{base64(*key), std::move(*signature)});
}

std::string PackageSignature::comment() const { return std::string(kMagic) + " " + public_key + " " + base64(signature); }

Result<PackageSignature> sign(const Sha256Digest& digest, const std::string& private_key) {
  const Result<Key> key = read_key(private_key, true);
  if (!key) return key.failure();
  Result<std::string> name = name_of(*key);
  if (!name) return std::move(name.failure());
  const std::string text = signed_text(digest);
  const DigestContext context(EVP_MD_CTX_new());
  std::string signature(kSignatureSize, '\0');
  std::size_t size = signature.size();
  if (!context || EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key->get()) != 1 ||
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
                     reinterpret_cast<const unsigned char*>(text.data()), text.size()) != 1 ||
      size != kSignatureSize) {
    ERR_clear_error();
    return Failure{ErrorCode::kInternal, "libcrypto does not sign with this key"};
  }
  return PackageSignature{std::move(*name), std::move(signature)};
}

bool holds(const PackageSignature& signature, const Sha256Digest& digest) {
  const std::optional<std::string> raw = from_base64(signature.public_key, kKeySize);
  if (!raw || is_weak(*raw)) return false;
  const Key key(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, reinterpret_cast<const unsigned char*>(raw->data()), raw->size()));
  const DigestContext context(EVP_MD_CTX_new());
  const std::string text = signed_text(digest);
  const bool good =
      key && context && EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
      EVP_DigestVerify(context.get(), reinterpret_cast<const unsigned char*>(signature.signature.data()),
                       signature.signature.size(), reinterpret_cast<const unsigned char*>(text.data()), text.size()) == 1;
  ERR_clear_error();
  return good;
}

Result<std::vector<std::string>> key_names(const std::vector<std::string>& public_keys) {
  std::vector<std::string> names;
  for (const std::string& source : public_keys) {
    const Result<Key> key = read_key(source, false);
    if (!key) return key.failure();
    Result<std::string> name = name_of(*key);
    if (!name) return std::move(name.failure());
    names.push_back(std::move(*name));
  }
  return names;
}

Result<void> check_trusted(const std::optional<PackageSignature>& signature, const Sha256Digest& digest,
                           const std::vector<std::string>& key_names, const std::string& path) {
  std::string keys;
  for (const std::string& name : key_names) keys.append(keys.empty() ? "" : ", ").append(name);
  const auto untrusted = [&](const std::string& problem) {
    return Failure{ErrorCode::kUntrusted, "package '" + path + "' " + problem};
  };
  if (!signature) return untrusted("is not signed; expected a signature by " + keys);
  // First the key: whether a stranger's signature holds is of no interest.
  if (std::ranges::find(key_names, signature->public_key) == key_names.end()) {
    return untrusted("is signed by key " + signature->public_key + ", which is not trusted; expected " + keys);
  }
  if (const auto raw = from_base64(signature->public_key, kKeySize); !raw || is_weak(*raw)) {
    return untrusted(
        "is signed by key " + signature->public_key +
        ", which cannot be trusted: it is of small order, or another spelling of a key, so that anybody can sign for it");
  }
  if (!holds(*signature, digest)) {
    return untrusted("is not what key " + signature->public_key + " signed: the file was changed after it was signed");
  }
  return {};
}

}  // namespace deploy
