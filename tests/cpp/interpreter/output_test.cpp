// What Python code prints, in the host's callback.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "deploy/interpreter.h"
#include "deploy/manager.h"
#include "tests/cpp/error_of.h"

namespace deploy {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kSource = R"(
import atexit, os, sys, threading, warnings

def say(text, end='\n'):
    print(text, end=end)

def complain(text):
    print(text, file=sys.stderr)

def write(data):
    sys.stdout.buffer.write(data)

def flush():
    sys.stdout.flush()

def in_a_thread(text):
    thread = threading.Thread(target=print, args=(text,))
    thread.start()
    thread.join()

def raise_in_a_thread():
    def run():
        raise ValueError('of a thread')
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

def warn():
    warnings.warn('careful')

def at_exit(text):
    atexit.register(print, text)

def properties():
    return repr([sys.stdout.name, sys.stdout.encoding, sys.stdout.errors, sys.stderr.errors, sys.stdout.isatty(),
                 sys.stdout.writable(), sys.stdout is sys.__stdout__, sys.stdout.mode])

def descriptor():
    sys.stdout.fileno()

def print_much(thread, count):
    for i in range(count):
        print(f'{thread} {i}')

def fork_and_print():
    child = os.fork()
    if child == 0:
        print('of a child')
        os._exit(0)
    return os.waitpid(child, 0)[1]
)";

struct Line {
  std::size_t interpreter;
  bool error, complete;
  std::string text;
};

class OutputTest : public testing::Test {
 protected:
  OutputTest() {
    environment_.on_output = [this](const OutputLine& line) {
      {
        std::lock_guard lock(mutex_);
        lines_.push_back({line.interpreter, line.stream == OutputLine::Stream::kStderr, line.complete, std::string(line.text)});
      }
      if (then_) then_(line);
    };
    interpreter_.emplace(environment_);
    interpreter_->register_module("talker", kSource);
  }

  void call(const char* function, std::vector<Value> args = {}) {
    interpreter_->acquire_session().global("talker", function)(std::move(args));
  }
  std::vector<std::string> texts() {
    std::lock_guard lock(mutex_);
    std::vector<std::string> result;
    for (const Line& line : lines_) result.push_back(line.text);
    return result;
  }

  std::mutex mutex_;
  std::vector<Line> lines_;
  std::function<void(const OutputLine&)> then_;
  Environment environment_;
  std::optional<Interpreter> interpreter_;
};

TEST_F(OutputTest, LinesComeWithStreamAndInterpreter) {
  call("say", {"one\ntwo"});
  call("complain", {"three"});
  ASSERT_THAT(texts(), ElementsAre("one", "two", "three"));
  EXPECT_EQ(lines_[0].interpreter, interpreter_->id());
  EXPECT_FALSE(lines_[1].error);
  EXPECT_TRUE(lines_[2].error);
  EXPECT_TRUE(lines_[2].complete);
}

TEST_F(OutputTest, PartOfALineWaitsForItsEndOrAFlush) {
  call("say", {"a", "-"});
  call("say", {"b\nc", ""});
  EXPECT_THAT(texts(), ElementsAre("a-b"));
  call("flush");
  ASSERT_THAT(texts(), ElementsAre("a-b", "c"));
  EXPECT_FALSE(lines_[1].complete);
  call("flush");
  EXPECT_EQ(texts().size(), 2u);
  call("say", {""});
  EXPECT_THAT(texts(), ElementsAre("a-b", "c", ""));
}

TEST_F(OutputTest, TheEndOfTheInterpreterFlushesWhatIsLeftAndAtexitMayPrint) {
  call("at_exit", {"good-bye"});
  call("say", {"left", ""});
  EXPECT_THAT(texts(), IsEmpty());
  interpreter_.reset();
  EXPECT_THAT(texts(), ElementsAre("leftgood-bye"));
}

TEST_F(OutputTest, OverlongLineComesInPiecesOfWholeCharacters) {
  const std::string text(50000, 'x');
  std::string euros;
  for (int i = 0; i < 50000; ++i) euros += "€";
  call("say", {text + euros});
  std::string joined;
  for (const Line& line : lines_) {
    EXPECT_LE(line.text.size(), 64u * 1024);
    EXPECT_NE(line.text.front() & 0xC0, 0x80);
    EXPECT_EQ(line.complete, &line == &lines_.back());
    joined += line.text;
  }
  EXPECT_EQ(lines_.size(), 4u);
  EXPECT_EQ(joined, text + euros);
}

TEST_F(OutputTest, BytesOfTheBinaryLayerComeAsTheyAre) {
  call("write", {Value::bytes(std::string("\xff\0x\n", 4))});
  EXPECT_THAT(texts(), ElementsAre(std::string("\xff\0x", 3)));
}

TEST_F(OutputTest, ThreadsOfPythonPrintAndTheirErrorsAreThere) {
  call("in_a_thread", {"of a thread"});
  call("raise_in_a_thread");
  call("warn");
  EXPECT_THAT(texts(), Contains("of a thread"));
  EXPECT_THAT(texts(), Contains("ValueError: of a thread"));
  EXPECT_THAT(texts(), Contains(HasSubstr("UserWarning: careful")));
}

TEST_F(OutputTest, PreloadPrintsToo) {
  Environment environment = environment_;
  environment.preload = {"this"};
  const Interpreter zen(environment);
  EXPECT_THAT(texts(), Contains("Beautiful is better than ugly."));
}

