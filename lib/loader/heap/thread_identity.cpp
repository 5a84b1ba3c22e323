#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "lib/loader/heap/heap.h"
#include "lib/loader/heap/pages.h"
#include "lib/loader/library.h"

// Who mimalloc takes a thread for.
//
// mimalloc gives each thread memory of its own, and a thread is to it the number at %fs:0: the address of the C library's record of
// the thread (psABI x86-64, 3.4.6 "Thread-Local Storage": the thread pointer). It compares that number with the owner of a block
// that is freed, and keeps it in each of its segments; it never follows it. So what one thread has freed nobody else can use while
// the thread lives, and 24 threads that call into an interpreter in turn hold 24 times what one of them needs.
//
// An interpreter's sessions come one after another. If they were one thread to mimalloc, they would need the memory of one. The
// number therefore becomes part of the state that the heaps exchange (heap_threads.cpp): it lies behind mimalloc's nine bytes, and
// goes with them to the next thread that enters the heap. In mimalloc's code, which is a private copy of each namespace, the
// instructions that read %fs:0 are changed to read it there. Nothing else of them changes, since the distance from the thread
// pointer is a part of the instruction:
//
//   64 48 8b 04 25 00 00 00 00   mov %fs:0,%rax   ->   64 48 8b 04 25 .. .. .. ..   mov %fs:OFFSET,%rax
//
// A compiler reads %fs:0 for another purpose as well: to compute the address of a thread-local variable, by adding its distance,
// which then comes out of the GOT. mimalloc 2.0.9 as distributed never does. Where an instruction of the library adds such a
// distance, or uses %fs:0 in a way that is not known here, all is left as it is; each thread then keeps its own memory until it
// ends.

namespace deploy::loader {

namespace {

constexpr unsigned char kOfSegmentFs = 0x64, kMove = 0x8b, kCompare = 0x3b, kSubtract = 0x2b, kExclusiveOr = 0x33, kAdd = 0x03;

struct Code {
  unsigned char* start;
  std::size_t size;
};

// At `at` an instruction with a 64-bit operand at %fs:0 (REX.W, ModRM and SIB that say: the distance alone).
bool uses_thread_pointer(const unsigned char* at) {
  static constexpr unsigned char kZero[4] = {};
  return at[0] == kOfSegmentFs && (at[1] & 0xfb) == 0x48 && (at[3] & 0xc7) == 0x04 && at[4] == 0x25 &&
         std::memcmp(at + 5, kZero, sizeof kZero) == 0;
}

// At `at` an instruction that adds a distance of the thread state from the GOT (REX.W 03 /r, relative to %rip).
bool adds_distance(const unsigned char* at, const Library& library, StaticTls state) {
  if ((at[0] & 0xfb) != 0x48 || at[1] != kAdd || (at[2] & 0xc7) != 0x05) return false;
  std::int32_t relative;
  std::memcpy(&relative, at + 3, sizeof relative);
  const std::uintptr_t slot = reinterpret_cast<std::uintptr_t>(at) + 7 + static_cast<std::uintptr_t>(std::int64_t{relative});
  if (slot % sizeof(std::int64_t) != 0 || !library.contains(slot) || !library.contains(slot + 7)) return false;
  std::int64_t value;
  std::memcpy(&value, reinterpret_cast<const void*>(slot), sizeof value);
  return value >= state.offset && value < state.offset + static_cast<std::int64_t>(state.size);
}

// The places of the distances to change; none where one of them is not understood.
std::vector<unsigned char*> places_in(const Code& code, const Library& library, StaticTls state) {
  std::vector<unsigned char*> places;
  constexpr std::size_t kLength = 9;
  for (unsigned char* at = code.start; at + kLength <= code.start + code.size; ++at) {
    if (adds_distance(at, library, state)) return {};
    if (!uses_thread_pointer(at)) continue;
    const unsigned char operation = at[2];
    if (operation != kMove && operation != kCompare && operation != kSubtract && operation != kExclusiveOr) return {};
    places.push_back(at + 5);
    at += kLength - 1;
  }
  return places;
}

}  // namespace

bool give_threads_an_identity(const Library& library, StaticTls state, std::int64_t distance) {
  const auto identity = static_cast<std::int32_t>(distance);
  bool done = false;
  for (const Segment& segment : library.image.segments) {
    if ((segment.protection & PROT_EXEC) == 0) continue;
    const Code code{reinterpret_cast<unsigned char*>(library.address(segment.vaddr)), segment.file_size};
    const std::vector<unsigned char*> places = places_in(code, library, state);
    if (places.empty()) return false;
    const std::uintptr_t begin = library.address(segment.vaddr) & ~(kPageSize - 1);
    const std::size_t size = round_up(library.address(segment.vaddr) + segment.memory_size - begin, kPageSize);
    if (::mprotect(reinterpret_cast<void*>(begin), size, segment.protection | PROT_WRITE) != 0) return false;
    for (unsigned char* place : places) std::memcpy(place, &identity, sizeof identity);
    ::mprotect(reinterpret_cast<void*>(begin), size, segment.protection);
    done = true;
  }
  return done;
}

}  // namespace deploy::loader
