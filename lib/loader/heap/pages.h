#pragma once

#include <cstddef>

// Address space and pages of a heap, from the system.
//
// mimalloc reserves a segment of 32 MiB and uses parts of it. Where Linux gives memory by its usual rule (vm.overcommit_memory 0,
// or 1), the segment is mapped readable and writable at once, and says that it reserves nothing (MAP_NORESERVE): to commit a part
// is no system call, and there are few mappings. Where every writable page counts (vm.overcommit_memory 2) a segment must not: it
// is mapped without access, and a part becomes writable as it is committed, which the system may refuse.
namespace deploy::loader {

inline constexpr std::size_t kPageSize = 4096;

inline std::size_t round_up(std::size_t size, std::size_t step) { return (size + step - 1) / step * step; }

struct Reservation {
  void* start = nullptr;  // null: the system refused
  bool strict = false;    // without access; each part needs commit_pages before its use
};

// Zero pages, aligned. `committed`: all of it is about to be used, and the system may refuse for that reason.
Reservation reserve_pages(std::size_t size, std::size_t alignment, bool committed);
// Of a strict reservation.
bool commit_pages(void* start, std::size_t size);
// The pages go back to the system; they are zero when they are next used.
bool decommit_pages(void* start, std::size_t size, bool strict);

}  // namespace deploy::loader