TEST_F(OutputTest, StreamsLookLikeStandardOnesWithoutADescriptor) {
  EXPECT_EQ(interpreter_->acquire_session().global("talker", "properties")().to_value().as_str(),
            "['<stdout>', 'utf-8', 'surrogateescape', 'backslashreplace', False, True, True, 'w']");
  EXPECT_EQ(error_of([this] { call("descriptor"); }).python_type(), "io.UnsupportedOperation");
}

TEST_F(OutputTest, ExceptionOfTheCallbackIsDroppedAndThePrintGoesOn) {
  then_ = [](const OutputLine&) { throw std::runtime_error("no"); };
  call("say", {"one\ntwo"});
  EXPECT_THAT(texts(), ElementsAre("one", "two"));
}

TEST_F(OutputTest, CallbackMayNotEnterTheInterpreterThatPrints) {
  std::vector<Error> errors;
  auto session = interpreter_->acquire_session();
  const Object say = session.global("talker", "say");
  then_ = [&](const OutputLine& line) {
    if (line.text != "enter") return;
    errors.push_back(error_of([&] { interpreter_->acquire_session(); }));
    errors.push_back(error_of([&] { session.import_module("json"); }));
    errors.push_back(error_of([&] { say("x"); }));
    errors.push_back(error_of([&] { interpreter_->register_module("late", ""); }));
  };
  say("enter");
  call("in_a_thread", {"enter"});
  ASSERT_EQ(errors.size(), 8u);
  for (const Error& error : errors) EXPECT_EQ(error.code(), ErrorCode::kWrongSession);
  // On Python's own thread the session and its Object are another thread's in the first place.
  for (const int i : {0, 1, 2, 3, 4, 7}) {
    EXPECT_THAT(errors[i].message(), HasSubstr("was entered from its own output callback")) << i;
  }
  say("after");
  EXPECT_EQ(texts().back(), "after");
}

TEST_F(OutputTest, CallbackMayUseAnotherInterpreterWhoseCallbackMayNotComeBack) {
  Interpreter other(environment_);
  other.register_module("talker", kSource);
  std::optional<Error> refused;
  then_ = [&](const OutputLine& line) {
    if (line.interpreter == interpreter_->id()) {
      other.acquire_session().global("talker", "say")("passed on: " + std::string(line.text));
    } else {
      refused = error_of([&] { interpreter_->acquire_session(); });
    }
  };
  call("say", {"hello"});
  EXPECT_THAT(texts(), ElementsAre("hello", "passed on: hello"));
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->code(), ErrorCode::kWrongSession);
}

TEST_F(OutputTest, ManagerGivesTheCallbackAnotherInterpreterOrRefuses) {
  std::vector<std::size_t> used;
  std::optional<Error> refused;
  std::unique_ptr<InterpreterManager> manager;
  then_ = [&](const OutputLine&) {
    auto first = manager->acquire_session();
    used.push_back(first.interpreter().id());
    Interpreter printing = manager->interpreters()[0];
    refused = error_of([&] { printing.acquire_session(); });
  };
  manager = std::make_unique<InterpreterManager>(ManagerOptions{.interpreters = 2, .environment = environment_});
  manager->register_module("talker", kSource);
  Interpreter printing = manager->interpreters()[0];
  printing.acquire_session().global("talker", "say")("x");
  EXPECT_THAT(used, ElementsAre(manager->interpreters()[1].id()));
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->code(), ErrorCode::kWrongSession);
}

TEST_F(OutputTest, SessionClosedInTheCallbackEndsWithItsThread) {
  std::thread([&] {
    auto session = interpreter_->acquire_session();
    const Object say = session.global("talker", "say");
    then_ = [&](const OutputLine&) { session.close(); };
    say("close");
    then_ = nullptr;
    EXPECT_TRUE(session.closed());
  }).join();
  call("say", {"again"});
  EXPECT_THAT(texts(), ElementsAre("close", "again"));
}

TEST_F(OutputTest, LinesOfManyThreadsAreWhole) {
  constexpr int kThreads = 4, kLines = 300;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] { call("print_much", {i, kLines}); });
  }
  for (auto& thread : threads) thread.join();
  auto all = texts();
  ASSERT_EQ(all.size(), static_cast<std::size_t>(kThreads * kLines));
  for (int i = 0; i < kThreads; ++i) {
    std::vector<std::string> of_thread, expected;
    const std::string prefix = std::to_string(i) + " ";
    std::ranges::copy_if(all, std::back_inserter(of_thread), [&](const auto& line) { return line.starts_with(prefix); });
    for (int n = 0; n < kLines; ++n) expected.push_back(prefix + std::to_string(n));
    EXPECT_EQ(of_thread, expected);
  }
}

TEST_F(OutputTest, InAForkedProcessTheCallbackIsNotCalled) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(interpreter_->acquire_session().global("talker", "fork_and_print")().to_value().as_int(), 0);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "of a child\n");
  EXPECT_THAT(texts(), IsEmpty());
}

TEST(OutputWithoutACallback, GoesToTheProcess) {
  testing::internal::CaptureStdout();
  Interpreter interpreter;
  interpreter.register_module("talker", kSource);
  interpreter.acquire_session().global("talker", "say")("plain");
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "plain\n");
}

}  // namespace
}  // namespace deploy
