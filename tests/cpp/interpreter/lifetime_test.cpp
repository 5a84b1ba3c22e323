#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "deploy/interpreter.h"

namespace deploy {
namespace {

using namespace std::chrono_literals;

// A class whose dead instances are counted, and a store for what a model keeps.
constexpr const char* kSource = R"(
dead = 0
kept = None
class Counted:
    def __del__(self):
        global dead
        dead += 1
def make():
    return Counted()
def count():
    return dead
def keep(value):
    global kept
    kept = value
def identity(value):
    return value
)";

class LifetimeTest : public testing::Test {
 protected:
  LifetimeTest() { interpreter_->register_module("counted", kSource); }

  std::int64_t dead() { return interpreter_->acquire_session().global("counted", "count")().to_value().as_int(); }
  template <class F>
  bool soon(F&& condition) {
    for (int i = 0; i < 200 && !condition(); ++i) std::this_thread::sleep_for(10ms);
    return condition();
  }

  std::optional<Interpreter> interpreter_{std::in_place};
};

std::size_t resident_kilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stoul(line.substr(6));
  }
  return 0;
}

TEST_F(LifetimeTest, ObjectDroppedInItsSessionDiesAtOnce) {
  auto session = interpreter_->acquire_session();
  Object object = session.global("counted", "make")();
  Object copy = object;
  object = {};
  EXPECT_EQ(dead(), 0);
  copy = {};
  EXPECT_EQ(dead(), 1);
}

TEST_F(LifetimeTest, ObjectDroppedOutsideDiesWithTheNextSession) {
  Object object;
  {
    auto session = interpreter_->acquire_session();
    object = session.global("counted", "make")();
  }
  object = {};
  EXPECT_EQ(dead(), 1);
}

TEST_F(LifetimeTest, DroppingNeverWaitsForABusyInterpreter) {
  Object object;
  {
    auto session = interpreter_->acquire_session();
    object = session.global("counted", "make")();
  }
  auto session = interpreter_->acquire_session();
  std::thread([&] { object = {}; }).join();  // would wait for ever
  session.close();
  EXPECT_EQ(dead(), 1);
}

TEST_F(LifetimeTest, ObjectDroppedOutsideDiesSoonWithoutASession) {
  Object object;
  float element = 1;
  std::atomic<bool> freed = false;
  {
    auto session = interpreter_->acquire_session();
    object = session.from_value(Tensor::from_blob(&element, {1}, DType::float32(), [&] { freed = true; }));
  }
  EXPECT_FALSE(freed);
  object = {};
  EXPECT_TRUE(soon([&] { return freed.load(); }));
}

TEST_F(LifetimeTest, TensorSharesMemoryIntoTheInterpreterAndBack) {
  std::vector<float> elements = {1, 2, 3, 4};
  std::atomic<int> freed = 0;
  Tensor back;
  {
    auto session = interpreter_->acquire_session();
    const Tensor tensor = Tensor::from_blob(elements.data(), {2, 2}, DType::float32(), [&] { ++freed; }, {1, 2});
    back = session.global("counted", "identity")(tensor).to_value().as_tensor();
  }
  EXPECT_EQ(back.data(), elements.data());
  EXPECT_EQ(back.strides()[1], 2);
  EXPECT_EQ(freed, 0);
  back = {};
  EXPECT_TRUE(soon([&] { return freed == 1; }));
}

TEST_F(LifetimeTest, TensorKeepsItsMemoryWhenTheInterpreterIsDropped) {
  std::atomic<int> freed = 0;
  std::vector<float> elements = {1, 2};
  Tensor back;
  {
    auto session = interpreter_->acquire_session();
    back = session.global("counted", "identity")(Tensor::from_blob(elements.data(), {2}, DType::float32(), [&] { ++freed; }))
               .to_value()
               .as_tensor();
  }
  interpreter_.reset();
  std::this_thread::sleep_for(30ms);
  EXPECT_EQ(freed, 0);
  EXPECT_EQ(back.data_as<float>()[1], 2.0f);
  back = {};
  EXPECT_TRUE(soon([&] { return freed == 1; }));
}

TEST_F(LifetimeTest, InterpreterEndsAlthoughItKeepsATensorOfItsOwn) {
  std::atomic<int> freed = 0;
  float element = 1;
  {
    auto session = interpreter_->acquire_session();
    const Tensor tensor = Tensor::from_blob(&element, {1}, DType::float32(), [&] { ++freed; });
    const Value out = session.global("counted", "identity")(tensor).to_value();
    session.global("counted", "keep")(out);
  }
  interpreter_.reset();  // waits for the end
  EXPECT_EQ(freed, 1);
}

TEST_F(LifetimeTest, TensorOfOneInterpreterLivesInAnother) {
  std::atomic<int> freed = 0;
  float element = 3;
  Interpreter other;
  other.register_module("counted", kSource);
  Value out;
  {
    auto session = interpreter_->acquire_session();
    out = session.global("counted", "identity")(Tensor::from_blob(&element, {1}, DType::float32(), [&] { ++freed; })).to_value();
  }
  other.acquire_session().global("counted", "keep")(std::move(out));
  out = {};
  interpreter_.reset();
  EXPECT_EQ(freed, 0);
  EXPECT_EQ(other.acquire_session().global("counted", "kept").to_value().as_tensor().data(), &element);
  other.acquire_session().global("counted", "keep")(Value());
  EXPECT_TRUE(soon([&] { return freed == 1; }));
}

TEST_F(LifetimeTest, LastReferenceDroppedInASessionDoesNotBlock) {
  Interpreter other;
  auto session = other.acquire_session();
  interpreter_.reset();  // torn down in the background, as this thread is inside an interpreter
  EXPECT_EQ(session.global("builtins", "abs")(-1).to_value().as_int(), 1);
}

TEST_F(LifetimeTest, ShortLivedThreadsLeaveNothingBehind) {
  const auto call_in_threads = [this](int count) {
    for (int i = 0; i < count; ++i) {
      std::thread([this] { interpreter_->acquire_session(); }).join();
    }
  };
  call_in_threads(500);
  const std::size_t before = resident_kilobytes();
  call_in_threads(5000);
  const std::size_t after = resident_kilobytes();
  EXPECT_LT(after, before + 2000) << "a thread state takes about 1 kB";
}

// A thread that ends tells the allocators of the interpreters that it called: not one that is being unmapped.
TEST(Lifetime, ThreadsMayEndWhileTheirInterpreterDoes) {
  for (int round = 0; round < 30; ++round) {
    std::optional<Interpreter> interpreter(std::in_place);
    std::atomic<int> left{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        interpreter->acquire_session().global("builtins", "bytes")(100'000);
        ++left;
      });
    }
    while (left < 8) std::this_thread::yield();
    interpreter.reset();
    for (std::thread& thread : threads) thread.join();
  }
}

TEST(Lifetime, EndedInterpretersGiveTheirMemoryBack) {
  const auto create_and_end = [](int count) {
    for (int i = 0; i < count; ++i) Interpreter().acquire_session().import_module("asyncio");
  };
  create_and_end(3);
  const std::size_t before = resident_kilobytes();
  create_and_end(20);
  EXPECT_LT(resident_kilobytes(), before + 20 * 2000) << "a bare interpreter with asyncio takes about 8 MB";
}

}  // namespace
}  // namespace deploy
