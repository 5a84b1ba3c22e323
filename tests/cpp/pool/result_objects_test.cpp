// Parts of a result that have no Value form come as Objects that belong to no session.
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/cpp/pool/pool_testing.h"

namespace deploy {
namespace {

using testing::call_global;
using testing::error_of;
using testing::eventually;
using ::testing::HasSubstr;

constexpr const char* kCode = R"(
import weakref

class Cache:
    made = []
    def __init__(self, length=1):
        self.length = length
        Cache.made.append(weakref.ref(self))
    def longer(self, by):
        self.length += by
        return self
    def fail(self):
        raise ValueError("no good")

def generate(cache=None, **kwargs):
    cache = (cache or kwargs.get("cache") or Cache()).longer(1)
    return {"tokens": [1, 2], "cache": cache, "big": 2**70, "length": cache.length}

def posterior(): return Cache()
def first(tree): return tree["in"][0].length
def interpreter_of(*args): return id(None)
)";

class ResultObjectsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    manager_ = std::make_unique<InterpreterManager>(ManagerOptions{.interpreters = 2});
    manager_->register_module("made", kCode);
  }
  ReplicatedObject function(const char* name) {
    const InterpreterSession session = manager_->acquire_session();
    return session.replicate(session.global("made", name));
  }
  std::unique_ptr<InterpreterManager> manager_;
};

TEST_F(ResultObjectsTest, TheHostGetsTheFieldsThatHaveAValueAndHandlesForTheRest) {
  const Value result = function("generate")();
  EXPECT_EQ(result.repr(), "{\"tokens\": [1, 2], \"cache\": Object(made.Cache), \"big\": Object(int), \"length\": 2}");
  const Object cache = result.at("cache").as_object();
  EXPECT_FALSE(cache.has_session());
  EXPECT_EQ(cache.type_name(), "made.Cache");
  EXPECT_EQ(cache.attr("length").to_value().as_int(), 2);
  EXPECT_EQ(cache.call_method("longer", {3}).attr("length").to_value().as_int(), 5);
  EXPECT_TRUE(cache.hasattr("longer"));
  EXPECT_EQ(result.at("big").as_object().str(), "1180591620717411303424");
  EXPECT_EQ(cache.attr("longer").type_name(), "method");
}

TEST_F(ResultObjectsTest, AResultWithoutAnyValueIsAnObject) {
  const Value result = function("posterior")();
  EXPECT_EQ(result.as_object().attr("length").to_value().as_int(), 1);
  EXPECT_THAT(error_of([&] { result.as_tensor(); }).message(), HasSubstr("found Object: Object(made.Cache)"));
  const Error error = error_of([&] { result.as_object().to_value(); });
  EXPECT_EQ(error.code(), ErrorCode::kNotAValue);
  EXPECT_THAT(error.message(), HasSubstr("made.Cache"));
}

TEST_F(ResultObjectsTest, AnyThreadMayUseThem) {
  const Object cache = function("posterior")().as_object();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([cache] {
      for (int k = 0; k < 50; ++k) cache.call_method("longer", {1});
    });
  }
  for (std::thread& each : threads) each.join();
  EXPECT_EQ(cache.attr("length").to_value().as_int(), 201);
}

TEST_F(ResultObjectsTest, ACallWithOneRunsOnItsInterpreter) {
  const ReplicatedObject generate = function("generate"), first = function("first");
  Value result = generate();
  for (int i = 0; i < 6; ++i) {  // the other interpreter is the one that is used last
    std::thread([&] { function("interpreter_of")(); }).join();
    result = generate.call({result.at("cache")});
    result = generate.call({}, {{"cache", result.at("cache")}});
  }
  EXPECT_EQ(result.at("length").as_int(), 14);
  EXPECT_EQ(first(Value::dict({{"in", Value::list({result.at("cache")})}})).as_int(), 14);
}

