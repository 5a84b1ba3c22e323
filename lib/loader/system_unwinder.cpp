#include "lib/loader/system_unwinder.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <unwind.h>

#include <cstdint>
#include <string_view>

#include "lib/loader/got.h"
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
// us, and we ask glibc for what is not private. A libgcc from before GCC 12 asks dl_iterate_phdr and is left alone: then only the
// unwinding that glibc starts is as it was.
//
// On its way the system's unwinder calls personality routines of private code, which handle its context with functions of their own
// libgcc (the layout is the same since GCC 4). Those abort while that libgcc's table of register sizes is empty, and it is filled
// when this libgcc itself first unwinds. So each is made to, once.

namespace deploy::loader {

namespace {

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
  const Redirection redirection{"_dl_find_object", reinterpret_cast<const void*>(&find_object)};
  redirect_calls(*map, {&redirection, 1});
}

_Unwind_Reason_Code stop_at_once(_Unwind_Context*, void*) { return _URC_NORMAL_STOP; }

}  // namespace

void prepare_private_unwinder(const Library& library) {
  const Elf64_Sym* symbol = library.symbols->find(SymbolName("_Unwind_Backtrace"));
  if (symbol) reinterpret_cast<decltype(&_Unwind_Backtrace)>(library.address(symbol->st_value))(stop_at_once, nullptr);
}

void teach_system_unwinder() { [[maybe_unused]] static const bool taught = (teach(), true); }

}  // namespace deploy::loader
