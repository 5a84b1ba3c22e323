#include "lib/package/signing.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

namespace deploy {

namespace {

constexpr std::string_view kMagic = "deploy-signature-1";
constexpr std::string_view kPrefix{"deploy package signature 1\0", 27};
constexpr std::size_t kKeySize = 32, kSignatureSize = 64;

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

Result<Key> read_key(const std::string& source, bool is_private) {
  const bool is_text = source.starts_with("-----BEGIN");
  const std::string name = is_text ? "the key" : "key file '" + source + "'";
  const std::string kind = is_private ? "private" : "public";
  Bio bio(is_text ? BIO_new_mem_buf(source.data(), static_cast<int>(source.size())) : BIO_new_file(source.c_str(), "r"));
  Key key;
  if (bio) {
    // No prompt for a passphrase: an encrypted key is refused.
    const auto no_passphrase = [](char*, int, int, void*) { return -1; };
    key.reset(is_private ? PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr)
                         : PEM_read_bio_PUBKEY(bio.get(), nullptr, no_passphrase, nullptr));
  }
  ERR_clear_error();
  if (!bio) return Failure{ErrorCode::kNotFound, name + " cannot be opened"};
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
  if (!raw) return false;
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
  if (!holds(*signature, digest)) {
    return untrusted("is not what key " + signature->public_key + " signed: the file was changed after it was signed");
  }
  return {};
}

}  // namespace deploy
