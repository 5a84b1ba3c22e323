#include <execinfo.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "deploy/deploy.h"

// Stacks that go from the host into Python and back: the process's own unwinder walks all of it.

namespace {

// Python's own code is in the guest's library, or beside it where the image was made from a shared libpython.
bool is_python(std::string_view library) {
  return library == "<image>/libdeploy_guest.so" || library.starts_with("<image>/libpython");
}

// 1: the stack has Python's frames of exactly one interpreter, in the middle, and goes on to the thread's beginning.
extern "C" int look_at_the_stack() {
  void* frames[256];
  const int count = ::backtrace(frames, 256);
  std::string interpreter;
  int of_python = 0, beyond = 0;
  for (int i = 0; i < count; ++i) {
    deploy::CodeLocation where;
    if (!deploy::locate_code(frames[i], where)) return -1;
    if (where.interpreter) {
      if (!interpreter.empty() && interpreter != where.interpreter) return -2;
      interpreter = where.interpreter;
      of_python += is_python(where.library);
      beyond = 0;
    } else {
      ++beyond;
    }
  }
  return of_python >= 5 && beyond >= 5 ? 1 : -3;
}

constexpr const char* kModule = R"(
import ctypes

def look(address, depth):
    if depth > 0:
        return sorted([depth], key=lambda d: look(address, d - 1))[0] and result[0]
    result[:] = [ctypes.CFUNCTYPE(ctypes.c_int)(address)()]

def run(address, times):
    global result
    for _ in range(times):
        result = [0]
        look(address, 10)
        if result[0] != 1:
            return result[0]
    return 1
)";

}  // namespace

TEST(Unwinding, ManyThreadsSeeTheirWholeStackThroughPython) {
  std::vector<deploy::Interpreter> interpreters;
  for (int i = 0; i < 2; ++i) interpreters.emplace_back().register_module("stack", kModule);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 10; ++round) {
        auto session = interpreters[static_cast<std::size_t>(i) % 2].acquire_session();
        const auto address = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(&look_at_the_stack));
        EXPECT_EQ(session.global("stack", "run")(address, 20).to_value().as_int(), 1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}
