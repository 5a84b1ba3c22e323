#pragma once

#include <chrono>

namespace deploy::detail {

// By when something has to be over.
using Deadline = std::chrono::steady_clock::time_point;
inline constexpr Deadline kNoDeadline = Deadline::max();

// `timeout` from now; what cannot be told from eternity is kNoDeadline.
inline Deadline deadline_after(std::chrono::nanoseconds timeout) {
  const Deadline now = std::chrono::steady_clock::now();
  return timeout >= kNoDeadline - now ? kNoDeadline : now + timeout;
}

// A clock is read only where there is a deadline.
inline bool has_passed(Deadline deadline) { return deadline != kNoDeadline && std::chrono::steady_clock::now() >= deadline; }

}  // namespace deploy::detail
