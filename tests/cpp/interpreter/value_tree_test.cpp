// Trees of Values that are deep or wide: what Value does with them itself, and how much of them crosses.

#include <dlpack/dlpack.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <type_traits>

#include "deploy/interpreter.h"
#include "deploy/manager.h"
#include "deploy/value.h"
#include "tests/cpp/error_of.h"

namespace deploy {
namespace {

using testing::HasSubstr;

static_assert(std::is_nothrow_move_constructible_v<Value> && std::is_nothrow_move_assignable_v<Value>);
static_assert(std::is_nothrow_destructible_v<Value>);

enum class Shape { kList, kTuple, kDictValue, kDictKey };
constexpr Shape kShapes[] = {Shape::kList, Shape::kTuple, Shape::kDictValue, Shape::kDictKey};

// One more level around `inner`, with leaves beside it.
Value around(Shape shape, Value inner) {
  std::vector<Value> items;
  items.push_back("before");
  items.push_back(std::move(inner));
  items.push_back(Value::list({}));
  if (shape == Shape::kList) return Value::list(std::move(items));
  if (shape == Shape::kTuple) return Value::tuple(std::move(items));
  std::vector<std::pair<Value, Value>> pairs;
  pairs.emplace_back(1, Value::list({2}));
  if (shape == Shape::kDictValue) {
    pairs.emplace_back("inner", std::move(items[1]));
  } else {
    pairs.emplace_back(std::move(items[1]), Value::tuple({3}));
  }
  pairs.emplace_back(Value::tuple({4}), 5);
  return Value::dict(std::move(pairs));
}

Value nested(Shape shape, int levels) {
  Value value("core");
  for (int i = 0; i < levels; ++i) value = around(shape, std::move(value));
  return value;
}

const Value& inside(const Value& value) {
  if (value.kind() == Value::Kind::kDict) {
    const auto& [key, item] = value.dict_items()[1];
    return key.kind() == Value::Kind::kStr && key.as_str() == "inner" ? item : key;
  }
  return value.at(1);
}

int levels_of(const Value& value) {
  int levels = 0;
  const Value* at = &value;
  for (; at->kind() != Value::Kind::kStr; at = &inside(*at)) ++levels;
  EXPECT_EQ(at->as_str(), "core");
  return levels;
}

// With a frame for each level it would overflow the stack.
constexpr int kDeep = 100'000;

TEST(ValueTree, OfAnyDepthIsMadeCopiedMovedAndDestroyed) {
  for (const Shape shape : kShapes) {
    Value value = nested(shape, kDeep);
    const Value copy = value;
    EXPECT_EQ(levels_of(copy), kDeep);
    const Value moved = std::move(value);
    EXPECT_EQ(levels_of(moved), kDeep);
    value = copy;
    EXPECT_EQ(levels_of(value), kDeep);
    value = 7;
    EXPECT_EQ(value.as_int(), 7);
    value = std::move(const_cast<Value&>(copy));
    EXPECT_EQ(levels_of(value), kDeep);
  }
}

TEST(ValueTree, ItsContainersAreDestroyedByThemselvesToo) {
  Value::List list{{nested(Shape::kList, kDeep)}};
  list.items.push_back(nested(Shape::kDictKey, kDeep));
  list.items.pop_back();
  list.items.clear();
  EXPECT_TRUE(list.items.empty());
}

TEST(ValueTree, APartOfAValueCanReplaceTheWhole) {
  Value value = Value::dict({{"x", Tensor::empty({2})}, {"deep", nested(Shape::kTuple, 3)}});
  value = value.at("deep");
  EXPECT_EQ(levels_of(value), 3);
  value = value.at(1);
  EXPECT_EQ(levels_of(value), 2);
  value = value.at(std::size_t{0});
  EXPECT_EQ(value.as_str(), "before");
  const Value& self = value;
  value = self;
  EXPECT_EQ(value.as_str(), "before");
  Value list = Value::list({Value::list({1, 2}), 3});
  const Value& same = list;
  list = same;
  EXPECT_EQ(list.repr(), "[[1, 2], 3]");
}

int deleted = 0;

// A managed tensor that counts its end.
Tensor counted() {
  auto* managed = new DLManagedTensorVersioned{};
  managed->version = {DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION};
  managed->dl_tensor.dtype = {kDLFloat, 32, 1};
  managed->dl_tensor.device = {kDLCPU, 0};
  static float number = 0;
  managed->dl_tensor.data = &number;
  managed->deleter = [](DLManagedTensorVersioned* self) {
    ++deleted;
    delete self;
  };
  return Tensor::from_dlpack(managed);
}

// A random tree, whose leaves are let go once each: not by its copy, and not twice.
TEST(ValueTree, LetsGoOfEveryLeafOnce) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<Value> parts;
    int made = 0;
    deleted = 0;
    for (int i = 0; i < 60; ++i) {
      if (parts.size() < 3 || random() % 3 == 0) {
        parts.push_back(random() % 2 ? (++made, Value(counted())) : random() % 2 ? Value("leaf") : Value::dict({}));
        continue;
      }
      std::vector<Value> items;
      for (std::size_t n = random() % 4; n > 0 && !parts.empty(); --n) {
        const std::size_t at = random() % parts.size();
        items.push_back(std::move(parts[at]));
        parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(at));
      }
      if (items.size() % 2 == 0 && random() % 2) {
        std::vector<std::pair<Value, Value>> pairs;
        for (std::size_t n = 0; n + 1 < items.size(); n += 2) pairs.emplace_back(std::move(items[n]), std::move(items[n + 1]));
        parts.push_back(Value::dict(std::move(pairs)));
      } else {
        parts.push_back(random() % 2 ? Value::list(std::move(items)) : Value::tuple(std::move(items)));
      }
    }
    Value whole = Value::list(std::move(parts));
    const std::string before = whole.repr();
    {
      const Value copy = whole;
      EXPECT_EQ(copy.repr(), before);
    }
    EXPECT_EQ(whole.repr(), before);
    EXPECT_EQ(deleted, 0);
    whole = nullptr;
    EXPECT_EQ(deleted, made);
  }
}

