#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "deploy/interpreter.h"
#include "deploy/manager.h"
#include "tests/cpp/error_of.h"

// The account of an interpreter's memory, its limit, and what becomes of interpreters that end under unusual circumstances.

namespace deploy {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMegabyte = 1 << 20;

constexpr const char* kSource = R"(
import atexit, threading, time
kept = []
def hold(megabytes):
    kept.extend(bytearray(1 << 20) for _ in range(megabytes))
    return len(kept)
def hold_small(count):
    kept.append([object() for _ in range(count)])
def hold_all_there_is():
    try:
        while True:
            kept.append(bytearray(1 << 20))
    except MemoryError:
        held = len(kept)
        kept.clear()
        return held
def drop():
    kept.clear()
def raise_at_exit():
    def handler():
        raise ValueError("at exit")
    atexit.register(handler)
def start_daemons(count):
    for _ in range(count):
        threading.Thread(target=spin, daemon=True).start()
def spin():
    while True:
        time.sleep(0.001)
def start_sleeper(seconds):
    threading.Thread(target=time.sleep, args=(seconds,), daemon=True).start()
)";

bool sanitized() { return !Interpreter().memory().private_heap; }

class MemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    if (sanitized()) GTEST_SKIP() << "the process has another malloc in front: interpreters use that";
  }
  static Interpreter make(std::size_t limit = 0) {
    Environment environment;
    environment.memory_limit = limit;
    Interpreter interpreter(environment);
    interpreter.register_module("memory", kSource);
    return interpreter;
  }
  static Value call(Interpreter& interpreter, const char* name, std::vector<Value> arguments = {}) {
    return interpreter.acquire_session().global("memory", name).call(std::move(arguments)).to_value();
  }
};

TEST_F(MemoryTest, TheAccountFollowsWhatPythonHolds) {
  Interpreter interpreter = make(), other = make();
  const MemoryUsage before = interpreter.memory(), other_before = other.memory();
  EXPECT_TRUE(before.private_heap);
  EXPECT_GT(before.heap, kMegabyte);
  EXPECT_LT(before.heap, 32 * kMegabyte);
  EXPECT_GT(before.library_data, 0u);
  EXPECT_EQ(before.heap_limit, 0u);
  call(interpreter, "hold", {100});
  const MemoryUsage with = interpreter.memory();
  EXPECT_GE(with.heap, before.heap + 100 * kMegabyte);
  EXPECT_LE(with.heap, before.heap + 170 * kMegabyte) << "a block of a megabyte and a byte has a place of a megabyte and a half";
  EXPECT_GE(with.heap_peak, with.heap);
  EXPECT_LT(other.memory().heap, other_before.heap + 4 * kMegabyte) << "the other interpreter's is its own";
}

TEST_F(MemoryTest, SmallObjectsCountToo) {
  Interpreter interpreter = make();
  const std::size_t before = interpreter.memory().heap;
  call(interpreter, "hold_small", {1'000'000});
  EXPECT_GE(interpreter.memory().heap, before + 16'000'000);
  call(interpreter, "drop");
  EXPECT_LE(interpreter.memory().heap, before + 24 * kMegabyte);
}

TEST_F(MemoryTest, BeyondTheLimitPythonGetsAMemoryErrorAndGoesOn) {
  Interpreter limited = make(200 * kMegabyte), other = make();
  EXPECT_EQ(limited.memory().heap_limit, 200 * kMegabyte);
  for (int round = 0; round < 3; ++round) {
    const std::int64_t held = call(limited, "hold_all_there_is").as_int();
    EXPECT_GT(held, 100);
    EXPECT_LE(held, 200);
    EXPECT_LE(limited.memory().heap_peak, 200 * kMegabyte);
    EXPECT_EQ(call(other, "hold", {300}).as_int(), 300);
    call(other, "drop");
  }
}

TEST_F(MemoryTest, TheMemoryErrorReachesTheCallerAndTheInterpreterGoesOn) {
  Interpreter limited = make(100 * kMegabyte);
  const Error error = error_of([&] { call(limited, "hold", {300}); });
  EXPECT_EQ(error.code(), ErrorCode::kPython);
  EXPECT_EQ(error.python_type(), "MemoryError");
  call(limited, "drop");
  EXPECT_EQ(call(limited, "hold", {20}).as_int(), 20);
}

TEST_F(MemoryTest, AnInterpreterWhoseHeapIsFullIsEnteredLeftAndDestroyed) {
  std::optional<Interpreter> limited(make(60 * kMegabyte));
  EXPECT_THROW(call(*limited, "hold_small", {100'000'000}), Error);
  EXPECT_THROW(call(*limited, "hold", {300}), Error);
  for (int i = 0; i < 100; ++i) {
    std::thread([&] {
      try {
        call(*limited, "drop");
      } catch (const Error& error) {
        EXPECT_EQ(error.python_type(), "MemoryError");
      }
    }).join();
  }
  limited.reset();
  EXPECT_TRUE(stranded_interpreters().empty());
}

TEST_F(MemoryTest, ALimitTooLowForPythonIsAnErrorOfItsStart) {
  Environment environment;
  environment.memory_limit = 100'000;
  const Error error = error_of([&] { Interpreter interpreter(environment); });
  EXPECT_THAT(error.message(), testing::HasSubstr("memory"));
}

TEST_F(MemoryTest, TheLimitHoldsForEachInterpreterOfAManager) {
  ManagerOptions options;
  options.interpreters = 2;
  options.environment.memory_limit = 100 * kMegabyte;
  InterpreterManager manager(options);
  manager.register_module("memory", kSource);
  for (Interpreter interpreter : manager.interpreters()) EXPECT_EQ(call(interpreter, "hold", {40}).as_int(), 40);
}

TEST_F(MemoryTest, AnInterpreterThatRaisesInAtexitIsGone) {
  std::optional<Interpreter> interpreter(make());
  call(*interpreter, "raise_at_exit");
  interpreter.reset();
  EXPECT_TRUE(stranded_interpreters().empty());
}

TEST_F(MemoryTest, AnInterpreterWithDaemonThreadsIsGone) {
  for (int i = 0; i < 5; ++i) {
    std::optional<Interpreter> interpreter(make());
    call(*interpreter, "start_daemons", {4});
    std::this_thread::sleep_for(5ms);
    interpreter.reset();
    EXPECT_TRUE(stranded_interpreters().empty());
  }
}

TEST_F(MemoryTest, AnInterpreterWithLiveObjectsIsGoneAndTheObjectsAreDead) {
  Object object;
  {
    Interpreter interpreter = make();
    auto session = interpreter.acquire_session();
    object = session.global("memory", "kept");
  }
  EXPECT_THROW(object.str(), Error);
  object = {};
  EXPECT_TRUE(stranded_interpreters().empty());
}

TEST_F(MemoryTest, AThreadThatDoesNotEndKeepsItsCodeAndIsNamed) {
  std::size_t id = 0;
  {
    Interpreter interpreter = make();
    id = interpreter.id();
    call(interpreter, "start_sleeper", {3600});
  }
  const auto stranded = stranded_interpreters();
  ASSERT_EQ(stranded.size(), 1u);
  EXPECT_EQ(stranded[0].id, id);
  EXPECT_THAT(stranded[0].reason,
              testing::ContainsRegex("1 thread.s. run, one of them started by <image>/lib(deploy_guest|python)"));
  Interpreter next = make();
  EXPECT_EQ(call(next, "hold", {1}).as_int(), 1);
}

}  // namespace
}  // namespace deploy
