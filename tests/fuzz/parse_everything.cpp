#include "tests/fuzz/parse_everything.h"

#include "lib/loader/search.h"
#include "lib/loader/symbol_table.h"

namespace deploy::loader {

namespace {

// The result is of no use here, but the compiler must not know.
void touch(std::string_view text) {
  std::size_t sum = 0;
  for (char c : text) sum += static_cast<unsigned char>(c);
  __asm__ volatile("" : : "r"(sum));
}

void look_up_everything(const SymbolTable& table) {
  for (const char* name : {"", "main", "malloc", "deploy_guest_entry"}) table.find(SymbolName(name));
  for (std::size_t i = 0; i < table.symbols().size(); ++i) {
    const VersionNeed need = table.version_need(i);
    SymbolName name = table.hashed_name(i);
    touch(table.name(table.symbols()[i]));
    touch(need.version);
    touch(need.file);
    (void)table.stored_hash(i);
    (void)table.may_define(name.hash);
    if (i > 2000) continue;  // of a damaged table a lookup may take as long as the table is
    name.version = need.version;
    table.find(name);
    name.prefers_oldest = true;
    table.find(name);
  }
}

}  // namespace

bool parse_everything(std::span<const std::byte> file) {
  touch(find_in_cache({reinterpret_cast<const char*>(file.data()), file.size()}, "libm.so.6"));
  auto image = ElfImage::parse(file);
  if (!image) return touch(image.failure().message), false;
  const ImageBytes bytes = ImageBytes::of_file(*image, file);
  auto dynamic = DynamicTable::parse(*image, bytes);
  if (!dynamic) return touch(dynamic.failure().message), false;
  for (const std::string& needed : dynamic->needed) touch(needed);
  for (const std::string& folder : dynamic->runpath) touch(expand_origin(folder, "/a/$ORIGIN/b.so"));
  auto symbols = SymbolTable::create(*dynamic, bytes);
  if (!symbols) return touch(symbols.failure().message), false;
  look_up_everything(*symbols);
  return true;
}

}  // namespace deploy::loader
