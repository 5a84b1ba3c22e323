#pragma once

#include <elf.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace deploy::loader {

// What relocating one library comes to once every reference is resolved
//
// Nearly every relocation of x86-64 (reloc_x86_64.h) is a word64 whose value is a base plus a number that the file determines: the
// bias of the library that defines the symbol plus st_value and addend, a TLS module, an address outside the namespace plus the
// addend. A library has 300,000 such words and a handful of bases; from one namespace to the next only the bases change. So a
// library is relocated in two steps. The first (record.cpp) reads the tables, checks every place, resolves every symbol and
// writes a program. The second (relocate.cpp) finds the bases and runs it. Every further namespace takes the second step alone,
// and touches neither symbol table, hash table nor string.
//
// Two thirds of a large library's relocations need no symbol (RELATIVE), and a linker puts them in front of all others. They are
// not written down: the file's own table, whose pages are clean and shared, is a program for them.
//
// Places and numbers are kept in 32 bits. What does not fit, is narrower than a word, needs the library's own memory (TLS
// descriptors), or waits for a resolver function, is kept as the relocation that it is, with what its symbol is bound to.

// What is added to the numbers of a program.
struct ProgramBase {
  enum Kind : std::uint8_t {
    kZero,
    kLibrary,    // the bias of a library of the scope
    kTlsModule,  // its TLS module
    kOutside,    // the address of a symbol that no library of the scope defines: of the host, of the system, or none
    kFixed,      // such an address that is the same in every namespace
    kLookedUp,   // the address of a symbol that has to be looked up in full: an earlier load defines it (a unique symbol)
  };
  Kind kind = kZero;
  std::uint32_t index = 0;  // in the scope; kOutside, kLookedUp: in the relocated library's symbol table
  std::uintptr_t fixed = 0;
};

// What the answers of the system's loader depend on: what it has opened and closed, and which of its libraries the asking one may
// use. A library that is only made global meanwhile (RTLD_NOLOAD | RTLD_GLOBAL) goes unnoticed.
struct SystemState {
  unsigned long long opened = 0, closed = 0;  // libraries ever, in the whole process
  std::vector<void*> handles;
  bool private_heap = false;                                // malloc and its like are not asked of it
  std::vector<std::pair<std::string, void*>> host_symbols;  // nor what the host defines
  bool operator==(const SystemState&) const = default;
};

// The addresses that the system's loader gave for the bases outside the namespace the last time; 0 for other bases. Thread-safe.
class SystemAnswers {
 public:
  using Addresses = std::vector<std::uintptr_t>;  // by base
  // Null where the state is another one now.
  std::shared_ptr<const Addresses> find(const SystemState& state) const;
  void keep(SystemState state, Addresses addresses) const;

 private:
  // Guarded by one lock for all, in relocation_program.cpp.
  mutable SystemState state_;
  mutable std::shared_ptr<const Addresses> addresses_;
};

// What a symbol of the relocated library is bound to: symbol `symbol` of library `library` of the scope.
struct RecordedBinding {
  static constexpr std::uint32_t kUnknown = 0xffffffff;  // to be looked up
  static constexpr std::uint32_t kOutside = 0xfffffffe;  // no library of the scope defines it
  std::uint32_t library = kUnknown, symbol = 0;
};

// A definition of a unique symbol (STB_GNU_UNIQUE), with the GNU hash of its name.
struct RecordedUnique {
  std::uint32_t library = 0, symbol = 0, hash = 0;
};

struct SpecialRelocation {
  Elf64_Rela relocation;
  RecordedBinding binding;  // of its symbol
};

class RelocationProgram {
 public:
  std::vector<ProgramBase> bases;
  std::vector<SpecialRelocation> specials;  // after all words
  std::vector<RecordedUnique> uniques;      // what the words rest on
  std::set<std::uint32_t> bound;            // the scope's libraries, by index, that any reference is bound to
  SystemAnswers answers;
  std::uint64_t relatives = 0;  // relocations of DT_RELA, from its first one on, that are RELATIVE: before all words

  // The word at `place` is to be base plus `number`; with `in_row` the last place plus 8 is likely to be the next one. False where
  // one of them does not fit. Every place is checked before it is added. `expected` words are still to come, this one included.
  bool add(std::uint32_t base, std::uint64_t place, std::uint64_t number, bool in_row, std::uint64_t expected) {
    if ((place | number) > 0xffffffff) return false;
    if (base != base_ || in_row != in_row_ || (in_row && place != next_) || end_ - at_ < 2)
      begin_group(base, static_cast<std::uint32_t>(place), in_row, expected);
    if (!in_row) *at_++ = static_cast<std::uint32_t>(place);
    *at_++ = static_cast<std::uint32_t>(number);
    next_ = place + 8;
    ++*count_;
    return true;
  }

  void finish();

  // Writes all words; `values` are those of the bases.
  void run(std::uintptr_t bias, const std::vector<std::uintptr_t>& values) const;

 private:
  // Groups of words, one after another; a group does not cross from one block into the next. A group has a head of three cells:
  // base times 2, plus 1 for words in a row; count; the first place. Then, for words in a row, as vtables and jump slots are, come
  // their numbers; for others, place and number of each.
  struct Block {
    std::unique_ptr<std::uint32_t[]> cells;
    std::size_t used = 0;
  };
  void begin_group(std::uint32_t base, std::uint32_t place, bool in_row, std::uint64_t expected);

  std::vector<Block> blocks_;
  // The open group, and where the next cell of its block goes.
  std::uint32_t base_ = 0xffffffff;
  bool in_row_ = false;
  std::uint64_t next_ = 0;
  std::uint32_t *at_ = nullptr, *end_ = nullptr, *count_ = nullptr;
};

}  // namespace deploy::loader
