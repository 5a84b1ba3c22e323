#include "tests/cpp/guest/guest_test.h"

namespace deploy::guest {
namespace {

using CallsTest = GuestTest;

TEST_F(CallsTest, PositionalAndKeywordArgumentsArriveUnderTheirNames) {
  run("def f(*args, **kwargs): return [args, kwargs]");
  EXPECT_EQ(called("f"), "[(), {}]");
  EXPECT_EQ(called("f", {Values::integer(1), Values::integer(2), Values::integer(3)}, {"b", "a"}), "[(1), {'b': 2, 'a': 3}]");
}

TEST_F(CallsTest, MoreArgumentsThanFitTheStackArrive) {
  std::vector<deploy_value> many(100, Values::integer(1));
  EXPECT_EQ(called("lambda *a: sum(a)", many), "100");
}

TEST_F(CallsTest, AMethodIsCalledOnTheObject) {
  EXPECT_EQ(called("[3, 1, 2]", {Values::integer(1)}, {}, "index"), "1");
  run("class M:\n  def scale(self, x, by): return x * by");
  EXPECT_EQ(called("M()", {Values::integer(6), Values::integer(7)}, {"by"}, "scale"), "42");
}

TEST_F(CallsTest, AMethodThatIsNotThereIsAnAttributeError) {
  EXPECT_EQ(called("[]", {}, {}, "nothing"), "AttributeError: 'list' object has no attribute 'nothing'");
  EXPECT_EQ(report.python_type, "AttributeError");
}

TEST_F(CallsTest, SomethingThatIsNotCallableIsATypeError) { EXPECT_EQ(called("5"), "TypeError: 'int' object is not callable"); }

TEST_F(CallsTest, AKeywordGivenTwiceIsRefused) {
  EXPECT_EQ(called("dict", {Values::integer(1), Values::integer(2)}, {"a", "a"}), "the keyword argument 'a' is given twice");
  EXPECT_EQ(report.error_code, ErrorCode::kInvalidArgument);
}

TEST_F(CallsTest, AKeywordThatIsNotUtf8IsRefusedAndTheTensorsAreGivenBack) {
  EXPECT_EQ(called("dict", {Values::tensor(new_tensor({.shape = {0}}))}, {"\xff"}).substr(0, 46),
            "the name of a keyword argument is not UTF-8 (U");
  EXPECT_EQ(report.error_code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(deleted(), 1);
}

TEST_F(CallsTest, CallGivesAnObjectThatLivesUntilItIsReleased) {
  run("import weakref\nclass C: pass\nseen = []\ndef make():\n  c = C()\n  seen.append(weakref.ref(c))\n  return c");
  Ref make = eval("make");
  deploy_object object = call(handle(make.get()), {nullptr, 0}, nullptr, 0, nullptr, 0, &report);
  ASSERT_NE(object, nullptr);
  EXPECT_EQ(told("seen[0]() is not None"), "True");
  release(object);
  EXPECT_EQ(told("seen[0]() is not None"), "False");
}

TEST_F(CallsTest, AttributesAreReadByName) {
  run("class A:\n  x = 5\na = A()");
  Ref object = eval("a");
  Ref x(borrowed(attr(handle(object.get()), text_of("x"), &report)));
  ASSERT_TRUE(x);
  EXPECT_EQ(PyLong_AsLong(x.get()), 5);
  EXPECT_EQ(attr(handle(object.get()), text_of("y"), &report), nullptr);
  EXPECT_EQ(report.message, "AttributeError: 'A' object has no attribute 'y'");
}

TEST_F(CallsTest, HasattrIsFalseOnlyForAnAttributeError) {
  run("class A:\n  x = 5\n  @property\n  def bad(self): raise ValueError('no')\na = A()");
  Ref object = eval("a");
  EXPECT_EQ(hasattr(handle(object.get()), text_of("x"), &report), 1);
  EXPECT_EQ(hasattr(handle(object.get()), text_of("y"), &report), 0);
  EXPECT_EQ(report.count, 0);
  EXPECT_EQ(hasattr(handle(object.get()), text_of("bad"), &report), -1);
  EXPECT_EQ(report.message, "ValueError: no");
}

TEST_F(CallsTest, NamesLongerThanTheCacheTakesAndNamesOfOneSlotAreKeptApart) {
  run("class Echo:\n  def __getattr__(self, name): return name\necho = Echo()");
  Ref echo = eval("echo");
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 1000; ++i) {
      const std::string name = (i % 2 ? "n" : std::string(100, 'n')) + std::to_string(i);
      Ref got(borrowed(attr(handle(echo.get()), text_of(name), &report)));
      ASSERT_TRUE(got);
      ASSERT_STREQ(PyUnicode_AsUTF8(got.get()), name.c_str());
    }
  }
}

TEST_F(CallsTest, TypeNamesAreQualifiedBuiltinsAside) {
  run("class Outer:\n  class Inner: pass");
  for (auto [expression, expected] : {std::pair{"5", "'int'"},
                                      {"Outer.Inner()", "'test.Outer.Inner'"},
                                      {"__import__('fractions').Fraction(1)", "'fractions.Fraction'"}}) {
    Ref object = eval(expression);
    Recorder recorder;
    EXPECT_EQ(type_name(handle(object.get()), &recorder, &report), 0);
    EXPECT_EQ(recorder.text, expected);
  }
}

TEST_F(CallsTest, StrGivesWhatPythonPrintsWithEscapesForSurrogates) {
  run("class Bad:\n  def __str__(self): raise ValueError('no text')");
  Ref good = eval("['x', '\\udc80']"), odd = eval("'\\udc80'"), bad = eval("Bad()");
  Recorder first, second, third;
  EXPECT_EQ(deploy::guest::str(handle(good.get()), &first, &report), 0);
  EXPECT_EQ(first.text, "'['x', '\\udc80']'");
  EXPECT_EQ(deploy::guest::str(handle(odd.get()), &second, &report), 0);
  EXPECT_EQ(second.text, "'\\udc80'");
  EXPECT_EQ(deploy::guest::str(handle(bad.get()), &third, &report), -1);
  EXPECT_EQ(report.message, "ValueError: no text");
}

}  // namespace
}  // namespace deploy::guest
