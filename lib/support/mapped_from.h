#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "lib/support/file.h"

namespace deploy {

// A place in a file.
struct FilePlace {
  FileDescriptor file;
  std::uint64_t offset = 0;
};

// Where the bytes of a read-only segment of this program or of one of its libraries lie in their file, which is opened anew.
// Nothing where that cannot be told for certain: there is no /proc, the memory is no file's or more than one mapping, or the path
// leads to another file by now (an upgrade, another root).
std::optional<FilePlace> mapped_from(std::span<const std::byte> memory);

}  // namespace deploy
