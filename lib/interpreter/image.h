#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "lib/loader/namespace.h"
#include "lib/support/result.h"

namespace deploy {

// The embedded interpreter image (D4): the guest with CPython, the standard extension modules and the standard library. It is part
// of libdeploy's own read-only pages, and all interpreters are mapped from libdeploy's own file, so its text is one copy for the
// whole machine. Where that file cannot be opened again (mapped_from.h), the libraries are copied once, at the first use in the
// process, into a sealed memfd. Thread-safe.
class Image {
 public:
  // What to give to Namespace::load.
  static constexpr std::string_view kGuestPath = "<image>/libdeploy_guest.so";
  static constexpr std::string_view kAllocatorPath = "<image>/libdeploy_allocator.so";  // NamespaceOptions::allocator

  // The process's image. kSystem where a memfd is needed and cannot be made; a later call tries again.
  static Result<const Image*> get();

  // A library of the image by its path, "<image>/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so"; nothing where it is none. Suits
  // NamespaceOptions::embedded. The descriptor lives as long as the process.
  std::optional<loader::EmbeddedFile> find(std::string_view path) const;

  // The archive of the standard library, for deploy_boot.
  std::span<const std::byte> stdlib() const;

 private:
  Image(int fd, std::uint64_t offset) : fd_(fd), offset_(offset) {}
  int fd_;
  std::uint64_t offset_;  // of the image's libraries in fd_
};

}  // namespace deploy
