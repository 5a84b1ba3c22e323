#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace deploy {

using Sha256Digest = std::array<unsigned char, 32>;

// SHA-256 of what is added, piece by piece. Copyable: a copy goes on by itself.
class Sha256 {
 public:
  Sha256();
  Sha256(const Sha256& other);
  Sha256& operator=(const Sha256&) = delete;

  void add(std::span<const std::byte> data);
  void add(std::string_view text) { add(std::as_bytes(std::span(text.data(), text.size()))); }
  // Ends it: nothing may be added afterwards.
  Sha256Digest finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

// In lower-case hexadecimal digits.
std::string hex(const Sha256Digest& digest);

}  // namespace deploy
