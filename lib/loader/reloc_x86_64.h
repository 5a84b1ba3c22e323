#pragma once

#include <cstdint>
#include <cstring>

// The relocations of x86-64 shared objects (psABI x86-64 version 1.0, table 4.9), each by its formula. In the formulas
//
//   A  the addend (r_addend)                    P  the address of the place (bias + r_offset)
//   B  the bias of the library being relocated  S  the address of the symbol's definition
//   Z  the size of the symbol's definition
//   D  {module, offset in its TLS block} of a TLS definition
//   T  the distance of a TLS definition from the thread pointer
//
//   NONE        nothing
//   64          word64 = S + A               RELATIVE, RELATIVE64   word64 = B + A
//   GLOB_DAT    word64 = S                   JUMP_SLOT              word64 = S
//   PC64        word64 = S + A - P           PC32, PLT32            word32 = S + A - P      fails: does not fit a signed word32
//   32          word32 = S + A               fails: does not fit an unsigned word32
//   32S         word32 = S + A               fails: does not fit a signed word32
//   SIZE64      word64 = Z + A               SIZE32                 word32 = Z + A          fails: does not fit
//   DTPMOD64    word64 = D.module            DTPOFF64               word64 = D.offset + A
//   TPOFF64     word64 = T + A               fails: no static TLS left, or a module of the system that is not in static TLS
//   TLSDESC     two words: a function and its argument, for D + A or T + A
//   IRELATIVE   word64 = (B + A)()           run after all others: the resolver may call through the library's own PLT
//
// COPY occurs in executables only and is refused; every other number is unknown and refused. Undefined symbols fail in the
// resolver.
namespace deploy::loader::x86_64 {

// Writes through memcpy: a place need not be aligned.
inline void write64(std::uintptr_t place, std::uint64_t value) {
  std::memcpy(reinterpret_cast<void*>(place), &value, sizeof value);
}
inline void write32(std::uintptr_t place, std::uint32_t value) {
  std::memcpy(reinterpret_cast<void*>(place), &value, sizeof value);
}

inline bool write_signed32(std::uintptr_t place, std::uint64_t value) {
  const auto narrow = static_cast<std::int32_t>(value);
  if (static_cast<std::int64_t>(narrow) != static_cast<std::int64_t>(value)) return false;
  write32(place, static_cast<std::uint32_t>(narrow));
  return true;
}

inline bool write_unsigned32(std::uintptr_t place, std::uint64_t value) {
  if (value > 0xffffffffu) return false;
  write32(place, static_cast<std::uint32_t>(value));
  return true;
}

}  // namespace deploy::loader::x86_64
