#pragma once

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

// One library's part of a ResolutionRecord: replayed where there is one, else written down.
struct BindingLog {
  const ReplayScope& scope;
  const LibraryRecord* replay;
  LibraryRecord* fresh;
};

// Applies DT_RELR, DT_RELA and DT_JMPREL of `library`, all symbols bound now; what needs a resolver function goes to `deferred`, to
// be run when every library of the load is relocated.
Result<void> relocate(NamespaceImpl& space, Library& library, std::vector<DeferredRelocation>& deferred, const BindingLog& log);

void run_deferred(const std::vector<DeferredRelocation>& deferred);

}  // namespace deploy::loader
