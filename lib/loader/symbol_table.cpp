#include "lib/loader/symbol_table.h"

#include <algorithm>
#include <cstring>

namespace deploy::loader {

namespace {

constexpr std::uint16_t kIndexMask = 0x7fff;

Failure malformed(std::string what) { return {ErrorCode::kLoader, "malformed symbol table: " + std::move(what)}; }

}  // namespace

std::uint32_t gnu_hash(std::string_view name) {
  std::uint32_t h = 5381;
  for (unsigned char c : name) h = h * 33 + c;
  return h;
}

std::uint32_t sysv_hash(std::string_view name) {
  std::uint32_t h = 0;
  for (unsigned char c : name) {
    h = (h << 4) + c;
    const std::uint32_t high = h & 0xf0000000;
    h ^= high >> 24;
    h &= ~high;
  }
  return h;
}

Result<SymbolTable> SymbolTable::create(const DynamicTable& dynamic, const ImageBytes& bytes, const SymbolExtent* known) {
  SymbolTable table;
  auto strings = bytes.at(dynamic.strings, dynamic.strings_size);
  if (!strings) return malformed("the string table lies outside the segments");
  table.strings_ = {reinterpret_cast<const char*>(strings->data()), strings->size()};
  std::uint64_t count = 0;
  if (auto read = table.read_hash_tables(dynamic, bytes, known, count); !read) return read.failure();
  auto symbols = bytes.array<Elf64_Sym>(dynamic.symbols, std::max<std::uint64_t>(count, 1));
  if (!symbols) return malformed(std::to_string(count) + " symbols do not fit into the segment");
  table.symbols_ = *symbols;
  if (auto read = table.read_versions(dynamic, bytes); !read) return read.failure();
  return table;
}

Result<void> SymbolTable::read_hash_tables(const DynamicTable& dynamic, const ImageBytes& bytes, const SymbolExtent* known,
                                           std::uint64_t& count) {
  if (dynamic.gnu_hash != 0) {
    if (auto read = read_gnu_hash(bytes, dynamic.gnu_hash, known, count); !read) return read.failure();
  }
  if (dynamic.sysv_hash != 0) {
    if (auto read = read_sysv_hash(bytes, dynamic.sysv_hash, count); !read) return read.failure();
  }
  if (dynamic.gnu_hash == 0 && dynamic.sysv_hash == 0) return malformed("neither DT_GNU_HASH nor DT_HASH");
  if (known) {
    count = known->symbols;
    return {};
  }
  // The dynamic section does not say how many symbols there are. A GNU hash table covers only the defined ones, which stand at the
  // end; of a library that defines nothing, only the relocations tell.
  const bool defines_nothing = count <= gnu_.first_symbol && dynamic.sysv_hash == 0;
  for (const AddressRange& range : {dynamic.relocations, dynamic.plt_relocations}) {
    auto relocations = bytes.array<Elf64_Rela>(range.vaddr, range.size / sizeof(Elf64_Rela));
    if (!defines_nothing || range.size == 0 || !relocations) continue;
    for (const Elf64_Rela& r : *relocations) count = std::max<std::uint64_t>(count, ELF64_R_SYM(r.r_info) + std::uint64_t{1});
  }
  return {};
}

// Layout: four 32-bit words (buckets, index of the first hashed symbol, Bloom words, Bloom shift), 64-bit Bloom words, buckets,
// then one chain word a hashed symbol: its hash, with the lowest bit set at the end of a chain.
Result<void> SymbolTable::read_gnu_hash(const ImageBytes& bytes, std::uint64_t vaddr, const SymbolExtent* known,
                                        std::uint64_t& symbol_count) {
  auto head = bytes.array<std::uint32_t>(vaddr, 4);
  if (!head || vaddr % 8 != 0) return malformed("DT_GNU_HASH outside the segments");
  gnu_.bucket_count = (*head)[0], gnu_.first_symbol = (*head)[1], gnu_.bloom_count = (*head)[2], gnu_.bloom_shift = (*head)[3];
  if (gnu_.bloom_count == 0 || (gnu_.bloom_count & (gnu_.bloom_count - 1)) != 0 || gnu_.bucket_count == 0) {
    return malformed("DT_GNU_HASH with " + std::to_string(gnu_.bloom_count) + " Bloom words and " +
                     std::to_string(gnu_.bucket_count) + " buckets");
  }
  const std::uint64_t bloom_at = vaddr + 16, buckets_at = bloom_at + gnu_.bloom_count * std::uint64_t{8};
  const std::uint64_t chains_at = buckets_at + gnu_.bucket_count * std::uint64_t{4};
  auto bloom = bytes.array<std::uint64_t>(bloom_at, gnu_.bloom_count);
  auto buckets = bytes.array<std::uint32_t>(buckets_at, gnu_.bucket_count);
  if (!bloom || !buckets) return malformed("DT_GNU_HASH is cut off");
  gnu_.bloom = *bloom, gnu_.buckets = *buckets;
  const auto rest = bytes.tail(chains_at);
  const std::span<const std::uint32_t> chains(reinterpret_cast<const std::uint32_t*>(rest.data()), rest.size() / 4);
  auto count = known ? Result<std::uint64_t>(known->chains) : walk_gnu_chains(chains);
  if (!count) return count.failure();
  if (*count > chains.size()) return malformed("a DT_GNU_HASH chain without an end");
  gnu_.chains = chains.first(*count);
  symbol_count = std::max(symbol_count, gnu_.first_symbol + *count);
  return {};
}

// Chains lie one after another, so the table ends with the chain of the bucket that starts last; and every walk ends there at the
// latest.
Result<std::uint64_t> SymbolTable::walk_gnu_chains(std::span<const std::uint32_t> chains) const {
  std::uint32_t last = 0;
  for (std::uint32_t first : gnu_.buckets) {
    if (first != 0 && first < gnu_.first_symbol) return malformed("a DT_GNU_HASH bucket before the first hashed symbol");
    last = std::max(last, first);
  }
  if (last == 0) return std::uint64_t{0};
  for (std::uint64_t at = last - gnu_.first_symbol; at < chains.size(); ++at) {
    if (chains[at] & 1) return at + 1;
  }
  return malformed("a DT_GNU_HASH chain without an end");
}

Result<void> SymbolTable::read_sysv_hash(const ImageBytes& bytes, std::uint64_t vaddr, std::uint64_t& symbol_count) {
  auto head = bytes.array<std::uint32_t>(vaddr, 2);
  if (!head) return malformed("DT_HASH outside the segments");
  auto buckets = bytes.array<std::uint32_t>(vaddr + 8, (*head)[0]);
  auto chains = bytes.array<std::uint32_t>(vaddr + 8 + (*head)[0] * std::uint64_t{4}, (*head)[1]);
  if (!buckets || !chains || buckets->empty()) return malformed("DT_HASH is cut off");
  for (std::span<const std::uint32_t> links : {*buckets, *chains}) {
    for (std::uint32_t link : links) {
      if (link >= chains->size()) return malformed("a DT_HASH link outside its table");
    }
  }
  sysv_ = {*buckets, *chains};
  symbol_count = std::max<std::uint64_t>(symbol_count, chains->size());
  return {};
}

std::optional<std::string_view> SymbolTable::text(std::uint64_t offset) const {
  if (offset >= strings_.size()) return std::nullopt;
  return std::string_view(strings_.data() + offset);  // the table ends with a zero byte (DynamicTable::parse)
}

Result<void> SymbolTable::read_versions(const DynamicTable& dynamic, const ImageBytes& bytes) {
  if (dynamic.version_symbols == 0) return {};
  auto indices = bytes.array<std::uint16_t>(dynamic.version_symbols, symbols_.size());
  if (!indices) return malformed("DT_VERSYM is shorter than the symbol table");
  version_indices_ = *indices;
  if (auto read = read_version_needs(dynamic, bytes); !read) return read.failure();
  return read_version_definitions(dynamic, bytes);
}

Result<void> SymbolTable::read_version_needs(const DynamicTable& dynamic, const ImageBytes& bytes) {
  std::uint64_t at = dynamic.version_needs;
  for (std::uint64_t i = 0; i < dynamic.version_need_count && at != 0; ++i) {
    auto need = bytes.array<Elf64_Verneed>(at, 1);
    if (!need) return malformed("DT_VERNEED outside the segments");
    const auto file = text((*need)[0].vn_file);
    if (!file) return malformed("a version names a file outside the string table");
    std::uint64_t aux_at = at + (*need)[0].vn_aux;
    for (unsigned j = 0; j < (*need)[0].vn_cnt; ++j) {
      auto aux = bytes.array<Elf64_Vernaux>(aux_at, 1);
      if (!aux) return malformed("DT_VERNEED outside the segments");
      const auto version = text((*aux)[0].vna_name);
      if (!version) return malformed("a version's name lies outside the string table");
      const std::size_t index = (*aux)[0].vna_other & kIndexMask;
      if (needs_.size() <= index) needs_.resize(index + 1);
      needs_[index] = {*version, *file, ((*aux)[0].vna_flags & VER_FLG_WEAK) != 0};
      if ((*aux)[0].vna_next == 0) break;
      aux_at += (*aux)[0].vna_next;
    }
    if ((*need)[0].vn_next == 0) break;
    at += (*need)[0].vn_next;
  }
  return {};
}

Result<void> SymbolTable::read_version_definitions(const DynamicTable& dynamic, const ImageBytes& bytes) {
  std::uint64_t at = dynamic.version_definitions;
  for (std::uint64_t i = 0; i < dynamic.version_definition_count && at != 0; ++i) {
    auto definition = bytes.array<Elf64_Verdef>(at, 1);
    if (!definition) return malformed("DT_VERDEF outside the segments");
    auto aux = bytes.array<Elf64_Verdaux>(at + (*definition)[0].vd_aux, 1);
    if (!aux) return malformed("DT_VERDEF outside the segments");
    const auto version = text((*aux)[0].vda_name);
    if (!version) return malformed("a version's name lies outside the string table");
    const std::size_t index = (*definition)[0].vd_ndx & kIndexMask;
    if (definitions_.size() <= index) definitions_.resize(index + 1);
    // The base definition names the library itself, no version.
    if (((*definition)[0].vd_flags & VER_FLG_BASE) == 0) definitions_[index] = *version;
    if ((*definition)[0].vd_next == 0) break;
    at += (*definition)[0].vd_next;
  }
  return {};
}

std::string_view SymbolTable::name(const Elf64_Sym& symbol) const {
  return symbol.st_name < strings_.size() ? std::string_view(strings_.data() + symbol.st_name) : std::string_view("", 0);
}

SymbolName SymbolTable::hashed_name(std::size_t index) const {
  if (symbols_[index].st_name >= strings_.size()) return SymbolName(std::string_view("", 0), gnu_hash({}));
  const char* begin = strings_.data() + symbols_[index].st_name;
  std::uint32_t h = 5381;
  const char* end = begin;
  for (; *end != '\0'; ++end) h = h * 33 + static_cast<unsigned char>(*end);
  return SymbolName({begin, static_cast<std::size_t>(end - begin)}, h);
}

VersionNeed SymbolTable::version_need(std::size_t index) const {
  if (index >= version_indices_.size()) return {};
  const std::size_t version = version_indices_[index] & kIndexMask;
  if (version < needs_.size() && !needs_[version].version.empty()) return needs_[version];
  if (version < definitions_.size()) return {definitions_[version], {}, false};  // a reference to the library's own definition
  return {};
}

bool SymbolTable::defines(std::size_t index, const SymbolName& wanted) const {
  const Elf64_Sym& symbol = symbols_[index];
  const unsigned bind = ELF64_ST_BIND(symbol.st_info), type = ELF64_ST_TYPE(symbol.st_info);
  if (symbol.st_shndx == SHN_UNDEF || (bind != STB_GLOBAL && bind != STB_WEAK && bind != STB_GNU_UNIQUE)) return false;
  if (symbol.st_value == 0 && symbol.st_shndx != SHN_ABS && type != STT_TLS) return false;
  // Equal and ended: the table's last byte is zero, so the byte after an equal run is inside it.
  if (symbol.st_name >= strings_.size() || strings_.size() - symbol.st_name <= wanted.text.size()) return false;
  const char* text = strings_.data() + symbol.st_name;
  if (std::memcmp(text, wanted.text.data(), wanted.text.size()) != 0 || text[wanted.text.size()] != '\0') return false;
  if (index >= version_indices_.size()) return true;
  const std::uint16_t version = version_indices_[index];
  if (wanted.version.empty()) return (version & kHiddenVersion) == 0 && (version & kIndexMask) != VER_NDX_LOCAL;
  const std::size_t defined = version & kIndexMask;
  if (defined == VER_NDX_LOCAL) return false;
  if (defined >= definitions_.size() || definitions_[defined].empty()) return true;  // an unversioned (base) definition serves all
  return definitions_[defined] == wanted.version;
}

const Elf64_Sym* SymbolTable::find(const SymbolName& name) const {
  constexpr std::size_t kFirstVersion = 2;  // 0 and 1 are VER_NDX_LOCAL and VER_NDX_GLOBAL
  if (name.prefers_oldest && name.version.empty() && definitions_.size() > kFirstVersion) {
    SymbolName oldest = name;
    oldest.version = definitions_[kFirstVersion];
    if (const Elf64_Sym* found = oldest.version.empty() ? nullptr : find(oldest)) return found;
  }
  if (gnu_.bucket_count != 0) {
    const std::uint32_t h = name.hash;
    const std::uint64_t word = gnu_.bloom[(h / 64) & (gnu_.bloom_count - 1)];
    const std::uint64_t mask = (std::uint64_t{1} << (h % 64)) | (std::uint64_t{1} << ((h >> (gnu_.bloom_shift & 31)) % 64));
    if ((word & mask) != mask) return nullptr;
    std::uint64_t index = gnu_.buckets[h % gnu_.bucket_count];
    if (index == 0) return nullptr;
    for (;; ++index) {
      const std::uint32_t link = gnu_.chains[index - gnu_.first_symbol];
      if ((link | 1) == (h | 1) && defines(index, name)) return &symbols_[index];
      if (link & 1) return nullptr;
    }
  }
  std::size_t steps = 0;  // a damaged chain may be a ring
  for (std::uint32_t index = sysv_.buckets[sysv_hash(name.text) % sysv_.buckets.size()];
       index != STN_UNDEF && steps <= sysv_.chains.size(); index = sysv_.chains[index], ++steps) {
    if (defines(index, name)) return &symbols_[index];
  }
  return nullptr;
}

}  // namespace deploy::loader
