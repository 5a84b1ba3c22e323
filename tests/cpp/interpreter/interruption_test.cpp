// Calls that are stopped: by a deadline, or by another thread.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "deploy/interpreter.h"
#include "tests/cpp/error_of.h"

namespace deploy {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr const char* kSource = R"(
import asyncio, os, threading, time

pipe = None

def tell_through(descriptor):
    global pipe
    pipe = descriptor

def loop_for_ever():
    os.write(pipe, b'.')
    while True:
        pass

def loop_with_handlers():
    while True:
        try:
            loop_for_ever()
        except Exception:
            pass

def catch_once():
    try:
        loop_for_ever()
    except BaseException as caught:
        return type(caught).__name__

def catch_once_and_loop():
    catch_once()
    loop_for_ever()

def raise_another():
    try:
        loop_for_ever()
    except BaseException:
        raise ValueError('stopped') from None

def sleep(seconds):
    time.sleep(seconds)
    return 'slept'

async def spin():
    loop_for_ever()

def run_a_loop():
    asyncio.run(spin())

async def gather():
    async def one(i):
        await asyncio.sleep(0.001)
        return i
    return sum(await asyncio.gather(*(one(i) for i in range(100))))

def run_many():
    return asyncio.run(gather())

count = 0
def start_counting():
    def run():
        global count
        for _ in range(1000):
            count += 1
            time.sleep(0.001)
    threading.Thread(target=run, daemon=True).start()

def counted():
    return count

def short(n):
    total = 0
    for i in range(n):
        total += i
    return total
)";

class InterruptionTest : public testing::Test {
 protected:
  InterruptionTest() {
    interpreter_.register_module("endless", kSource);
    EXPECT_EQ(pipe(pipe_), 0);
    auto session = interpreter_.acquire_session();
    function(session, "tell_through")(pipe_[1]);
  }
  ~InterruptionTest() override {
    if (helper_.joinable()) helper_.join();
    close(pipe_[0]);
    close(pipe_[1]);
  }

  Object function(InterpreterSession& session, const char* name) { return session.global("endless", name); }

  // When loop_for_ever() runs.
  void interrupt_the_loop(std::function<void()> interrupt) {
    helper_ = std::thread([this, interrupt] {
      char begun;
      EXPECT_EQ(read(pipe_[0], &begun, 1), 1);
      std::this_thread::sleep_for(20ms);
      interrupt();
    });
  }
  void interrupt_the_loop(const InterpreterSession& session) {
    interrupt_the_loop([&session] { session.interrupt(); });
  }
  void expect_that_it_goes_on(InterpreterSession& session) {
    for (int i = 0; i < 20; ++i) ASSERT_EQ(function(session, "short")(2000).to_value().as_int(), 1999000);
  }

  Interpreter interpreter_;
  int pipe_[2] = {-1, -1};
  std::thread helper_;
};

TEST_F(InterruptionTest, EndlessLoopIsInterruptedAndTheInterpreterGoesOn) {
  auto session = interpreter_.acquire_session();
  const Object loop = function(session, "loop_for_ever");
  interrupt_the_loop(session);
  const Error error = error_of([&] { loop(); });
  EXPECT_EQ(error.code(), ErrorCode::kCancelled);
  EXPECT_EQ(error.message(), "the call was interrupted (deploy.Interrupted)");
  EXPECT_EQ(error.python_type(), "deploy.Interrupted");
  EXPECT_THAT(error.traceback(), HasSubstr("in loop_for_ever"));
  expect_that_it_goes_on(session);
}

TEST_F(InterruptionTest, InterpreterInterruptsWhateverRuns) {
  interrupt_the_loop([this] { interpreter_.interrupt(); });
  auto session = interpreter_.acquire_session();
  const Object loop = function(session, "loop_with_handlers");
  EXPECT_EQ(error_of([&] { loop(); }).code(), ErrorCode::kCancelled);
  expect_that_it_goes_on(session);
}

TEST_F(InterruptionTest, EndlessLoopEndsAtItsDeadline) {
  auto session = interpreter_.acquire_session();
  const Object loop = function(session, "loop_for_ever");
  const auto start = std::chrono::steady_clock::now();
  session.set_timeout(60ms);
  const Error error = error_of([&] { loop(); });
  const auto elapsed = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(error.code(), ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(error.message(), "the call was still running at its deadline (deploy.Interrupted)");
  EXPECT_GE(elapsed, 60ms);
  EXPECT_LT(elapsed, 5s);
  EXPECT_EQ(error_of([&] { loop(); }).message(), "the deadline had passed before the call could begin");
  session.set_timeout(std::nullopt);
  expect_that_it_goes_on(session);
}

TEST_F(InterruptionTest, DeadlineIsTheSessionsAndEndsWithIt) {
  {
    auto session = interpreter_.acquire_session();
    session.set_timeout(0ms);
    EXPECT_EQ(error_of([&] { session.import_module("sys"); }).code(), ErrorCode::kDeadlineExceeded);
  }
  auto session = interpreter_.acquire_session();
  expect_that_it_goes_on(session);
}

TEST_F(InterruptionTest, OfNestedDeadlinesTheFirstCounts) {
  auto outer = interpreter_.acquire_session();
  {
    auto inner = interpreter_.acquire_session();
    outer.set_timeout(0ms);
    inner.set_timeout(1h);
    EXPECT_EQ(error_of([&] { inner.import_module("sys"); }).code(), ErrorCode::kDeadlineExceeded);
    outer.set_timeout(1h);
    inner.set_timeout(0ms);
    EXPECT_EQ(error_of([&] { outer.import_module("sys"); }).code(), ErrorCode::kDeadlineExceeded);
  }
  expect_that_it_goes_on(outer);
}

TEST_F(InterruptionTest, SleepInCIsInterruptedWhenItReturns) {
  auto session = interpreter_.acquire_session();
  const Object sleep = function(session, "sleep");
  session.set_timeout(20ms);
  const auto start = std::chrono::steady_clock::now();
  const Error error = error_of([&] { sleep(0.2); });
  EXPECT_EQ(error.code(), ErrorCode::kDeadlineExceeded);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 200ms);
}

