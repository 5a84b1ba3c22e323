#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <thread>
#include <vector>

#include "deploy/interpreter.h"
#include "tests/cpp/error_of.h"

namespace deploy {
namespace {

using testing::HasSubstr;

std::int64_t id_of_none(InterpreterSession& session) { return session.global("builtins", "id")(Value()).to_value().as_int(); }

TEST(Interpreter, CanBeCreatedDestroyedAndCreatedAgain) {
  for (int i = 0; i < 3; ++i) {
    Interpreter interpreter;
    auto session = interpreter.acquire_session();
    EXPECT_EQ(session.global("math", "sqrt")(9.0).to_value().as_float(), 3.0);
  }
}

TEST(Interpreter, HasObjectsOfItsOwn) {
  Interpreter a, b;
  EXPECT_NE(a.id(), b.id());
  auto session_a = a.acquire_session();
  auto session_b = b.acquire_session();
  EXPECT_NE(id_of_none(session_a), id_of_none(session_b));
}

TEST(Interpreter, RegisteredSourceIsImportable) {
  Interpreter interpreter;
  interpreter.register_module("greeting", "def hello(name):\n    return 'hello ' + name\n");
  EXPECT_EQ(interpreter.acquire_session().global("greeting", "hello")("you").to_value().as_str(), "hello you");
}

TEST(Interpreter, FailureOfThePreloadIsThrownAndNamesTheModule) {
  const Error error = error_of([] { Interpreter({.preload = {"json", "no_such_module"}}); });
  EXPECT_EQ(error.code(), ErrorCode::kPython);
  EXPECT_EQ(error.python_type(), "ModuleNotFoundError");
  EXPECT_THAT(error.message(), HasSubstr("preload of \"no_such_module\": ModuleNotFoundError: No module named 'no_such_module'"));
}

TEST(Interpreter, EnvironmentThatCannotBeUsedIsRefused) {
  const Error error = error_of([] { Interpreter({.site_packages = {"/does/not/exist"}}); });
  EXPECT_EQ(error.code(), ErrorCode::kEnvironment);
  EXPECT_EQ(error.message(), "site-packages \"/does/not/exist\": no such folder");
}

TEST(Interpreter, LivesAsLongAsItsSession) {
  std::optional<Interpreter> interpreter(std::in_place);
  auto session = interpreter->acquire_session();
  interpreter.reset();
  EXPECT_EQ(session.global("builtins", "abs")(-3).to_value().as_int(), 3);
}

class SessionTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { shared_ = new Interpreter(); }
  static void TearDownTestSuite() {
    delete shared_;
    shared_ = nullptr;
  }
  static Interpreter& interpreter() { return *shared_; }
  static Object run(InterpreterSession& session, const char* expression) {
    return session.global("builtins", "eval")(expression, Value::dict({}));
  }

