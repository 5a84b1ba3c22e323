#pragma once

#include <new>
#include <system_error>

#include "lib/support/result.h"

namespace deploy {

// What `work` returns. Where the process has no memory for it, or the system no thread, that is a failure like any other.
template <class Work>
auto or_system_refusal(Work&& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return Failure{ErrorCode::kSystem, "out of memory"};
  } catch (const std::system_error& error) {
    return Failure{ErrorCode::kSystem, error.what()};
  }
}

}  // namespace deploy
