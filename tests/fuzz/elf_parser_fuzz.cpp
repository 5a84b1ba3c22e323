#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/fuzz/parse_everything.h"

// The libFuzzer target over the loader's parsers. Built by anything but clang -fsanitize=fuzzer it replays files and folders
// instead (replay_main.cpp).
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::byte> aligned(size);  // its own allocation, so that a sanitizer sees every byte beyond
  if (size != 0) std::memcpy(aligned.data(), data, size);
  deploy::loader::parse_everything(aligned);
  return 0;
}
