#include "lib/package/digest.h"

#include <openssl/evp.h>

#include <new>

namespace deploy {

namespace {

// libcrypto fails here for want of memory only.
void require(bool done) {
  if (!done) throw std::bad_alloc();
}

}  // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  require(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}

Sha256::Sha256(const Sha256& other) : context_(EVP_MD_CTX_new()) {
  require(context_ && EVP_MD_CTX_copy_ex(context_.get(), other.context_.get()) == 1);
}

void Sha256::add(std::span<const std::byte> data) { require(EVP_DigestUpdate(context_.get(), data.data(), data.size()) == 1); }

Sha256Digest Sha256::finish() {
  Sha256Digest digest;
  require(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) == 1);
  return digest;
}

std::string hex(const Sha256Digest& digest) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : digest) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

}  // namespace deploy
