#include "lib/loader/dynamic.h"

#include <cstring>

namespace deploy::loader {

namespace {

Failure malformed(std::string what) { return {ErrorCode::kLoader, "malformed dynamic section: " + std::move(what)}; }

// The entries as they stand; names are offsets until the string table is known.
struct RawDynamic {
  std::vector<std::uint64_t> needed;
  std::uint64_t soname = 0, rpath = 0, runpath = 0;
  bool has_soname = false, has_rpath = false, has_runpath = false;
  std::uint64_t flags = 0, rela_entry = sizeof(Elf64_Rela), relr_entry = sizeof(Elf64_Relr), symbol_entry = sizeof(Elf64_Sym);
  std::uint64_t plt_kind = DT_RELA;
  bool rel = false;
};

void read_entry(const Elf64_Dyn& d, DynamicTable& t, RawDynamic& raw) {
  const std::uint64_t v = d.d_un.d_val;
  switch (d.d_tag) {
    case DT_NEEDED:
      raw.needed.push_back(v);
      break;
    case DT_SONAME:
      raw.soname = v, raw.has_soname = true;
      break;
    case DT_RPATH:
      raw.rpath = v, raw.has_rpath = true;
      break;
    case DT_RUNPATH:
      raw.runpath = v, raw.has_runpath = true;
      break;
    case DT_SYMBOLIC:
      t.symbolic = true;
      break;
    case DT_TEXTREL:
      t.text_relocations = true;
      break;
    case DT_FLAGS:
      raw.flags = v;
      break;
    case DT_FLAGS_1:
      t.no_delete = (v & DF_1_NODELETE) != 0;
      t.init_first = (v & DF_1_INITFIRST) != 0;
      t.no_open = (v & DF_1_NOOPEN) != 0;
      t.is_program = (v & DF_1_PIE) != 0;
      break;
    case DT_SYMTAB:
      t.symbols = v;
      break;
    case DT_SYMENT:
      raw.symbol_entry = v;
      break;
    case DT_STRTAB:
      t.strings = v;
      break;
    case DT_STRSZ:
      t.strings_size = v;
      break;
    case DT_GNU_HASH:
      t.gnu_hash = v;
      break;
    case DT_HASH:
      t.sysv_hash = v;
      break;
    case DT_VERSYM:
      t.version_symbols = v;
      break;
    case DT_VERNEED:
      t.version_needs = v;
      break;
    case DT_VERNEEDNUM:
      t.version_need_count = v;
      break;
    case DT_VERDEF:
      t.version_definitions = v;
      break;
    case DT_VERDEFNUM:
      t.version_definition_count = v;
      break;
    case DT_RELA:
      t.relocations.vaddr = v;
      break;
    case DT_RELASZ:
      t.relocations.size = v;
      break;
    case DT_RELAENT:
      raw.rela_entry = v;
      break;
    case DT_JMPREL:
      t.plt_relocations.vaddr = v;
      break;
    case DT_PLTRELSZ:
      t.plt_relocations.size = v;
      break;
    case DT_PLTREL:
      raw.plt_kind = v;
      break;
    case DT_RELR:
      t.relative_relocations.vaddr = v;
      break;
    case DT_RELRSZ:
      t.relative_relocations.size = v;
      break;
    case DT_RELRENT:
      raw.relr_entry = v;
      break;
    case DT_REL:
      raw.rel = true;
      break;
    case DT_INIT:
      t.init = v;
      break;
    case DT_FINI:
      t.fini = v;
      break;
    case DT_INIT_ARRAY:
      t.init_array.vaddr = v;
      break;
    case DT_INIT_ARRAYSZ:
      t.init_array.size = v;
      break;
    case DT_FINI_ARRAY:
      t.fini_array.vaddr = v;
      break;
    case DT_FINI_ARRAYSZ:
      t.fini_array.size = v;
      break;
    default:
      break;
  }
}

Result<std::string> text(std::span<const std::byte> strings, std::uint64_t offset, const char* what) {
  if (offset >= strings.size()) return malformed(std::string(what) + " names a string outside the string table");
  const char* begin = reinterpret_cast<const char*>(strings.data()) + offset;
  return std::string(begin, strnlen(begin, strings.size() - offset));
}

std::vector<std::string> split_path(const std::string& path) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t colon = std::min(path.find(':', at), path.size());
    if (colon > at) parts.push_back(path.substr(at, colon - at));
    at = colon + 1;
  }
  return parts;
}