 private:
  static inline Interpreter* shared_ = nullptr;
};

TEST_F(SessionTest, ValuesOfEveryKindGoThroughPythonUnchanged) {
  auto session = interpreter().acquire_session();
  const Value value = Value::dict(
      {{"none", Value()},
       {"flags", Value::list({true, false})},
       {"numbers", Value::tuple({1, -2.5, std::complex<double>(0, 1), std::int64_t{1} << 62})},
       {3, Value::bytes(std::string("\0\xff", 2))},
       {"text", "gr\u00fc\u00df"},
       {"nested", Value::dict({{"empty", Value::list({})}, {"pair", Value::tuple({Value::tuple({}), Value::dict({})})}})}});
  EXPECT_EQ(session.from_value(value).to_value().repr(), value.repr());
  EXPECT_EQ(run(session, "lambda x: x")(value).to_value().repr(), value.repr());
}

TEST_F(SessionTest, ManyArgumentsAndKeywordsArrive) {
  auto session = interpreter().acquire_session();
  const Object collect = run(session, "lambda *args, **kwargs: [len(args), args[-1], len(kwargs), kwargs['k19']]");
  std::vector<Value> args(40, Value::list({1, 2}));
  args.push_back("last");
  Kwargs kwargs;
  for (int i = 0; i < 20; ++i) kwargs.emplace_back("k" + std::to_string(i), i);
  EXPECT_EQ(collect.call(args, kwargs).to_value().repr(), "[41, \"last\", 20, 19]");
}

TEST_F(SessionTest, AttributesAndMethodsWork) {
  auto session = interpreter().acquire_session();
  const Object text = session.from_value("a-b");
  EXPECT_TRUE(text.hasattr("split"));
  EXPECT_FALSE(text.hasattr("splat"));
  EXPECT_EQ(text.call_method("split", {"-"}).to_value().repr(), "[\"a\", \"b\"]");
  EXPECT_EQ(text.attr("upper")().to_value().as_str(), "A-B");
  EXPECT_EQ(text.call_method("split", {}, {{"sep", "b"}, {"maxsplit", 1}}).to_value().repr(), "[\"a-\", \"\"]");
  EXPECT_EQ(text.type_name(), "str");
  EXPECT_EQ(run(session, "[1, 2]").str(), "[1, 2]");
  EXPECT_THAT(session.import_module("collections.abc").type_name(), HasSubstr("module"));
}

TEST_F(SessionTest, ObjectsAreArguments) {
  auto session = interpreter().acquire_session();
  const Object list = run(session, "[3, 1, 2]");
  EXPECT_EQ(session.global("builtins", "sorted")(list).to_value().repr(), "[1, 2, 3]");
  EXPECT_EQ(session.global("builtins", "len")(Value::list({list, list})).to_value().as_int(), 2);
}

TEST_F(SessionTest, PythonExceptionCarriesTypeTextAndTraceback) {
  auto session = interpreter().acquire_session();
  interpreter().register_module("raising", "def fail():\n    raise ValueError('no good')\n");
  const Error error = error_of([&] { session.global("raising", "fail")(); });
  EXPECT_EQ(error.code(), ErrorCode::kPython);
  EXPECT_EQ(error.python_type(), "ValueError");
  EXPECT_EQ(error.message(), "ValueError: no good");
  EXPECT_THAT(error.traceback(), HasSubstr("raise ValueError('no good')"));
  EXPECT_EQ(session.global("builtins", "abs")(-1).to_value().as_int(), 1);  // the session goes on
}

TEST_F(SessionTest, SystemExitAndKeyboardInterruptAreErrors) {
  auto session = interpreter().acquire_session();
  EXPECT_EQ(error_of([&] { session.global("sys", "exit")(3); }).python_type(), "SystemExit");
  EXPECT_EQ(error_of([&] { run(session, "(_ for _ in ()).throw(KeyboardInterrupt)"); }).python_type(), "KeyboardInterrupt");
  EXPECT_EQ(run(session, "1 + 1").to_value().as_int(), 2);
}

TEST_F(SessionTest, ObjectWithoutValueFormIsNamedAndCanStillBeHeld) {
  auto session = interpreter().acquire_session();
  const Object object = run(session, "object()");
  const Error error = error_of([&] { object.to_value(); });
  EXPECT_EQ(error.code(), ErrorCode::kNotAValue);
  EXPECT_THAT(error.message(), HasSubstr("object"));
  EXPECT_FALSE(object.hasattr("x"));
}

TEST_F(SessionTest, SessionsNestOnOneThread) {
  auto outer = interpreter().acquire_session();
  const Object object = run(outer, "[1]");
  {
    auto inner = interpreter().acquire_session();
    EXPECT_EQ(inner.global("builtins", "len")(object).to_value().as_int(), 1);
    EXPECT_TRUE(object.is_owner(inner));
  }
  EXPECT_EQ(object.to_value().size(), 1u);
}

TEST_F(SessionTest, SessionsNestOverInterpretersAndEndInAnyOrder) {
  Interpreter other;
  auto first = interpreter().acquire_session();
  auto second = other.acquire_session();
  auto third = interpreter().acquire_session();
  const Object of_second = run(second, "2");
  const Object of_third = run(third, "3");
  EXPECT_FALSE(of_second.is_owner(first));
  first.close();
  EXPECT_EQ(of_third.to_value().as_int(), 3);
  EXPECT_EQ(of_second.to_value().as_int(), 2);
  third.close();
  EXPECT_EQ(of_second.to_value().as_int(), 2);
}

TEST_F(SessionTest, ObjectOfAnotherInterpreterIsRefused) {
  Interpreter other;
  auto session = interpreter().acquire_session();
  auto foreign = other.acquire_session();
  const Object object = run(foreign, "[1]");
  EXPECT_TRUE(object.is_owner(foreign));
  EXPECT_FALSE(object.is_owner(session));
  const Error error = error_of([&] { session.global("builtins", "len")(object); });
  EXPECT_EQ(error.code(), ErrorCode::kWrongSession);
  EXPECT_THAT(error.message(), HasSubstr("an Object of interpreter " + std::to_string(other.id()) +
                                         " was used in a session of interpreter " + std::to_string(interpreter().id())));
}

TEST_F(SessionTest, ObjectDoesNotOutliveItsSession) {
  auto session = interpreter().acquire_session();
  const Object object = run(session, "[1]");
  session.close();
  EXPECT_EQ(error_of([&] { object.to_value(); }).code(), ErrorCode::kWrongSession);
  auto next = interpreter().acquire_session();
  const Error error = error_of([&] { next.global("builtins", "len")(object); });
  EXPECT_EQ(error.code(), ErrorCode::kWrongSession);
  EXPECT_THAT(error.message(), HasSubstr("another session than its own"));
  EXPECT_FALSE(object.is_owner(next));
}

TEST_F(SessionTest, EmptyHandlesAreRefused) {
  auto session = interpreter().acquire_session();
  EXPECT_EQ(error_of([&] { Object().to_value(); }).message(), "an empty deploy::Object was used");
  EXPECT_EQ(error_of([&] { run(session, "id")(Tensor()); }).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of([&] { run(session, "id")(Object()); }).code(), ErrorCode::kInvalidArgument);
}

TEST_F(SessionTest, ClosedSessionSaysSo) {
  auto session = interpreter().acquire_session();
  EXPECT_FALSE(session.closed());
  session.close();
  session.close();
  EXPECT_TRUE(session.closed());
  EXPECT_EQ(error_of([&] { session.import_module("sys"); }).code(), ErrorCode::kClosed);
}

TEST_F(SessionTest, SessionOfAnotherThreadIsRefused) {
  auto session = interpreter().acquire_session();
  const Object object = run(session, "1");
  std::thread([&] {
    EXPECT_EQ(error_of([&] { session.import_module("sys"); }).code(), ErrorCode::kWrongSession);
    EXPECT_EQ(error_of([&] { object.to_value(); }).code(), ErrorCode::kWrongSession);
    EXPECT_FALSE(object.is_owner(session));
  }).join();
  EXPECT_EQ(object.to_value().as_int(), 1);
}

TEST_F(SessionTest, SessionClosedElsewhereEndsWithItsThread) {
  std::thread([] {
    auto session = std::make_unique<InterpreterSession>(interpreter().acquire_session());
    std::thread([&] { session.reset(); }).join();
  }).join();
  EXPECT_EQ(run(*std::make_unique<InterpreterSession>(interpreter().acquire_session()), "4").to_value().as_int(), 4);
}

TEST_F(SessionTest, SessionLeftOpenEndsWithItsThread) {
  std::unique_ptr<InterpreterSession> left;
  std::thread([&] { left = std::make_unique<InterpreterSession>(interpreter().acquire_session()); }).join();
  {
    auto session = interpreter().acquire_session();
    EXPECT_EQ(run(session, "5").to_value().as_int(), 5);
  }
  left.reset();
}

TEST_F(SessionTest, ThreeThreadsCallOneInterpreterManyTimes) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 101; ++i) {
        auto session = interpreter().acquire_session();
        EXPECT_EQ(session.global("operator", "add")(t, i).to_value().as_int(), t + i);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace deploy
