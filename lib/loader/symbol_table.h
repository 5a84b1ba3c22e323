#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "lib/loader/dynamic.h"

namespace deploy::loader {

// The hash functions of the two symbol hash tables: GNU's (Bernstein's, as in the GNU binutils' DT_GNU_HASH) and System V's (gABI
// chapter 5).
std::uint32_t gnu_hash(std::string_view name);
std::uint32_t sysv_hash(std::string_view name);

// A name to look up, with its hashes computed once for a whole scope.
struct SymbolName {
  explicit SymbolName(std::string_view name) : text(name), hash(gnu_hash(name)) {}
  SymbolName(std::string_view name, std::uint32_t hash) : text(name), hash(hash) {}
  std::string_view text;
  std::uint32_t hash;
  std::string_view version = {};  // empty: any default version
  bool prefers_oldest = false;    // a reference without a version, not dlsym: see find()
};

// A version that a reference asks for (DT_VERNEED): "GLIBC_2.2.5" of "libc.so.6".
struct VersionNeed {
  std::string_view version, file;
  bool weak = false;
};

// How large the tables are, which only a walk through a hash table tells.
struct SymbolExtent {
  std::uint64_t symbols = 0, chains = 0;  // entries of the symbol table, of DT_GNU_HASH's chains
};

// A library's dynamic symbols, their hash table and versions: views into `bytes`, which must outlive it. Tables and
// chains are checked when it is created; a name's offset when it is read, since most are never read.
class SymbolTable {
 public:
  // `known`: extent() of a table that was created from the same bytes; nothing is walked then.
  static Result<SymbolTable> create(const DynamicTable& dynamic, const ImageBytes& bytes, const SymbolExtent* known = nullptr);

  SymbolExtent extent() const { return {symbols_.size(), gnu_.chains.size()}; }

  std::span<const Elf64_Sym> symbols() const { return symbols_; }
  // Empty where the name lies outside the string table.
  std::string_view name(const Elf64_Sym& symbol) const;
  // The name of symbols()[index] with its hash, made in one pass.
  SymbolName hashed_name(std::size_t index) const;

  // The definition that a reference to `name` binds to in this library, or null. Symbol versioning as in the LSB, "Symbol
  // Versioning": a version must match exactly; without one the default (not hidden) definition is taken. A relocation without a
  // version comes from a library that was linked before this one had versions, so it gets the first version that this one defines,
  // hidden or not.
  const Elf64_Sym* find(const SymbolName& name) const;

  // Whether find() could find a name whose hash is `hash` or differs from it in the lowest bit only. Errs on the side of yes.
  bool may_define(std::uint32_t hash) const {
    if (gnu_.bucket_count == 0) return true;
    for (const std::uint32_t h : {hash & ~1u, hash | 1u}) {
      const std::uint64_t word = gnu_.bloom[(h / 64) & (gnu_.bloom_count - 1)];
      if ((word >> (h % 64)) & (word >> ((h >> (gnu_.bloom_shift & 31)) % 64)) & 1) return true;
    }
    return false;
  }

  // The hash of the defined symbol symbols()[index], lowest bit lost, as its hash chain has it: for a default definition only, one
  // that find() with the reference's own version would give.
  std::optional<std::uint32_t> stored_hash(std::size_t index) const {
    if (gnu_.bucket_count == 0 || index < gnu_.first_symbol || index - gnu_.first_symbol >= gnu_.chains.size()) return std::nullopt;
    const Elf64_Sym& symbol = symbols_[index];
    if (symbol.st_shndx == SHN_UNDEF || (symbol.st_value == 0 && symbol.st_shndx != SHN_ABS)) return std::nullopt;
    // Without version definitions every definition is a default one.
    if (!definitions_.empty() && index < version_indices_.size()) {
      if ((version_indices_[index] & kHiddenVersion) != 0 || version_indices_[index] == VER_NDX_LOCAL) return std::nullopt;
    }
    return gnu_.chains[index - gnu_.first_symbol] & ~1u;
  }

  // Fetches what stored_hash(index) will look at into the processor's cache.
  void prefetch(std::size_t index) const {
    if (index >= symbols_.size()) return;
    __builtin_prefetch(&symbols_[index]);
    if (index - gnu_.first_symbol < gnu_.chains.size()) __builtin_prefetch(&gnu_.chains[index - gnu_.first_symbol]);
    if (index < version_indices_.size()) __builtin_prefetch(&version_indices_[index]);
  }

  // What the reference symbols()[index] asks for; empty version where it asks for none.
  VersionNeed version_need(std::size_t index) const;

 private:
  static constexpr std::uint16_t kHiddenVersion = 0x8000;  // VERSYM_HIDDEN

  struct GnuHash {
    std::uint32_t bucket_count = 0, first_symbol = 0, bloom_count = 0, bloom_shift = 0;
    std::span<const std::uint64_t> bloom;
    std::span<const std::uint32_t> buckets, chains;
  };
  struct SysvHash {
    std::span<const std::uint32_t> buckets, chains;
  };

  Result<void> read_hash_tables(const DynamicTable& dynamic, const ImageBytes& bytes, const SymbolExtent* known,
                                std::uint64_t& symbol_count);
  Result<void> read_gnu_hash(const ImageBytes& bytes, std::uint64_t vaddr, const SymbolExtent* known, std::uint64_t& symbol_count);
  Result<std::uint64_t> walk_gnu_chains(std::span<const std::uint32_t> chains) const;
  Result<void> read_sysv_hash(const ImageBytes& bytes, std::uint64_t vaddr, std::uint64_t& symbol_count);
  Result<void> read_versions(const DynamicTable& dynamic, const ImageBytes& bytes);
  Result<void> read_version_needs(const DynamicTable& dynamic, const ImageBytes& bytes);
  Result<void> read_version_definitions(const DynamicTable& dynamic, const ImageBytes& bytes);
  std::optional<std::string_view> text(std::uint64_t offset) const;
  bool defines(std::size_t index, const SymbolName& name) const;

  std::span<const Elf64_Sym> symbols_;
  std::string_view strings_;
  GnuHash gnu_;
  SysvHash sysv_;
  std::span<const std::uint16_t> version_indices_;
  std::vector<VersionNeed> needs_;             // by version index
  std::vector<std::string_view> definitions_;  // by version index
};

}  // namespace deploy::loader