Result<void> check_tables(const DynamicTable& t, const RawDynamic& raw, const ElfImage& image, const ImageBytes& bytes) {
  if (raw.rel || raw.plt_kind != DT_RELA) return malformed("DT_REL relocations; x86-64 has DT_RELA only (psABI 4.4)");
  if (raw.rela_entry != sizeof(Elf64_Rela)) return malformed("DT_RELAENT " + std::to_string(raw.rela_entry) + ", expected 24");
  if (raw.relr_entry != sizeof(Elf64_Relr)) return malformed("DT_RELRENT " + std::to_string(raw.relr_entry) + ", expected 8");
  if (raw.symbol_entry != sizeof(Elf64_Sym)) return malformed("DT_SYMENT " + std::to_string(raw.symbol_entry) + ", expected 24");
  if (t.symbols == 0) return malformed("no DT_SYMTAB");
  if (t.init != 0 && !image.is_code(t.init)) return malformed("DT_INIT outside the code");
  if (t.fini != 0 && !image.is_code(t.fini)) return malformed("DT_FINI outside the code");
  const struct {
    const char* name;
    AddressRange range;
    std::uint64_t entry;
  } tables[] = {{"DT_RELA", t.relocations, sizeof(Elf64_Rela)},
                {"DT_JMPREL", t.plt_relocations, sizeof(Elf64_Rela)},
                {"DT_RELR", t.relative_relocations, 8},
                {"DT_INIT_ARRAY", t.init_array, 8},
                {"DT_FINI_ARRAY", t.fini_array, 8}};
  for (const auto& table : tables) {
    if (table.range.size == 0) continue;
    if (table.range.size % table.entry != 0)
      return malformed(std::string(table.name) + " of " + std::to_string(table.range.size) + " bytes has no whole entries");
    if (table.range.vaddr % 8 != 0 || !bytes.at(table.range.vaddr, table.range.size))
      return malformed(std::string(table.name) + " outside the segments");
  }
  return {};
}

}  // namespace

Result<DynamicTable> DynamicTable::parse(const ElfImage& image, const ImageBytes& bytes) {
  DynamicTable table;
  RawDynamic raw;
  auto entries = bytes.array<Elf64_Dyn>(image.dynamic.vaddr, image.dynamic.size / sizeof(Elf64_Dyn));
  if (!entries) return malformed("PT_DYNAMIC is not aligned or lies outside the segments");
  for (const Elf64_Dyn& d : *entries) {
    if (d.d_tag == DT_NULL) break;
    read_entry(d, table, raw);
  }
  table.symbolic |= (raw.flags & DF_SYMBOLIC) != 0;
  table.text_relocations |= (raw.flags & DF_TEXTREL) != 0;
  table.static_tls = (raw.flags & DF_STATIC_TLS) != 0;
  auto strings = bytes.at(table.strings, table.strings_size);
  if (!strings || strings->empty()) return malformed("DT_STRTAB outside the segments");
  if (strings->back() != std::byte{0}) return malformed("DT_STRTAB does not end with a zero byte");
  for (std::uint64_t offset : raw.needed) {
    auto name = text(*strings, offset, "DT_NEEDED");
    if (!name) return name.failure();
    table.needed.push_back(std::move(*name));
  }
  const struct {
    const char* what;
    bool present;
    std::uint64_t offset;
    std::vector<std::string>* parts;
  } names[] = {{"DT_SONAME", raw.has_soname, raw.soname, nullptr},
               {"DT_RPATH", raw.has_rpath && !raw.has_runpath, raw.rpath, &table.rpath},
               {"DT_RUNPATH", raw.has_runpath, raw.runpath, &table.runpath}};
  for (const auto& n : names) {
    if (!n.present) continue;
    auto value = text(*strings, n.offset, n.what);
    if (!value) return value.failure();
    if (n.parts) {
      *n.parts = split_path(*value);
    } else {
      table.soname = std::move(*value);
    }
  }
  if (auto checked = check_tables(table, raw, image, bytes); !checked) return checked.failure();
  return table;
}

}  // namespace deploy::loader
