#include "load.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <latch>
#include <thread>

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct ThreadResult {
  std::vector<double> latencies;
  double elapsed = 0;
  bool equal = true;
  std::exception_ptr error;
};

void call_until(const Way& way, double seconds, ThreadResult& result) {
  const auto start = Clock::now();
  try {
    do {
      const auto begin = Clock::now();
      const bool equal = way.call();
      result.latencies.push_back(1e3 * seconds_since(begin));
      result.equal = result.equal && equal;
      result.elapsed = seconds_since(start);
    } while (result.elapsed < seconds);
  } catch (...) {
    result.error = std::current_exception();
  }
}

void run_round(Way& way, double seconds, bool counts) {
  std::vector<ThreadResult> results(way.threads);
  std::vector<std::thread> threads;
  std::latch ready(static_cast<std::ptrdiff_t>(way.threads));
  for (ThreadResult& result : results) {
    threads.emplace_back([&way, seconds, &result, &ready] {
      ready.arrive_and_wait();
      call_until(way, seconds, result);
    });
  }
  for (std::thread& thread : threads) thread.join();

  // A call that runs when the time is over is finished and counted, so each thread has a time of its own.
  double rate = 0;
  for (const ThreadResult& result : results) {
    if (result.error) std::rethrow_exception(result.error);
    way.equal = way.equal && result.equal;
    rate += static_cast<double>(result.latencies.size()) / result.elapsed;
    if (counts) way.latencies.insert(way.latencies.end(), result.latencies.begin(), result.latencies.end());
  }
  if (counts) way.rates.push_back(rate);
}

}  // namespace

void measure(std::vector<Way>& ways, double seconds) {
  const double rounds = std::max(1.0, std::round(seconds));
  for (Way& way : ways) run_round(way, 0.5, false);
  for (int round = 0; round < static_cast<int>(rounds); ++round) {
    for (Way& way : ways) run_round(way, seconds / rounds, true);
  }
}

double percentile(std::vector<double> values, double percent) {
  if (values.empty()) return 0;
  const auto index = static_cast<std::size_t>(std::ceil(percent / 100 * static_cast<double>(values.size())));
  const auto nth = values.begin() + static_cast<std::ptrdiff_t>(std::max<std::size_t>(index, 1) - 1);
  std::nth_element(values.begin(), nth, values.end());
  return *nth;
}

double ratio(const Way& a, const Way& b) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < std::min(a.rates.size(), b.rates.size()); ++i) ratios.push_back(a.rates[i] / b.rates[i]);
  return median(ratios);
}
