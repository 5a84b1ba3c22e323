// Objects of one interpreter replicated to the others, without torch.
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "tests/cpp/pool/pool_testing.h"

namespace deploy {
namespace {

using testing::error_of;
using ::testing::HasSubstr;
using testing::package_path;

class ReplicaTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { manager_ = std::make_unique<InterpreterManager>(ManagerOptions{.interpreters = 2}); }
  static void TearDownTestSuite() { manager_.reset(); }
  static std::unique_ptr<InterpreterManager> manager_;
};

std::unique_ptr<InterpreterManager> ReplicaTest::manager_;

TEST_F(ReplicaTest, AnObjectOfOneInterpreterIsMadeInAll) {
  std::optional<ReplicatedObject> object;
  {
    InterpreterSession session = manager_->acquire_session();
    object = session.replicate(session.from_value(Value::list({1, "two", 3.0})));
  }
  for (Interpreter interpreter : manager_->interpreters()) {
    InterpreterSession session = interpreter.acquire_session();
    const Value copy = session.from_replicated(*object).to_value();
    EXPECT_EQ(copy.at(1).as_str(), "two");
  }
  EXPECT_EQ(object->call_method("__len__").as_int(), 3);
}

TEST_F(ReplicaTest, CodeOfAPackageComesAlong) {
  std::optional<ReplicatedObject> copy;
  {
    const Package package = manager_->load_package(package_path("plain.pt"));
    const ReplicatedObject counter = package.load_pickle("model", "counter.pkl");
    InterpreterSession session = counter.acquire_session();
    Object object = session.from_replicated(counter);
    object(100);
    copy = session.replicate(object);
  }
  for (Interpreter interpreter : manager_->interpreters()) {
    InterpreterSession session = interpreter.acquire_session();
    EXPECT_EQ(session.from_replicated(*copy).call({1}).to_value().as_int(), 106);
  }
}

TEST_F(ReplicaTest, WhatCannotBePickledSaysSo) {
  manager_->register_module("unpicklable", "f = lambda: 1\nimport threading\nlock = threading.Lock()\n");
  InterpreterSession session = manager_->acquire_session();
  EXPECT_THAT(error_of([&] { session.replicate(session.global("unpicklable", "f")); }).message(), HasSubstr("lambda"));
  const Error error = error_of([&] { session.replicate(session.global("unpicklable", "lock")); });
  EXPECT_EQ(error.python_type(), "TypeError");
  EXPECT_THAT(error.traceback(), HasSubstr("replica.py"));
}

TEST_F(ReplicaTest, AStandaloneInterpreterHasNobodyToReplicateTo) {
  Interpreter interpreter;
  InterpreterSession session = interpreter.acquire_session();
  EXPECT_EQ(error_of([&] { session.replicate(session.from_value(1)); }).code(), ErrorCode::kInvalidArgument);
}

TEST_F(ReplicaTest, AReplicaOfAnotherManagerIsRefused) {
  InterpreterManager other;
  const ReplicatedObject twice = other.load_package(package_path("plain.pt")).load_pickle("model", "double.pkl");
  InterpreterSession session = manager_->acquire_session();
  const Error error = error_of([&] { session.from_replicated(twice); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message(), HasSubstr("another manager"));
}

TEST_F(ReplicaTest, AnObjectOfAnotherInterpreterIsRefused) {
  InterpreterSession first = Interpreter(manager_->interpreters()[0]).acquire_session();
  InterpreterSession second = Interpreter(manager_->interpreters()[1]).acquire_session();
  const Object object = first.from_value(1);
  EXPECT_EQ(error_of([&] { second.replicate(object); }).code(), ErrorCode::kWrongSession);
}

TEST_F(ReplicaTest, PreloadInsideASessionDoesNotWaitForIt) {
  const ReplicatedObject twice = manager_->load_package(package_path("plain.pt")).load_pickle("model", "double.pkl");
  InterpreterSession session = twice.acquire_session();
  twice.preload();
  EXPECT_EQ(session.from_replicated(twice)(21).to_value().as_int(), 42);
}

TEST_F(ReplicaTest, ATimeoutEndsTheCallAndNothingElse) {
  manager_->register_module("slow", R"(
import time
def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return seconds
)");
  std::optional<ReplicatedObject> spin;
  {
    InterpreterSession session = manager_->acquire_session();
    spin = session.replicate(session.global("slow", "spin"));
  }
  spin->preload();
  const ReplicatedObject hasty = spin->with_timeout(std::chrono::milliseconds(50));
  EXPECT_EQ(error_of([&] { hasty(60.0); }).code(), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ((*spin)(0.1).as_float(), 0.1);
  EXPECT_EQ(hasty(0.0).as_float(), 0.0);
}

TEST_F(ReplicaTest, ATimeoutCoversTheWaitForAnInterpreter) {
  const ReplicatedObject twice = manager_->load_package(package_path("plain.pt")).load_pickle("model", "double.pkl");
  twice.preload();
  {
    InterpreterSession first = twice.acquire_session(), second = twice.acquire_session();
    std::thread([&] {
      const ReplicatedObject hasty = twice.with_timeout(std::chrono::milliseconds(30));
      const Error error = error_of([&] { hasty(1); });
      EXPECT_EQ(error.code(), ErrorCode::kDeadlineExceeded);
      EXPECT_EQ(error.message(), "no interpreter became free before the deadline");
      EXPECT_EQ(error_of([&] { hasty.acquire_session(); }).code(), ErrorCode::kDeadlineExceeded);
    }).join();
  }
  EXPECT_EQ(twice(21).as_int(), 42);
}

}  // namespace
}  // namespace deploy
