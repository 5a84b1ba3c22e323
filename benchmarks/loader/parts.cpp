#include <cstdio>
#include <cstdlib>

#include "benchmarks/loader/bench_loader.h"

namespace deploy::loader {

std::string bench_library(const std::string& name) { return std::string(DEPLOY_BENCH_LIBRARIES) + "/libbench_" + name + ".so"; }

std::unique_ptr<Namespace> bench_namespace() {
  NamespaceOptions options;
  options.name = "bench";
  options.policy.private_names = {"libbench_*", "libfx_*", "libc10*", "libtorch*", "libshm*", "libstdc++.so*"};
  options.policy.private_quiet_names = {"libgcc_s.so*"};
  options.host_symbols = {{"host_log", reinterpret_cast<void*>(+[](int) {})}};  // some of the tests' libraries call it
  return value_or_fail(Namespace::create(std::move(options)));
}

void fail(const std::string& message) {
  std::fprintf(stderr, "bench_loader: %s\n", message.c_str());
  std::exit(1);
}

}  // namespace deploy::loader
