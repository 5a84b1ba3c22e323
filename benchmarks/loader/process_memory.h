#pragma once

namespace deploy {

struct ProcessMemory {
  long private_kb = 0;  // pages that only this process has, files' pages it has written to included (smaps_rollup: Private_Dirty)
  int mappings = 0;
};
ProcessMemory process_memory();

}  // namespace deploy
