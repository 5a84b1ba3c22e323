// Mapping and relocating the closure of libtorch_cpu, without its initialisers: libbench_clock.so's comes before all others and
// looks at the clock.

#include <dlfcn.h>
#include <time.h>

#include <cstdio>
#include <vector>

#include "benchmarks/loader/bench_loader.h"

namespace deploy::loader {

namespace {

double milliseconds(const timespec& t) { return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) * 1e-6; }

double now() {
  timespec t;
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return milliseconds(t);
}

}  // namespace

int relocation_by_system() {
  const double before = now();
  void* library = ::dlopen(bench_library("torch_closure").c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) fail(::dlerror());
  std::printf("{\"milliseconds\": [%.3f]}\n",
              milliseconds(*static_cast<timespec*>(::dlsym(library, "bench_constructed_at"))) - before);
  return 0;
}

int relocation_by_namespaces(int count) {
  std::vector<std::unique_ptr<Namespace>> spaces;
  std::printf("{\"milliseconds\": [");
  for (int i = 0; i < count; ++i) {
    auto space = bench_namespace();
    const double before = now();
    Library* library = value_or_fail(space->load(bench_library("torch_closure"), Visibility::kLocal));
    const auto* at = static_cast<timespec*>(value_or_fail(space->symbol(library, "bench_constructed_at")));
    std::printf("%s%.3f", i == 0 ? "" : ", ", milliseconds(*at) - before);
    spaces.push_back(std::move(space));
  }
  std::printf("]}\n");
  return 0;
}

}  // namespace deploy::loader
