#include "benchmarks/loader/process_memory.h"

#include <malloc.h>

#include <fstream>
#include <string>

namespace deploy {

ProcessMemory process_memory() {
  ::malloc_trim(0);  // what malloc keeps for itself is not held by anybody
  ProcessMemory memory;
  std::ifstream rollup("/proc/self/smaps_rollup"), maps("/proc/self/maps");
  for (std::string key; rollup >> key;) {
    if (key == "Private_Dirty:") rollup >> memory.private_kb;
  }
  for (std::string line; std::getline(maps, line);) ++memory.mappings;
  return memory;
}

}  // namespace deploy
