#include "deploy/value.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "deploy/error.h"
#include "tests/cpp/error_of.h"

namespace deploy {
namespace {

TEST(Value, KeepsWhatItWasMadeFrom) {
  EXPECT_TRUE(Value().is_none());
  EXPECT_TRUE(Value(nullptr).is_none());
  EXPECT_TRUE(Value(true).as_bool());
  EXPECT_EQ(Value(7).as_int(), 7);
  EXPECT_EQ(Value(7).as_float(), 7.0);
  EXPECT_EQ(Value(std::uint8_t{200}).as_int(), 200);
  EXPECT_EQ(Value(2.5f).as_float(), 2.5);
  EXPECT_EQ(Value(std::complex<double>(1, 2)).as_complex().imag(), 2.0);
  EXPECT_EQ(Value("text").as_str(), "text");
  EXPECT_EQ(Value(std::string_view("view")).as_str(), "view");
  EXPECT_EQ(Value::bytes(std::string("\0x", 2)).as_bytes().size(), 2u);
  EXPECT_TRUE(Value(Tensor::empty({2})).is_tensor());
}

TEST(Value, IntegersOutsideInt64AreRefused) {
  EXPECT_EQ(Value(std::numeric_limits<std::int64_t>::min()).as_int(), std::numeric_limits<std::int64_t>::min());
  const Error error = error_of([] { Value(std::numeric_limits<std::uint64_t>::max()); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error.message(), "an integer larger than 9223372036854775807, the largest int that a deploy::Value holds");
}

TEST(Value, WrongKindIsNamed) {
  const Error error = error_of([] { Value("x").as_int(); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error.message(), "expected a value of kind int, found str: \"x\"");
  EXPECT_EQ(error_of([] { Value().as_tensor(); }).message(), "expected a value of kind Tensor, found None");
  EXPECT_EQ(error_of([] { static_cast<void>(Value(1.5).size()); }).message(),
            "expected a value of kind list, tuple, dict, str or bytes, found float: 1.5");
  EXPECT_EQ(error_of([] { Value(true).as_int(); }).message(), "expected a value of kind int, found bool: True");
}

TEST(Value, ContainersAreReadByIndexAndKey) {
  const Value value = Value::dict({{"a", Value::list({1, 2})}, {3, "three"}});
  EXPECT_EQ(value.size(), 2u);
  EXPECT_EQ(value.at("a").at(1).as_int(), 2);
  EXPECT_EQ(value.find("b"), nullptr);
  const Error error = error_of([&] { value.at("b"); });
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_EQ(error.message(), "no key \"b\" in a dict with the keys \"a\", 3");
  EXPECT_EQ(error_of([&] { Value::dict({}).at("b"); }).message(), "no key \"b\" in a dict with no keys");
  EXPECT_EQ(error_of([&] { value.at("a").at(std::size_t{2}); }).message(), "index 2 of a list of 2 elements");
}

TEST(Value, ReprReadsLikePython) {
  const Value value = Value::dict(
      {{"logits", Tensor::empty({1, 2})}, {"rest", Value::tuple({Value(), true, 1.0, -2, "a\"b", Value::bytes("\x01z\xff")})}});
  EXPECT_EQ(value.repr(), "{\"logits\": Tensor(float32[1, 2]), \"rest\": (None, True, 1.0, -2, \"a\\\"b\", b\"\\x01z\\xff\")}");
  EXPECT_EQ(Value::tuple({1}).repr(), "(1,)");
  EXPECT_EQ(Value::list({}).repr(), "[]");
  EXPECT_EQ(Value(Tensor()).repr(), "Tensor(empty handle)");
}

TEST(Value, LongReprIsCutBetweenCharacters) {
  EXPECT_EQ(Value::list(std::vector<Value>(20, 1)).repr(), "[1, 1, 1, 1, 1, 1, 1, 1, ...]");
  const std::string text = std::string(79, 'x') + "\u00e9";
  EXPECT_EQ(Value(text).repr(), "\"" + std::string(79, 'x') + "...\"");
}

TEST(Error, SaysCodeMessageAndTraceback) {
  const Error error(ErrorCode::kPython, "ValueError: no", "ValueError", "Traceback (most recent call last):\n  ...");
  EXPECT_STREQ(error.what(), "ValueError: no\nTraceback (most recent call last):\n  ...");
  EXPECT_EQ(to_string(error.code()), "python");
  EXPECT_STREQ(Error(ErrorCode::kClosed, "closed").what(), "closed");
  EXPECT_EQ(to_string(ErrorCode::kMissingExtern), "missing_extern");
}

}  // namespace
}  // namespace deploy
