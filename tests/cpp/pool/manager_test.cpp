#include <atomic>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "tests/cpp/pool/pool_testing.h"

namespace deploy {
namespace {

using testing::call_global;
using testing::error_of;
using testing::eventually;
using ::testing::HasSubstr;

// An object that waits inside an interpreter until the test lets it go.
constexpr const char* kBlocker = R"(
import threading
_free = threading.Event()
def wait(): return _free.wait(30)
def free(): _free.set()
def number(): return 42
)";

TEST(InterpreterManager, NeedsAtLeastOneInterpreter) {
  const Error error = error_of([] { InterpreterManager({.interpreters = 0}); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message(), HasSubstr("at least 1 interpreter and at most 65536; 0 were asked for"));
}

TEST(InterpreterManager, LeavesNothingWhereAnInterpreterFails) {
  Environment environment;
  environment.site_packages = {"/no/such/folder"};
  EXPECT_EQ(error_of([&] { InterpreterManager({.interpreters = 3, .environment = environment}); }).code(), ErrorCode::kEnvironment);
  environment = {};
  environment.preload = {"no_such_module"};
  const Error error = error_of([&] { InterpreterManager({.interpreters = 3, .environment = environment}); });
  EXPECT_THAT(error.message(), HasSubstr("no_such_module"));
}

TEST(InterpreterManager, GivesEachInterpreterItsOwnPython) {
  InterpreterManager manager({.interpreters = 3});
  ASSERT_EQ(manager.size(), 3u);
  std::set<std::int64_t> nones, ids;
  for (Interpreter interpreter : manager.interpreters()) {
    InterpreterSession session = interpreter.acquire_session();
    nones.insert(call_global(session, "builtins", "id", {nullptr}).as_int());
    ids.insert(static_cast<std::int64_t>(interpreter.id()));
  }
  EXPECT_EQ(nones.size(), 3u);
  EXPECT_EQ(ids.size(), 3u);
}

TEST(InterpreterManager, CanBeMadeAndDroppedAgainAndAgain) {
  for (int i = 0; i < 3; ++i) {
    InterpreterManager manager({.interpreters = 2});
    InterpreterSession session = manager.acquire_session();
    EXPECT_EQ(call_global(session, "math", "sqrt", {81.0}).as_float(), 9.0);
  }
}

TEST(InterpreterManager, GivesSessionsOnDifferentInterpretersToDifferentThreads) {
  InterpreterManager manager({.interpreters = 2});
  InterpreterSession first = manager.acquire_session();
  std::optional<std::size_t> other;
  std::thread([&] { other = manager.acquire_session().interpreter().id(); }).join();
  EXPECT_NE(*other, first.interpreter().id());
}

TEST(InterpreterManager, NestsASessionWhereTheThreadHoldsTheOnlyInterpreter) {
  InterpreterManager manager({.interpreters = 1});
  InterpreterSession outer = manager.acquire_session();
  InterpreterSession inner = manager.acquire_session();
  EXPECT_EQ(inner.interpreter().id(), outer.interpreter().id());
  EXPECT_EQ(call_global(inner, "math", "sqrt", {4}).as_float(), 2.0);
}

TEST(InterpreterManager, MakesARegisteredModuleImportableInEveryInterpreter) {
  InterpreterManager manager({.interpreters = 2});
  manager.register_module("blocker", kBlocker);
  for (Interpreter interpreter : manager.interpreters()) {
    InterpreterSession session = interpreter.acquire_session();
    EXPECT_EQ(call_global(session, "blocker", "number").as_int(), 42);
  }
}

TEST(InterpreterManager, CloseWaitsForRunningSessionsAndTurnsTheRestAway) {
  InterpreterManager manager({.interpreters = 1});
  manager.register_module("blocker", kBlocker);
  std::atomic<bool> inside = false, closed = false, turned_away = false;
  std::thread running([&] {
    InterpreterSession session = manager.acquire_session();
    inside = true;
    while (!turned_away) std::this_thread::yield();
    EXPECT_FALSE(closed);
    EXPECT_EQ(call_global(session, "blocker", "number").as_int(), 42);
  });
  ASSERT_TRUE(eventually([&] { return inside.load(); }));
  std::thread waiting([&] {
    EXPECT_EQ(error_of([&] { manager.acquire_session(); }).code(), ErrorCode::kClosed);
    turned_away = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(turned_away);
  manager.close();
  closed = true;
  running.join();
  waiting.join();
}

TEST(InterpreterManager, IsOfNoUseOnceClosed) {
  InterpreterManager manager({.interpreters = 2});
  const Interpreter interpreter = manager.interpreters()[0];
  manager.close();
  manager.close();
  EXPECT_EQ(manager.size(), 2u);
  EXPECT_EQ(error_of([&] { manager.acquire_session(); }).code(), ErrorCode::kClosed);
  EXPECT_EQ(error_of([&] { manager.register_module("x", ""); }).code(), ErrorCode::kClosed);
  EXPECT_EQ(error_of([&] { manager.interpreters(); }).code(), ErrorCode::kClosed);
  EXPECT_EQ(error_of([&] { manager.load_package(testing::package_path("plain.pt")); }).code(), ErrorCode::kClosed);
  EXPECT_EQ(error_of([&] { Interpreter(interpreter).acquire_session(); }).code(), ErrorCode::kClosed);
}

TEST(InterpreterManager, IsNotClosedByAThreadThatHoldsASession) {
  InterpreterManager manager({.interpreters = 2});
  InterpreterSession session = manager.acquire_session();
  const Error error = error_of([&] { manager.close(); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message(), HasSubstr("close the session first"));
  session.close();
  manager.close();
}

TEST(InterpreterManager, MayBeDroppedBeforeTheSessionsOfItsThread) {
  std::optional<InterpreterSession> session;
  {
    InterpreterManager manager({.interpreters = 1});
    session = manager.acquire_session();
  }
  EXPECT_EQ(call_global(*session, "math", "sqrt", {4}).as_float(), 2.0);
}

TEST(InterpreterManager, MayBeMoved) {
  InterpreterManager manager({.interpreters = 1});
  InterpreterManager other = std::move(manager);
  EXPECT_EQ(other.size(), 1u);
  InterpreterSession session = other.acquire_session();
}

TEST(InterpreterManager, ServesManyThreads) {
  InterpreterManager manager({.interpreters = 2});
  std::atomic<int> done = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        InterpreterSession session = manager.acquire_session();
        done += call_global(session, "math", "sqrt", {i * i}).as_float() == i;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(done, 800);
}

}  // namespace
}  // namespace deploy
