#include "lib/loader/debugger.h"

#include <gnu/libc-version.h>
#include <link.h>

#include <cstdio>
#include <mutex>

#include "lib/loader/library.h"

// A debugger finds a process's libraries in the list that _r_debug.r_map heads (gABI "Dynamic Linking"; glibc's <link.h>). That list is glibc's
// own: its entries are the heads of larger structures, and ours must not be among them. Since 2.35 _r_debug may be followed by
// further lists, one a link namespace (r_version 2, struct r_debug_extended), which gdb reads since version 13. All private libraries of
// all our namespaces are such a list of their own. gdb reads it when it attaches, opens a core file, or sees any library loaded.

namespace deploy::loader {

namespace {

bool has_extended_list() {
  int major = 0, minor = 0;
  return std::sscanf(::gnu_get_libc_version(), "%d.%d", &major, &minor) == 2 && (major > 2 || minor >= 35);
}

struct List {
  std::mutex lock;
  r_debug_extended head{};
  bool published = false;
};

// Never destroyed: a debugger may look until the process is gone.
List& list() {
  static List* instance = new List;
  return *instance;
}

void publish(List& l) {
  if (l.published || !has_extended_list()) return;
  l.published = true;
  l.head.base.r_version = 2;
  l.head.base.r_brk = _r_debug.r_brk;
  l.head.base.r_ldbase = _r_debug.r_ldbase;
  l.head.base.r_state = r_debug::RT_CONSISTENT;
  auto* last = reinterpret_cast<r_debug_extended*>(&_r_debug);
  if (_r_debug.r_version < 2) {
    last->r_next = nullptr;
    _r_debug.r_version = 2;
  }
  while (last->r_next) last = last->r_next;
  last->r_next = &l.head;
}

}  // namespace

void debugger_added(const std::vector<Library*>& libraries) {
  List& l = list();
  const std::lock_guard guard(l.lock);
  for (Library* library : libraries) {
    library->link.l_prev = nullptr;
    library->link.l_next = l.head.base.r_map;
    if (l.head.base.r_map) l.head.base.r_map->l_prev = &library->link;
    l.head.base.r_map = &library->link;
  }
  publish(l);
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
