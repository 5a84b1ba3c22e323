#include "lib/loader/executable_stack.h"

#include <dlfcn.h>
#include <elf.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <mutex>
#include <span>
#include <string>

#include "lib/support/file.h"
#include "lib/support/forks.h"

// A library with PT_GNU_STACK and PF_X (gcc's nested functions, assembly without a note) wants to run code on the stack. The stacks
// are the C library's: it alone knows those of all threads, and how to make later ones. It makes them executable when it opens a
// library that asks for it, so it is given one: the smallest there is, written below field by field. As with every library
// that asks, this is for the whole process, and newer C libraries (glibc 2.41) may refuse; then so do we, with their message.
//
// Only a library that says so is served. One without PT_GNU_STACK, which glibc takes to ask for it as well, has never been the
// output of a linker of this century.

namespace deploy::loader {

namespace {

struct Smallest {
  Elf64_Ehdr header;
  Elf64_Phdr segments[3];
  Elf64_Dyn dynamic[6];
  Elf64_Sym symbols[1];
  std::uint32_t hash[4];  // one bucket, one chain, both empty
  char strings[8];
};

Smallest smallest_library() {
  Smallest s{};
  Elf64_Ehdr& h = s.header;
  const unsigned char ident[] = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT, ELFOSABI_SYSV};
  std::copy(std::begin(ident), std::end(ident), h.e_ident);
  h.e_type = ET_DYN, h.e_machine = EM_X86_64, h.e_version = EV_CURRENT;
  h.e_ehsize = sizeof h, h.e_phoff = offsetof(Smallest, segments), h.e_phentsize = sizeof(Elf64_Phdr), h.e_phnum = 3;
  const auto segment = [](Elf64_Word type, Elf64_Word flags, std::uint64_t at, std::uint64_t size, std::uint64_t alignment) {
    return Elf64_Phdr{type, flags, at, at, at, size, size, alignment};
  };
  // Writable, because the C library may write addresses into the dynamic section.
  s.segments[0] = segment(PT_LOAD, PF_R | PF_W, 0, sizeof s, 4096);
  s.segments[1] = segment(PT_DYNAMIC, PF_R | PF_W, offsetof(Smallest, dynamic), sizeof s.dynamic, 8);
  s.segments[2] = segment(PT_GNU_STACK, PF_R | PF_W | PF_X, 0, 0, 16);
  const auto entry = [](Elf64_Sxword tag, std::uint64_t value) { return Elf64_Dyn{tag, {value}}; };
  s.dynamic[0] = entry(DT_SYMTAB, offsetof(Smallest, symbols));
  s.dynamic[1] = entry(DT_SYMENT, sizeof(Elf64_Sym));
  s.dynamic[2] = entry(DT_STRTAB, offsetof(Smallest, strings));
  s.dynamic[3] = entry(DT_STRSZ, sizeof s.strings);
  s.dynamic[4] = entry(DT_HASH, offsetof(Smallest, hash));
  s.dynamic[5] = entry(DT_NULL, 0);
  s.hash[0] = 1, s.hash[1] = 1;
  return s;
}

}  // namespace

Result<void> make_stacks_executable() {
  static ForkLock& lock = []() -> ForkLock& {
    auto* made = new ForkLock;
    hold_in_forks(*made);
    return *made;
  }();
  static bool done = false;
  const std::lock_guard guard(lock);
  if (done) return {};
  const Smallest library = smallest_library();
  auto file = FileDescriptor::sealed_memory("executable-stack", std::as_bytes(std::span(&library, 1)));
  if (!file) return file.failure();
  void* handle = ::dlopen(("/proc/self/fd/" + std::to_string(file->get())).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char* why = ::dlerror();
    return Failure{ErrorCode::kLoader,
                   std::string("asks for an executable stack, which the C library refuses: ") + (why ? why : "dlopen failed")};
  }
  ::dlclose(handle);
  done = true;
  return {};
}

}  // namespace deploy::loader