// No byte code follows the sleep, so the exception that waits for the next one must not wait for the next call's.
TEST_F(InterruptionTest, CallOfACFunctionSucceedsAndTheNextCallIsNotHit) {
  auto session = interpreter_.acquire_session();
  const Object sleep = session.global("time", "sleep");
  helper_ = std::thread([&session] {
    std::this_thread::sleep_for(50ms);
    session.interrupt();
  });
  EXPECT_TRUE(sleep(0.15).defined());
  helper_.join();
  expect_that_it_goes_on(session);
  session.set_timeout(20ms);
  EXPECT_TRUE(sleep(0.1).defined());
  session.set_timeout(std::nullopt);
  expect_that_it_goes_on(session);
}

TEST_F(InterruptionTest, CodeMayCatchTheInterruptionAndReturn) {
  auto session = interpreter_.acquire_session();
  const Object catch_once = function(session, "catch_once");
  interrupt_the_loop(session);
  EXPECT_EQ(catch_once().to_value().as_str(), "Interrupted");
  expect_that_it_goes_on(session);
}

TEST_F(InterruptionTest, CodeThatGoesOnPastItsDeadlineIsStoppedAgain) {
  auto session = interpreter_.acquire_session();
  const Object endless = function(session, "catch_once_and_loop");
  session.set_timeout(20ms);
  EXPECT_EQ(error_of([&] { endless(); }).code(), ErrorCode::kDeadlineExceeded);
}

TEST_F(InterruptionTest, WhatTheInterruptionBecameIsStillTheInterruption) {
  auto session = interpreter_.acquire_session();
  const Object raise_another = function(session, "raise_another");
  interrupt_the_loop(session);
  const Error error = error_of([&] { raise_another(); });
  EXPECT_EQ(error.code(), ErrorCode::kCancelled);
  EXPECT_EQ(error.python_type(), "ValueError");
}

TEST_F(InterruptionTest, EventLoopIsInterrupted) {
  auto session = interpreter_.acquire_session();
  const Object run = function(session, "run_a_loop");
  interrupt_the_loop(session);
  EXPECT_EQ(error_of([&] { run(); }).code(), ErrorCode::kCancelled);
  EXPECT_EQ(function(session, "run_many")().to_value().as_int(), 4950);
}

TEST_F(InterruptionTest, NothingIsInterruptedWhereNothingRuns) {
  interpreter_.interrupt();
  auto session = interpreter_.acquire_session();
  session.interrupt();
  std::this_thread::sleep_for(20ms);
  expect_that_it_goes_on(session);
  session.close();
  session.interrupt();
}

// The interrupting thread aims at sessions of one kind, whose calls are short: many are over when the request is there. Sessions of
// the other kind must never notice.
TEST_F(InterruptionTest, RacingInterruptsNeverHitAnotherSessionsCall) {
  constexpr int kSessions = 200;
  int stopped = 0;
  for (int i = 0; i < kSessions; ++i) {
    std::optional<InterpreterSession> target(interpreter_.acquire_session());
    const Object work = function(*target, "short");
    std::atomic<bool> begun = false;
    std::thread interrupter([&] {
      while (!begun) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::microseconds(37 * (i % 40)));
      target->interrupt();
    });
    begun = true;
    try {
      work(i % 3 == 0 ? 20000 : 500);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kCancelled) << error.what();
      ++stopped;
    }
    target->close();
    auto innocent = interpreter_.acquire_session();
    for (int n = 0; n < 5; ++n) EXPECT_EQ(function(innocent, "short")(2000).to_value().as_int(), 1999000);
    interrupter.join();
  }
  EXPECT_LT(stopped, kSessions);
}

TEST_F(InterruptionTest, ShortCallsWithDeadlinesAllSucceed) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([this] {
      for (int i = 0; i < 300; ++i) {
        auto session = interpreter_.acquire_session();
        session.set_timeout(i % 2 ? 30s : 60s);
        EXPECT_EQ(function(session, "short")(100).to_value().as_int(), 4950);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST_F(InterruptionTest, PythonsThreadsRunWhileNoSessionIsHeld) {
  function(*std::make_unique<InterpreterSession>(interpreter_.acquire_session()), "start_counting")();
  const auto counted = [&] {
    auto session = interpreter_.acquire_session();
    return function(session, "counted")().to_value().as_int();
  };
  const auto before = counted();
  std::this_thread::sleep_for(100ms);
  EXPECT_GT(counted(), before + 5);
}

}  // namespace
}  // namespace deploy
