#pragma once

#include <cstddef>

#include "deploy/export.h"

namespace deploy {

// How much may cross to or from an interpreter in one call: all arguments together, or one result. Python containers can share their
// parts, and a Value cannot: 23 lists of which each holds the next one twice are 16 million Values. No honest model meets the
// defaults. More than that throws an error that names the limit, kInvalidArgument for arguments and kNotAValue for results; the next
// call works.
struct DEPLOY_API ValueLimits {
  // How many containers may be inside each other.
  std::size_t depth = 1000;

  // How many items all containers hold together; of a dict, keys and values count.
  std::size_t items = 10'000'000;

  // How many bytes the Values take on the host: those of str and bytes, and sizeof(Value) for each item. The memory of tensors is
  // shared and does not count. 0: as many as Environment::memory_limit allows the interpreter, or 4 GiB where it sets no limit.
  std::size_t bytes = 0;
};

}  // namespace deploy
