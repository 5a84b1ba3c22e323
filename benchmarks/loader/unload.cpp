// Loading and unloading must leave nothing behind.

#include <cstdio>

#include "benchmarks/loader/bench_loader.h"
#include "benchmarks/loader/process_memory.h"

namespace deploy::loader {

int come_and_go(int count, char** paths, int size) {
  std::printf("{\"libraries\": %d, \"after\": {", size);
  const char* separator = "";
  for (int i = 1; i <= count; ++i) {
    auto space = bench_namespace();
    for (int k = 0; k < size; ++k) value_or_fail(space->load(paths[k], Visibility::kLocal));
    if (auto gone = space->unload(); !gone) fail(gone.failure().message);
    if (i != 1 && i != 10 && i != count / 10 && i != count) continue;
    const ProcessMemory memory = process_memory();
    std::printf("%s\"%d\": {\"private_kb\": %ld, \"mappings\": %d}", separator, i, memory.private_kb, memory.mappings);
    separator = ", ";
  }
  std::printf("}}\n");
  return 0;
}

}  // namespace deploy::loader
