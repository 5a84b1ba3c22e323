#include "lib/loader/system_unwinder.h"

#include <dlfcn.h>
#include <elf.h>
#include <execinfo.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>
#include <unwind.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string_view>

#include "lib/loader/interpose.h"
#include "lib/loader/library.h"

// The system's unwinder and private frames
//
// Private code throws with a libgcc of its own, whose _dl_find_object is ours. But glibc itself unwinds too, through the system's
// libgcc_s, and that one would stop at the first private frame: pthread_cancel and pthread_exit would skip the destructors of
// private frames, and backtrace(), called in a crash handler of the host, would end there.
//
// __register_frame is no way out: it sorts all FDEs of libtorch at the first throw, and with it every throw of the process takes a
// lock. Instead the one word is changed through which the system's libgcc_s reaches _dl_find_object, its GOT entry: it then asks
// us, and we ask glibc for what is not private. The entry is found by its relocation (psABI x86-64, R_X86_64_JUMP_SLOT or
// GLOB_DAT). A libgcc from before GCC 12 asks dl_iterate_phdr and is left alone: then only the unwinding that glibc starts is as it
// was.
//
// On its way the system's unwinder calls personality routines of private code, which handle its context with functions of their own
// libgcc (the layout is the same since GCC 4). Those abort while that libgcc's table of register sizes is empty, and it is filled
// when this libgcc itself first unwinds. So each is made to, once.

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

std::uintptr_t* slot_of(const link_map& map, std::string_view name) {
  const Tables t = tables_of(map);
  if (!t.symbols || !t.strings) return nullptr;
  for (int table = 0; table < 2; ++table) {
    for (std::size_t i = 0; t.relocations[table] && i < t.sizes[table]; ++i) {
      const ElfW(Rela) & r = t.relocations[table][i];
      const auto type = ELF64_R_TYPE(r.r_info);
      if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT) continue;
      if (t.strings + t.symbols[ELF64_R_SYM(r.r_info)].st_name == name)
        return reinterpret_cast<std::uintptr_t*>(map.l_addr + r.r_offset);
    }
  }
  return nullptr;
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

void write_slot(const link_map& map, std::uintptr_t* slot) {
  RelroSearch relro{map.l_addr, reinterpret_cast<std::uintptr_t>(slot)};
  ::dl_iterate_phdr(in_relro, &relro);
  const auto page_size = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  auto* page = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(slot) & ~(page_size - 1));
  if (relro.found && ::mprotect(page, page_size, PROT_READ | PROT_WRITE) != 0) return;
  std::atomic_ref(*slot).store(reinterpret_cast<std::uintptr_t>(&find_object), std::memory_order_release);
  if (relro.found) ::mprotect(page, page_size, PROT_READ);
}

void teach() {
  void* frame[1];
  ::backtrace(frame, 1);  // glibc opens its libgcc_s now, not in a signal handler
  void* unwinder = ::dlopen("libgcc_s.so.1", RTLD_LAZY | RTLD_NOLOAD);
  link_map* map = nullptr;
  if (!unwinder || ::dlinfo(unwinder, RTLD_DI_LINKMAP, &map) != 0) return;
  // A first search binds the entry, if binding is lazy; otherwise it would be bound over ours.
  void* bases[3];
  using FindFde = const void* (*)(void*, void*);
  const auto find_fde = reinterpret_cast<FindFde>(::dlsym(unwinder, "_Unwind_Find_FDE"));
  if (!find_fde) return;
  find_fde(reinterpret_cast<void*>(&teach), bases);
  if (std::uintptr_t* slot = slot_of(*map, "_dl_find_object")) write_slot(*map, slot);
}

_Unwind_Reason_Code stop_at_once(_Unwind_Context*, void*) { return _URC_NORMAL_STOP; }

}  // namespace

void prepare_private_unwinder(const Library& library) {
  const Elf64_Sym* symbol = library.symbols->find(SymbolName("_Unwind_Backtrace"));
  if (symbol) reinterpret_cast<decltype(&_Unwind_Backtrace)>(library.address(symbol->st_value))(stop_at_once, nullptr);
}

void teach_system_unwinder() {
  static std::once_flag once;
  std::call_once(once, teach);
}

}  // namespace deploy::loader
