#pragma once

#include <link.h>

#include <span>
#include <string_view>

namespace deploy::loader {

struct Redirection {
  std::string_view name;
  const void* function;
};

// The words through which a library that the system has loaded reaches the named functions (R_X86_64_JUMP_SLOT and GLOB_DAT
// relocations, psABI x86-64) are made to hold the given ones; a name that it does not use is passed over. The words are replaced in
// one store each, so other threads may be calling; one call at a time for a library, which must not be unloaded meanwhile.
void redirect_calls(const link_map& map, std::span<const Redirection> redirections);

}  // namespace deploy::loader
