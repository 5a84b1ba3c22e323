// The loader's figures beside those of the system's loader; benchmarks/loader/__init__.py runs it and makes the table.

#include <cstdio>
#include <cstdlib>
#include <string>

#include "benchmarks/loader/bench_loader.h"

int main(int argc, char** argv) {
  using namespace deploy::loader;
  const std::string part = argc > 1 ? argv[1] : "";
  const int count = argc > 2 ? std::atoi(argv[2]) : 0;
  if (part == "relocation-by-system") return relocation_by_system();
  if (part == "relocation-by-namespaces" && count > 0) return relocation_by_namespaces(count);
  if (part == "tls" && count > 0) return tls_accesses(count);
  if (part == "throw" && count > 0) return throws(count);
  if (part == "come-and-go" && count > 0 && argc > 3) return come_and_go(count, argv + 3, argc - 3);
  std::fprintf(stderr,
               "usage: bench_loader relocation-by-system | relocation-by-namespaces COUNT | tls ROUNDS | throw ROUNDS |\n"
               "                    come-and-go COUNT LIBRARY...\n");
  return 2;
}
