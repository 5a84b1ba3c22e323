#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/loader/elf_image.h"

namespace deploy::loader {

// The dynamic section (gABI chapter 5, "Dynamic Section"), checked: every table lies inside one segment's file-backed part
// and has whole entries. Text is copied, so the structure outlives the bytes it was parsed from.
struct DynamicTable {
  std::vector<std::string> needed;
  std::string soname;
  std::vector<std::string> rpath, runpath;  // split at ':', $ORIGIN not yet expanded
  bool symbolic = false;                    // DT_SYMBOLIC or DF_SYMBOLIC
  bool text_relocations = false;            // DT_TEXTREL or DF_TEXTREL
  bool static_tls = false;                  // DF_STATIC_TLS
  bool no_delete = false;                   // DF_1_NODELETE
  bool init_first = false;                  // DF_1_INITFIRST
  bool no_open = false;                     // DF_1_NOOPEN: not to be opened at run time
  bool is_program = false;                  // DF_1_PIE
  std::uint64_t symbols = 0, strings = 0, strings_size = 0;
  std::uint64_t gnu_hash = 0, sysv_hash = 0;
  std::uint64_t version_symbols = 0;  // DT_VERSYM
  std::uint64_t version_needs = 0, version_need_count = 0;
  std::uint64_t version_definitions = 0, version_definition_count = 0;
  AddressRange relocations, plt_relocations, relative_relocations;  // DT_RELA, DT_JMPREL, DT_RELR
  std::uint64_t init = 0, fini = 0;
  AddressRange init_array, fini_array;

  static Result<DynamicTable> parse(const ElfImage& image, const ImageBytes& bytes);
};

}  // namespace deploy::loader
