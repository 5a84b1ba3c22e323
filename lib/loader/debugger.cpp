#include "lib/loader/debugger.h"

#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <link.h>

#include <cstdio>
#include <fstream>
#include <mutex>
#include <string>

#include "lib/loader/library.h"
#include "lib/support/forks.h"

// A debugger finds a process's libraries in the list that _r_debug.r_map heads (gABI "Dynamic Linking"; glibc's <link.h>). That
// list is glibc's own: its entries are the heads of larger structures, and ours must not be among them. Since 2.35 _r_debug may be
// followed by further lists, one a link namespace (r_version 2, struct r_debug_extended), which gdb reads since version 13. All
// private libraries of all our namespaces are such a list of their own. gdb reads it when it attaches, opens a core file, or sees
// the system's loader at work; so where a debugger is attached, a load ends with a call to that.

namespace deploy::loader {

namespace {

bool has_extended_list() {
  int major = 0, minor = 0;
  return std::sscanf(::gnu_get_libc_version(), "%d.%d", &major, &minor) == 2 && (major > 2 || minor >= 35);
}

struct List {
  ForkLock lock;
  r_debug_extended head{};
  bool published = false;
};

// Never destroyed: a debugger may look until the process is gone.
List& list() {
  static List* const instance = [] {
    auto* made = new List;
    hold_in_forks(made->lock);
    return made;
  }();
  return *instance;
}

// The head of glibc's lists, where debuggers look for it: the program's DT_DEBUG. _r_debug itself may be a copy that the program
// has.
r_debug_extended* system_list() {
  void* program = ::dlopen(nullptr, RTLD_LAZY);
  if (!program) return nullptr;
  r_debug_extended* head = nullptr;
  for (const ElfW(Dyn)* d = static_cast<link_map*>(program)->l_ld; d->d_tag != DT_NULL; ++d) {
    if (d->d_tag == DT_DEBUG) head = reinterpret_cast<r_debug_extended*>(d->d_un.d_ptr);
  }
  ::dlclose(program);
  return head;
}

void publish(List& l) {
  if (l.published || !has_extended_list()) return;
  l.published = true;
  r_debug_extended* last = system_list();
  if (!last) return;
  l.head.base.r_version = 2;
  l.head.base.r_brk = last->base.r_brk;
  l.head.base.r_ldbase = last->base.r_ldbase;
  l.head.base.r_state = r_debug::RT_CONSISTENT;
  if (last->base.r_version < 2) {
    last->r_next = nullptr;
    last->base.r_version = 2;
  }
  while (last->r_next) last = last->r_next;
  last->r_next = &l.head;
}

bool is_traced() {
  std::ifstream status("/proc/self/status");
  for (std::string key; status >> key;) {
    if (int tracer = 0; key == "TracerPid:" && status >> tracer) return tracer != 0;
  }
  return false;
}

// A debugger that is there already waits for the system's loader to do something. One of the empty libraries that glibc 2.34 has
// left over is opened and closed.
void wake_debugger() {
  if (!is_traced()) return;
  for (const char* name : {"libutil.so.1", "libanl.so.1", "librt.so.1", "libdl.so.2"}) {
    if (void* known = ::dlopen(name, RTLD_LAZY | RTLD_NOLOAD)) {
      ::dlclose(known);
      continue;
    }
    if (void* handle = ::dlopen(name, RTLD_LAZY)) ::dlclose(handle);
    return;
  }
}

}  // namespace

void debugger_added(const std::vector<Library*>& libraries) {
  List& l = list();
  {
    const std::lock_guard guard(l.lock);
    for (Library* library : libraries) {
      library->link.l_prev = nullptr;
      library->link.l_next = l.head.base.r_map;
      if (l.head.base.r_map) l.head.base.r_map->l_prev = &library->link;
      l.head.base.r_map = &library->link;
    }
    publish(l);
  }
  wake_debugger();
}

void debugger_removed(const std::vector<Library*>& libraries) {
  List& l = list();
  const std::lock_guard guard(l.lock);
  for (Library* library : libraries) {
    link_map& link = library->link;
    (link.l_prev ? link.l_prev->l_next : l.head.base.r_map) = link.l_next;
    if (link.l_next) link.l_next->l_prev = link.l_prev;
  }
}

}  // namespace deploy::loader
