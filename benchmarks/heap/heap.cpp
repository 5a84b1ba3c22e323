// The heap of a namespace beside glibc's malloc, on large blocks; benchmarks/heap/__init__.py runs it and makes the table.

#include <dlfcn.h>
#include <malloc.h>
#include <time.h>

#include <algorithm>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "lib/loader/namespace.h"

namespace {

using deploy::loader::Namespace;
using Operation = int(std::size_t, long, int);

constexpr double kSlice = 4e6;  // nanoseconds of a measurement

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "bench_heap: %s\n", message.c_str());
  std::exit(1);
}

std::unique_ptr<Namespace> space_with_heap() {
  deploy::loader::NamespaceOptions options;
  options.name = "bench";
  options.policy.private_names = {"libbench_*", "libmimalloc*", "libdeploy_allocator*"};
  options.allocator = DEPLOY_ALLOCATOR;
  auto space = Namespace::create(std::move(options));
  if (!space) fail(space.failure().message);
  return *std::move(space);
}

double processor_time() {
  timespec t;
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

// Nanoseconds of one operation: processor time, with what the system does for it, the mean of the threads.
double measure(Operation* operation, std::size_t size, int touch, int threads, long count) {
  std::vector<double> each(static_cast<std::size_t>(threads));
  std::barrier start(threads);
  const auto body = [&](double& cost) {
    if (!operation(size, 1, touch)) fail("there is no memory for " + std::to_string(size) + " bytes");
    start.arrive_and_wait();
    const double before = processor_time();
    operation(size, count, touch);
    cost = (processor_time() - before) / static_cast<double>(count);
  };
  std::vector<std::thread> running;
  for (int i = 1; i < threads; ++i) running.emplace_back(body, std::ref(each[static_cast<std::size_t>(i)]));
  body(each[0]);
  for (std::thread& thread : running) thread.join();
  double sum = 0;
  for (const double cost : each) sum += cost;
  return sum / threads;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(stderr, "usage: bench_heap OPERATION SIZE TOUCH THREADS ROUNDS\n");
    return 2;
  }
  const std::string name = std::string("bench_") + argv[1];
  const std::size_t size = std::strtoull(argv[2], nullptr, 10);
  const int touch = std::atoi(argv[3]), threads = std::atoi(argv[4]), rounds = std::atoi(argv[5]);
  void* system = ::dlopen(DEPLOY_BENCH_HEAP, RTLD_NOW | RTLD_LOCAL);
  if (!system) fail(::dlerror());
  auto* plain = reinterpret_cast<Operation*>(::dlsym(system, name.c_str()));
  const auto space = space_with_heap();
  auto library = space->load(DEPLOY_BENCH_HEAP, deploy::loader::Visibility::kLocal);
  if (!library) fail(library.failure().message);
  auto symbol = space->symbol(*library, name);
  if (!symbol || !plain) fail("there is no operation " + name);
  auto* own = reinterpret_cast<Operation*>(*symbol);

  // As often as one of them needs for its slice; what the first calls found out is the allocators' to keep.
  const double once = std::min(measure(plain, size, touch, threads, 2), measure(own, size, touch, threads, 2));
  const long count = std::clamp(static_cast<long>(kSlice / once), 2l, 100'000l);
  std::printf("[");
  for (int round = 0; round < rounds; ++round) {
    const double of_plain = measure(plain, size, touch, threads, count), of_own = measure(own, size, touch, threads, count);
    std::printf("%s{\"glibc\": %.1f, \"heap\": %.1f}", round == 0 ? "" : ", ", of_plain, of_own);
  }
  std::printf("]\n");
  return 0;
}
