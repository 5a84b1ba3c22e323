#pragma once

#include <sys/mman.h>

#include <vector>

#include "lib/loader/namespace_impl.h"
#include "lib/loader/replay.h"

namespace deploy::loader {

// A place whose value is what a resolver function returns (IRELATIVE, or a symbol of type STT_GNU_IFUNC).
struct DeferredRelocation {
  std::uintptr_t place = 0;
  std::uintptr_t resolver = 0;
  std::int64_t addend = 0;
};

// Where relocations of a library may write: in its writable segments, for a damaged file must not write elsewhere.
class Places {
 public:
  explicit Places(const Library& library) : library_(library) {}

  bool contain(std::uint64_t vaddr, std::uint64_t size) {
    if (last_ && inside(*last_, vaddr, size)) return true;
    for (const Segment& s : library_.image.segments) {
      if (((s.protection & PROT_WRITE) != 0 || library_.dynamic.text_relocations) && inside(s, vaddr, size)) {
        last_ = &s;
        return true;
      }
    }
    return false;
  }

 private:
  static bool inside(const Segment& s, std::uint64_t vaddr, std::uint64_t size) {
    return vaddr >= s.vaddr && s.memory_size >= size && vaddr - s.vaddr <= s.memory_size - size;
  }

  const Library& library_;
  const Segment* last_ = nullptr;
};

// The failure of one relocation.
Failure relocation_failure(const Library& library, const Elf64_Rela& r, const std::string& what);

// record.cpp: DT_RELA and DT_JMPREL of `library`, checked and with all symbols bound now, as a program; and the values of its bases
// in this namespace.
Result<void> record(NamespaceImpl& space, const Library& library, const ReplayScope& scope, RelocationProgram& program,
                    std::vector<std::uintptr_t>& values);

// relocate.cpp: applies DT_RELR, DT_RELA and DT_JMPREL of `library` by the program `known` or, where there is none or it does not
// hold in this namespace, by a new one, which `fresh` receives. What needs a resolver function goes to `deferred`, to be run when
// every library of the load is relocated.
Result<void> relocate(NamespaceImpl& space, Library& library, const ReplayScope& scope, const RelocationProgram* known,
                      RelocationProgram& fresh, std::vector<DeferredRelocation>& deferred);

void run_deferred(const std::vector<DeferredRelocation>& deferred);

}  // namespace deploy::loader
