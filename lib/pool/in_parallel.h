#pragma once

#include <cstddef>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "lib/support/result.h"

namespace deploy::detail {

// Runs work(0) ... work(count - 1), each on a thread of its own (the last one on the caller's; all of them there, one after the
// other, where no thread can be had). Returns the failure of the lowest index, when all have ended.
template <class Work>
Result<void> in_parallel(std::size_t count, const Work& work) {
  std::vector<Result<void>> results(count);
  std::vector<std::thread> threads;
  const auto run = [&](std::size_t index) {
    try {
      results[index] = work(index);
    } catch (const Error& error) {
      results[index] = Failure{error.code(), error.message(), error.python_type(), error.traceback()};
    } catch (const std::exception& error) {
      results[index] = Failure{ErrorCode::kSystem, error.what()};
    }
  };
  std::size_t next = 0;
  try {
    for (threads.reserve(count); next + 1 < count; ++next) threads.emplace_back(run, next);
  } catch (const std::system_error&) {
  }
  for (; next < count; ++next) run(next);
  for (std::thread& thread : threads) thread.join();
  for (Result<void>& result : results) {
    if (!result) return std::move(result);
  }
  return {};
}

}  // namespace deploy::detail
