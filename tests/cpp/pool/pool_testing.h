#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "deploy/deploy.h"

namespace deploy::testing {

inline std::string package_path(const std::string& name) { return std::string(DEPLOY_TEST_PACKAGES) + "/" + name; }

// With torch and the rest of the virtual environment.
inline Environment venv() {
  Environment environment;
  environment.site_packages = {DEPLOY_TEST_SITE_PACKAGES};
  return environment;
}

// The error that `work` has to throw.
inline Error error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no deploy::Error was thrown";
  return Error(ErrorCode::kInternal, "nothing was thrown");
}

// Waits up to ten seconds.
inline bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return condition();
}

// What a global function of no arguments gives in a session, "module.name()".
inline Value call_global(InterpreterSession& session, const std::string& module, const std::string& name,
                         std::vector<Value> args = {}) {
  return session.global(module, name).call(std::move(args)).to_value();
}

}  // namespace deploy::testing
