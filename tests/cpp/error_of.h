#pragma once

#include <gtest/gtest.h>

#include "deploy/error.h"

namespace deploy {

// The deploy::Error that `function` throws; the test fails where it throws none.
template <class F>
Error error_of(F&& function) {
  try {
    function();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no deploy::Error was thrown";
  return Error(ErrorCode::kInternal, "nothing was thrown");
}

}  // namespace deploy