TEST(ValueTree, ItsReprStaysShort) {
  for (const Shape shape : kShapes) EXPECT_LT(nested(shape, kDeep).repr().size(), 1000u);
  Value wide(1);
  for (int i = 0; i < 7; ++i) wide = Value::list(std::vector<Value>(8, wide));
  EXPECT_LT(wide.repr().size(), 10'000u);
  std::vector<std::pair<Value, Value>> pairs;
  for (int i = 0; i < 100'000; ++i) pairs.emplace_back(i, i);
  const Value dict = Value::dict(std::move(pairs));
  const std::string message = error_of([&] { dict.at("key"); }).message();
  EXPECT_LT(message.size(), 10'000u);
  EXPECT_THAT(message, HasSubstr("no key \"key\" in a dict with the keys 0, 1, 2, "));
  EXPECT_THAT(message, HasSubstr("... (100000 in all)"));
}

class ValueLimitsTest : public testing::Test {
 protected:
  static Environment environment() {
    return {.memory_limit = std::size_t{64} << 20, .value_limits = {.depth = 20, .items = 1000, .bytes = 0}};
  }
  void SetUp() override {
    interpreter_.register_module("made",
                                 "def dag(levels):\n"
                                 "    value = []\n"
                                 "    for _ in range(levels):\n"
                                 "        value = [value, value]\n"
                                 "    return value\n"
                                 "def nested(levels):\n"
                                 "    value = 'core'\n"
                                 "    for _ in range(levels):\n"
                                 "        value = (value,)\n"
                                 "    return value\n"
                                 "def text(size):\n"
                                 "    return 'x' * size\n"
                                 "def wide(size):\n"
                                 "    return [None] * size\n");
  }
  Object function(const char* name) { return session_.global("made", name); }

  Interpreter interpreter_{environment()};
  InterpreterSession session_{interpreter_.acquire_session()};
};

TEST_F(ValueLimitsTest, AnArgumentThatIsTooDeepIsRefusedAndTheNextCallWorks) {
  const Object identity = session_.global("builtins", "len");
  for (const Shape shape : kShapes) {
    const Error error = error_of([&] { identity({1, nested(shape, kDeep)}); });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_EQ(error.message(),
              "argument 1 has containers more than 20 levels deep inside each other, which is the limit "
              "(Environment::value_limits.depth); pass it flatter, or raise the limit");
  }
  const Error keyword = error_of([&] { identity.call({}, {{"mask", nested(Shape::kList, 21)}}); });
  EXPECT_THAT(keyword.message(), HasSubstr("argument mask has containers more than 20 levels deep"));
  EXPECT_EQ(error_of([&] { session_.from_value(nested(Shape::kList, 21)); }).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(identity(nested(Shape::kList, 19)).to_value().as_int(), 3);
}

TEST_F(ValueLimitsTest, TooManyItemsAmongTheArgumentsAreRefused) {
  const Object check = session_.global("builtins", "len");
  EXPECT_EQ(check(Value::list(std::vector<Value>(1000, 1))).to_value().as_int(), 1000);
  const std::string expected =
      "the arguments of the call hold more than 1000 items, which is the limit (Environment::value_limits.items); pass large data "
      "as tensors, or raise the limit";
  EXPECT_EQ(error_of([&] { check(Value::list(std::vector<Value>(1001, 1))); }).message(), expected);
  const Value half = Value::list(std::vector<Value>(501, 1));
  const Error error = error_of([&] { check({half, half}); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error.message(), expected);
}

TEST_F(ValueLimitsTest, TextBeyondTheInterpretersMemoryIsRefusedBothWays) {
  EXPECT_EQ(interpreter_.value_limits().bytes, std::size_t{64} << 20);
  EXPECT_EQ(function("text")(1 << 20).to_value().size(), std::size_t{1} << 20);
  const Error error = error_of([&] { session_.from_value(std::string((64 << 20) + 1, 'x')); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message(), HasSubstr("the arguments of the call take more than 67108864 bytes, which is the limit"));
}

TEST_F(ValueLimitsTest, AResultBeyondALimitIsNoValueAndTheNextCallWorks) {
  const Error items = error_of([&] { function("dag")(12).to_value(); });
  EXPECT_EQ(items.code(), ErrorCode::kNotAValue);
  EXPECT_THAT(items.message(), HasSubstr("object holds more than 1000 items, which is the limit (Environment::value_limits.items); "
                                         "it was reached at object"));
  const Error depth = error_of([&] { function("nested")(21).to_value(); });
  EXPECT_EQ(depth.code(), ErrorCode::kNotAValue);
  EXPECT_THAT(depth.message(), HasSubstr(" is more than 20 levels deep, which is the limit (Environment::value_limits.depth)"));
  EXPECT_EQ(function("nested")(20).to_value().size(), 1u);
  EXPECT_EQ(error_of([&] { function("wide")(1001).to_value(); }).code(), ErrorCode::kNotAValue);
  EXPECT_EQ(function("wide")(1000).to_value().size(), 1000u);
}

TEST(ValueLimits, LetNoSharedListsFillTheHostsMemory) {
  Interpreter interpreter({.memory_limit = std::size_t{64} << 20});
  interpreter.register_module("made",
                              "def dag(levels):\n"
                              "    value = []\n"
                              "    for _ in range(levels):\n"
                              "        value = [value, value]\n"
                              "    return value\n");
  auto session = interpreter.acquire_session();
  const Error error = error_of([&] { session.global("made", "dag")(23).to_value(); });
  EXPECT_EQ(error.code(), ErrorCode::kNotAValue);
  EXPECT_THAT(error.message(), HasSubstr("object takes more than 67108864 bytes, which is the limit"));
}

TEST(ValueLimits, ADeadlineStopsTheConversionOfAResult) {
  Interpreter interpreter({.value_limits = {.items = std::size_t{1} << 40, .bytes = std::size_t{1} << 50}});
  interpreter.register_module("made",
                              "import itertools\n"
                              "class Endless(dict):\n"
                              "    def items(self):\n"
                              "        return itertools.repeat((1, 2))\n");
  auto session = interpreter.acquire_session();
  const Object endless = session.global("made", "Endless")();
  session.set_timeout(std::chrono::milliseconds(50));
  const Error error = error_of([&] { endless.to_value(); });
  EXPECT_EQ(error.code(), ErrorCode::kDeadlineExceeded);
  EXPECT_THAT(error.message(), HasSubstr("the call was still running at its deadline"));
  session.set_timeout(std::nullopt);
  EXPECT_EQ(session.global("builtins", "abs")(-3).to_value().as_int(), 3);
}

TEST(ValueLimits, RaisedByTheEnvironmentDeepAndWideValuesCross) {
  Interpreter interpreter({.value_limits = {.depth = 100'000, .items = 10'000'000, .bytes = 0}});
  EXPECT_EQ(interpreter.value_limits().bytes, std::size_t{4} << 30);
  auto session = interpreter.acquire_session();
  const Object echo = session.from_value(nested(Shape::kList, 50'000));
  EXPECT_EQ(levels_of(echo.to_value()), 50'000);
  EXPECT_EQ(session.global("builtins", "list")(session.global("builtins", "range")(1'000'000)).to_value().at(999'999).as_int(),
            999'999);
}

TEST(ValueLimits, OfAManagersReplicaAreItsEnvironments) {
  InterpreterManager manager({.environment = {.value_limits = {.depth = 3}}});
  auto session = manager.acquire_session();
  const Object length = session.global("builtins", "len");
  EXPECT_EQ(length.value_limits().depth, 3u);
  const ReplicatedObject replica = session.replicate(length);
  session.close();
  EXPECT_EQ(length.value_limits().depth, ValueLimits().depth);
  EXPECT_EQ(replica.value_limits().depth, 3u);
  EXPECT_EQ(replica(nested(Shape::kList, 2)).as_int(), 3);
  EXPECT_EQ(error_of([&] { replica(nested(Shape::kList, 3)); }).code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace deploy
