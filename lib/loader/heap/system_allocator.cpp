#include <dlfcn.h>
#include <link.h>

#include <cerrno>

#include "lib/loader/got.h"
#include "lib/loader/heap/heap.h"

// Blocks that cross the border between private code and the system's libraries; see "Whose a block is" in heap.h.
//
// The C library calls free and realloc through its GOT, since a program may bring its own; so do shared libraries. These entries
// are changed: in the C library once, in a shared library when a namespace opens it, and in what that needs. The main program and
// libraries that no namespace has to do with are left alone: no private block gets to them.

namespace deploy::loader {

namespace {

struct Process {
  void (*free)(void*) = nullptr;
  void* (*realloc)(void*, std::size_t) = nullptr;
  std::size_t (*size_of)(void*) = nullptr;
  bool plain = false;
};

template <class Function>
void find(Function*& function, const char* name) {
  function = reinterpret_cast<Function*>(::dlsym(RTLD_DEFAULT, name));
}

void* libc() {
  static void* const handle = ::dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
  return handle;
}

// Whether the process's function of that name is the C library's. An executable that takes its address has a stub for it, which
// then is the function's address for everybody (psABI x86-64, 3.4.4, "Function Addresses"): an undefined symbol with a value.
bool is_plain(const char* name) {
  void* global = ::dlsym(RTLD_DEFAULT, name);
  if (!libc() || !global || global == ::dlsym(libc(), name)) return libc() && global;
  Dl_info info;
  void* symbol = nullptr;
  return ::dladdr1(global, &info, &symbol, RTLD_DL_SYMENT) && symbol && static_cast<ElfW(Sym)*>(symbol)->st_shndx == SHN_UNDEF;
}

const Process& process() {
  static const Process found = [] {
    Process p;
    find(p.free, "free");
    find(p.realloc, "realloc");
    find(p.size_of, "malloc_usable_size");
    p.plain = is_plain("malloc") && is_plain("free") && is_plain("realloc") && is_plain("posix_memalign");
    return p;
  }();
  return found;
}

void redirect(const link_map& map) {
  static const Redirection kRedirections[] = {{"free", reinterpret_cast<const void*>(&free_foreign)},
                                              {"realloc", reinterpret_cast<const void*>(&realloc_foreign)},
                                              {"malloc_usable_size", reinterpret_cast<const void*>(&size_of_foreign)}};
  redirect_calls(map, kRedirections);
}

}  // namespace

bool system_allocator_is_plain() { return process().plain; }

void teach_system_allocator() {
  [[maybe_unused]] static const bool taught = [] {
    link_map* map = nullptr;
    if (libc() && ::dlinfo(libc(), RTLD_DI_LINKMAP, &map) == 0) redirect(*map);
    return true;
  }();
}

void teach_system_allocator(const link_map& map) { redirect(map); }

void* private_counterpart(const Heap* heap, void* found, std::string_view name) {
  if (!heap || !found) return found;
  void* own = heap->function(name);
  if (!own) return found;
  const std::string text(name);
  return found == ::dlsym(RTLD_DEFAULT, text.c_str()) || found == ::dlsym(libc(), text.c_str()) ? own : found;
}

void free_foreign(void* block) {
  if (LargeBlocks::Header* large = LargeBlocks::find(block)) return LargeBlocks::heap_of(*large).large().free(*large);
  const Heap* heap = Heap::owner(block);
  heap ? heap->allocator()->free(block) : process().free(block);
}

void* realloc_foreign(void* block, std::size_t size) {
  if (LargeBlocks::Header* large = LargeBlocks::find(block)) {
    LargeBlocks& blocks = LargeBlocks::heap_of(*large).large();
    void* resized = size != 0 ? blocks.resize(*large, size) : nullptr;
    if (size == 0) blocks.free(*large);
    if (size != 0 && !resized) errno = ENOMEM;
    return resized;
  }
  const Heap* heap = Heap::owner(block);
  return heap ? heap->allocator()->realloc(block, size) : process().realloc(block, size);
}

std::size_t size_of_foreign(void* block) {
  if (LargeBlocks::Header* large = LargeBlocks::find(block)) return LargeBlocks::use_all(*large);
  const Heap* heap = Heap::owner(block);
  return heap ? heap->allocator()->size_of(block) : process().size_of(block);
}

}  // namespace deploy::loader
