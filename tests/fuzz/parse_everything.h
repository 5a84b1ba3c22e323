// What a fuzzer calls: every pure parser of the loader over the same bytes, and every lookup over what they accept.
#pragma once

#include <cstddef>
#include <span>

namespace deploy::loader {

// Whether the bytes are a library that the loader would map. Never reads outside `file`, which is aligned to 8 bytes.
bool parse_everything(std::span<const std::byte> file);

}  // namespace deploy::loader
