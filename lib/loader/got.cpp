#include "lib/loader/got.h"

#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace deploy::loader {

namespace {

// What the dynamic section of a loaded library says; glibc has relocated the addresses in place.
struct Tables {
  const ElfW(Sym) * symbols = nullptr;
  const char* strings = nullptr;
  const ElfW(Rela) * relocations[2] = {nullptr, nullptr};
  std::size_t sizes[2] = {0, 0};
};

Tables tables_of(const link_map& map) {
  Tables t;
  for (const ElfW(Dyn)* d = map.l_ld; d->d_tag != DT_NULL; ++d) {
    switch (d->d_tag) {
      case DT_SYMTAB:
        t.symbols = reinterpret_cast<const ElfW(Sym)*>(d->d_un.d_ptr);
        break;
      case DT_STRTAB:
        t.strings = reinterpret_cast<const char*>(d->d_un.d_ptr);
        break;
      case DT_JMPREL:
        t.relocations[0] = reinterpret_cast<const ElfW(Rela)*>(d->d_un.d_ptr);
        break;
      case DT_PLTRELSZ:
        t.sizes[0] = d->d_un.d_val / sizeof(ElfW(Rela));
        break;
      case DT_RELA:
        t.relocations[1] = reinterpret_cast<const ElfW(Rela)*>(d->d_un.d_ptr);
        break;
      case DT_RELASZ:
        t.sizes[1] = d->d_un.d_val / sizeof(ElfW(Rela));
        break;
      default:
        break;
    }
  }
  return t;
}

// The part of the library that glibc has made read-only after relocation.
struct RelroSearch {
  std::uintptr_t bias, address;
  bool found = false;
};
int in_relro(dl_phdr_info* info, std::size_t, void* data) {
  auto* search = static_cast<RelroSearch*>(data);
  if (info->dlpi_addr != search->bias) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr) & p = info->dlpi_phdr[i];
    const std::uintptr_t start = info->dlpi_addr + p.p_vaddr;
    if (p.p_type == PT_GNU_RELRO && start <= search->address && search->address < start + p.p_memsz) search->found = true;
  }
  return 1;
}

void write_slot(const link_map& map, std::uintptr_t* slot, const void* function) {
  RelroSearch relro{map.l_addr, reinterpret_cast<std::uintptr_t>(slot)};
  ::dl_iterate_phdr(in_relro, &relro);
  const auto page_size = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  auto* page = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(slot) & ~(page_size - 1));
  if (relro.found && ::mprotect(page, page_size, PROT_READ | PROT_WRITE) != 0) return;
  std::atomic_ref(*slot).store(reinterpret_cast<std::uintptr_t>(function), std::memory_order_release);
  if (relro.found) ::mprotect(page, page_size, PROT_READ);
}

}  // namespace

void redirect_calls(const link_map& map, std::span<const Redirection> redirections) {
  const Tables t = tables_of(map);
  if (!t.symbols || !t.strings) return;
  for (int table = 0; table < 2; ++table) {
    for (std::size_t i = 0; t.relocations[table] && i < t.sizes[table]; ++i) {
      const ElfW(Rela) & r = t.relocations[table][i];
      const auto type = ELF64_R_TYPE(r.r_info);
      if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT) continue;
      const std::string_view name = t.strings + t.symbols[ELF64_R_SYM(r.r_info)].st_name;
      for (const Redirection& redirection : redirections) {
        auto* slot = reinterpret_cast<std::uintptr_t*>(map.l_addr + r.r_offset);
        if (redirection.name == name && *slot != reinterpret_cast<std::uintptr_t>(redirection.function))
          write_slot(map, slot, redirection.function);
      }
    }
  }
}

}  // namespace deploy::loader
