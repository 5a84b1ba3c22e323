#pragma once

#include <chrono>
#include <cmath>
#include <string>

#include "deploy/error.h"

namespace deploy::bindings {

// Seconds as Python has them. Throws kInvalidArgument for NaN and for less than nothing; centuries are for ever.
inline std::chrono::nanoseconds to_timeout(double seconds) {
  if (std::isnan(seconds) || seconds < 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "a timeout: found " + std::to_string(seconds) +
                    ", expected seconds, 0 or more; to set no limit, use the object that with_timeout() "
                    "was called on, or set_timeout(None)");
  }
  const std::chrono::duration<double> timeout(seconds);
  if (timeout >= std::chrono::nanoseconds::max()) return std::chrono::nanoseconds::max();
  if (timeout <= std::chrono::nanoseconds::zero()) return std::chrono::nanoseconds::zero();
  return std::chrono::ceil<std::chrono::nanoseconds>(timeout);
}

}  // namespace deploy::bindings
