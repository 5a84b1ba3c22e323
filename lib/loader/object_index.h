#pragma once

#include <cstdint>

namespace deploy::loader {

struct Library;

// The process-wide map from an address to the private library that holds it: the unwinder asks it for every frame of every
// throw, dlopen for the namespace of its caller. Readers take no lock, never wait for a writer, and may be signal handlers.
struct IndexedObject {
  std::uintptr_t start = 0, end = 0;
  std::uintptr_t eh_frame_header = 0;  // 0: none
  Library* library = nullptr;
};

// Thread-safe. An object must be removed before its memory is unmapped.
void index_add(const IndexedObject& object);
void index_remove(std::uintptr_t start);

// False where no private library holds `address`.
bool index_find(std::uintptr_t address, IndexedObject& found);

}  // namespace deploy::loader