TEST_F(ResultObjectsTest, ThoseOfTwoInterpretersDoNotGoTogether) {
  const ReplicatedObject posterior = function("posterior"), identity = function("interpreter_of");
  std::vector<Object> objects;
  for (const Interpreter& interpreter : manager_->interpreters()) {
    const InterpreterSession session = interpreter.acquire_session();
    objects.push_back(posterior().as_object());  // a thread that holds a session gets another free interpreter first
  }
  EXPECT_NE(identity(objects[0]).as_int(), identity(objects[1]).as_int());
  EXPECT_EQ(error_of([&] { identity(objects[0], objects[1]); }).code(), ErrorCode::kWrongSession);
  EXPECT_EQ(identity(objects[0]).as_int(), identity(objects[0]).as_int());
}

TEST_F(ResultObjectsTest, SessionsOfItsInterpreterTakeOne) {
  const Object cache = function("posterior")().as_object();
  int owners = 0;
  for (const Interpreter& interpreter : manager_->interpreters()) {
    InterpreterSession session = interpreter.acquire_session();
    if (!cache.is_owner(session)) {
      EXPECT_EQ(error_of([&] { session.from_value(cache); }).code(), ErrorCode::kWrongSession);
      continue;
    }
    ++owners;
    EXPECT_EQ(session.from_value(cache).attr("length").to_value().as_int(), 1);
    EXPECT_EQ(cache.attr("length").to_value().as_int(), 1);  // inside of the session too
    EXPECT_EQ(session.replicate(cache).call_method("__getattribute__", {"length"}).as_int(), 1);
  }
  EXPECT_EQ(owners, 1);
}

TEST_F(ResultObjectsTest, TheObjectLivesAsLongAsTheHandle) {
  const ReplicatedObject posterior = function("posterior");
  std::optional<Object> object = posterior().as_object();
  const Object anchor = object->attr("__class__");  // its calls run where the object is
  const Object count = anchor.attr("made");
  EXPECT_EQ(count.call_method("__len__").to_value().as_int(), 1);
  EXPECT_EQ(count.call_method("__getitem__", {0})().type_name(), "made.Cache");
  object.reset();
  EXPECT_TRUE(eventually([&] { return count.call_method("__getitem__", {0})().type_name() == "NoneType"; }));
}

TEST_F(ResultObjectsTest, WhatItsCodeRaisesIsAnErrorAndItGoesOn) {
  const Object cache = function("posterior")().as_object();
  const Error error = error_of([&] { cache.call_method("fail"); });
  EXPECT_EQ(error.code(), ErrorCode::kPython);
  EXPECT_EQ(error.message(), "ValueError: no good");
  EXPECT_EQ(error_of([&] { cache.attr("nothing"); }).python_type(), "AttributeError");
  EXPECT_EQ(cache.attr("length").to_value().as_int(), 1);
}

TEST_F(ResultObjectsTest, ItEndsWithItsManager) {
  const Object cache = function("posterior")().as_object();
  const ValueLimits limits = cache.value_limits();
  EXPECT_EQ(limits.depth, ValueLimits().depth);
  manager_->close();
  EXPECT_EQ(error_of([&] { cache.attr("length"); }).code(), ErrorCode::kClosed);
  manager_.reset();
  const Error error = error_of([&] { cache.attr("length"); });
  EXPECT_EQ(error.code(), ErrorCode::kClosed);
  EXPECT_THAT(error.message(), HasSubstr("which an Object is of, has ended"));
  EXPECT_EQ(cache.type_name(), "made.Cache");
  EXPECT_EQ(cache.value_limits().depth, ValueLimits().depth);
}

TEST_F(ResultObjectsTest, LimitsHoldForWhatIsAroundThem) {
  InterpreterManager manager({.environment = {.value_limits = {.items = 10}}});
  manager.register_module("made", "def many(n): return [object() for _ in range(n)]");
  const InterpreterSession session = manager.acquire_session();
  const ReplicatedObject many = session.replicate(session.global("made", "many"));
  EXPECT_EQ(many(10).size(), 10u);
  EXPECT_EQ(error_of([&] { many(11); }).code(), ErrorCode::kNotAValue);
}

}  // namespace
}  // namespace deploy
