// What running code costs that a loader has a part in: thread-local variables and exceptions.

#include <dlfcn.h>
#include <time.h>

#include <barrier>
#include <cstdio>
#include <functional>
#include <thread>
#include <vector>

#include "benchmarks/loader/bench_loader.h"

namespace deploy::loader {

namespace {

// One library as both loaders have it.
struct Pair {
  explicit Pair(const std::string& name) {
    system = ::dlopen(bench_library(name).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!system) fail(::dlerror());
    space = bench_namespace();
    library = value_or_fail(space->load(bench_library(name), Visibility::kLocal));
  }
  template <class F>
  F* of_system(const char* name) {
    return reinterpret_cast<F*>(::dlsym(system, name));
  }
  template <class F>
  F* of_namespace(const char* name) {
    return reinterpret_cast<F*>(value_or_fail(space->symbol(library, name)));
  }

  void* system = nullptr;
  std::unique_ptr<Namespace> space;
  Library* library = nullptr;
};

double seconds(clockid_t clock) {
  timespec t;
  ::clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

// Processor time, the least of several slices in turn: an access takes no time by itself, but any neighbour takes some.
struct Pairwise {
  double system = 0, space = 0;
};
Pairwise nanoseconds_each(long count, const std::function<void(long)>& system, const std::function<void(long)>& space) {
  constexpr int kSlices = 20;
  const auto measure = [&](const std::function<void(long)>& run, double& least) {
    const double before = seconds(CLOCK_THREAD_CPUTIME_ID);
    run(count / kSlices);
    const double each = (seconds(CLOCK_THREAD_CPUTIME_ID) - before) * 1e9 * kSlices / static_cast<double>(count);
    if (least == 0 || each < least) least = each;
  };
  Pairwise least;
  for (int i = 0; i < kSlices; ++i) {
    measure(system, least.system);
    measure(space, least.space);
  }
  return least;
}

// Processor time of a throw in each of `threads` threads that throw at once, the mean. A thread that waits in a lock does not use
// the processor, so `wall` has the time that went by too.
struct Cost {
  double processor = 0, wall = 0;
};
Cost nanoseconds_a_throw(int threads, long count, const std::function<void(long)>& run) {
  std::vector<Cost> costs(static_cast<std::size_t>(threads));
  std::barrier start(threads);
  std::vector<std::thread> running;
  for (Cost& cost : costs) {
    running.emplace_back([&] {
      run(1);
      start.arrive_and_wait();
      const double processor = seconds(CLOCK_THREAD_CPUTIME_ID), wall = seconds(CLOCK_MONOTONIC);
      run(count);
      cost.processor = (seconds(CLOCK_THREAD_CPUTIME_ID) - processor) * 1e9 / static_cast<double>(count);
      cost.wall = (seconds(CLOCK_MONOTONIC) - wall) * 1e9 / static_cast<double>(count);
    });
  }
  for (std::thread& thread : running) thread.join();
  Cost mean;
  for (const Cost& cost : costs) {
    mean.processor += cost.processor / threads;
    mean.wall += cost.wall / threads;
  }
  return mean;
}

}  // namespace

int tls_accesses(int rounds) {
  constexpr long kCount = 5'000'000;
  Pair tls("tls");
  std::printf("{\"rounds\": [");
  for (int round = -1; round < rounds; ++round) {  // the first warms up
    std::string text;
    for (const char* model : {"general", "descriptors"}) {
      const std::string function = std::string("bench_tls_") + model;
      const Pairwise cost =
          nanoseconds_each(kCount, tls.of_system<void(long)>(function.c_str()), tls.of_namespace<void(long)>(function.c_str()));
      char line[256];
      std::snprintf(line, sizeof line, "%s\"%s\": {\"system\": %.4f, \"private\": %.4f}", text.empty() ? "" : ", ", model,
                    cost.system, cost.space);
      text += line;
    }
    if (round >= 0) std::printf("%s{%s}", round == 0 ? "" : ", ", text.c_str());
  }
  std::printf("]}\n");
  return 0;
}

int throws(int rounds) {
  Pair library("throw");
  auto* system = library.of_system<void(int, long)>("bench_throw");
  auto* space = library.of_namespace<void(int, long)>("bench_throw");
  std::printf("{\"rounds\": [");
  for (int round = -1; round < rounds; ++round) {
    std::string text;
    for (const int depth : {1, 10, 50}) {
      const long count = 60'000 / (depth + 5);
      for (const int threads : {1, 2}) {
        const Cost of_system = nanoseconds_a_throw(threads, count, [&](long n) { system(depth, n); });
        const Cost of_space = nanoseconds_a_throw(threads, count, [&](long n) { space(depth, n); });
        char line[256];
        std::snprintf(
            line, sizeof line,
            "%s\"depth_%d_threads_%d\": {\"system\": %.1f, \"private\": %.1f, \"system_wall\": %.1f, \"private_wall\": %.1f}",
            text.empty() ? "" : ", ", depth, threads, of_system.processor, of_space.processor, of_system.wall, of_space.wall);
        text += line;
      }
    }
    if (round >= 0) std::printf("%s{%s}", round == 0 ? "" : ", ", text.c_str());
  }
  std::printf("]}\n");
  return 0;
}

}  // namespace deploy::loader
