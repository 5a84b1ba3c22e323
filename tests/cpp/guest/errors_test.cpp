#include <gmock/gmock.h>

#include "tests/cpp/guest/guest_test.h"

namespace deploy::guest {
namespace {

using testing::HasSubstr;
using ErrorsTest = GuestTest;

TEST_F(ErrorsTest, AnExceptionIsReportedWithTypeTextAndTraceback) {
  run("def inner(): raise ValueError('too small')\ndef outer(): inner()");
  EXPECT_EQ(called("outer"), "ValueError: too small");
  EXPECT_EQ(report.error_code, ErrorCode::kPython);
  EXPECT_EQ(report.python_type, "ValueError");
  EXPECT_EQ(report.traceback,
            "Traceback (most recent call last):\n"
            "  File \"<string>\", line 2, in outer\n"
            "  File \"<string>\", line 1, in inner\n"
            "ValueError: too small\n");
}

TEST_F(ErrorsTest, TheTypeOfAnExceptionOfTheModelsOwnIsQualified) {
  run("class Oops(Exception): pass\ndef f(): raise Oops()");
  EXPECT_EQ(called("f"), "test.Oops");
  EXPECT_EQ(report.python_type, "test.Oops");
}

TEST_F(ErrorsTest, CausesAreInTheTraceback) {
  run("def f():\n  try: {}['k']\n  except KeyError as e: raise RuntimeError('outer') from e");
  EXPECT_EQ(called("f"), "RuntimeError: outer");
  EXPECT_THAT(report.traceback,
              HasSubstr("KeyError: 'k'\n\nThe above exception was the direct cause of the following exception:\n"));
}

TEST_F(ErrorsTest, SourceLinesOfFilesAreInTheTraceback) {
  run("import json\ndef f(): json.loads('{')");
  called("f");
  EXPECT_EQ(report.python_type, "json.decoder.JSONDecodeError");
  EXPECT_THAT(report.traceback, HasSubstr("return _default_decoder.decode(s)"));
}

TEST_F(ErrorsTest, SystemExitAndKeyboardInterruptAreErrorsLikeAnyOther) {
  run("import sys\ndef interrupt(): raise KeyboardInterrupt");
  EXPECT_EQ(called("lambda: sys.exit(3)"), "SystemExit: 3");
  EXPECT_EQ(report.error_code, ErrorCode::kPython);
  EXPECT_EQ(report.python_type, "SystemExit");
  EXPECT_EQ(called("interrupt"), "KeyboardInterrupt");
  EXPECT_EQ(called("lambda: 1"), "1");
}

TEST_F(ErrorsTest, AnExceptionWhoseTextRaisesIsStillReported) {
  run("class Mute(Exception):\n  def __str__(self): raise SystemExit\n  __repr__ = __str__\ndef f(): raise Mute");
  EXPECT_EQ(called("f"), "test.Mute: <exception str() failed>");
  EXPECT_EQ(report.python_type, "test.Mute");
  EXPECT_THAT(report.traceback, HasSubstr("test.Mute"));
}

TEST_F(ErrorsTest, AnEndlessRecursionIsReportedAndTheNextCallWorks) {
  run("def f(): return f()");
  EXPECT_EQ(called("f"), "RecursionError: maximum recursion depth exceeded");
  EXPECT_THAT(report.traceback, HasSubstr("[Previous line repeated"));
  EXPECT_EQ(called("lambda: 1"), "1");
}

TEST_F(ErrorsTest, RunningOutOfMemoryIsReported) {
  EXPECT_EQ(called("lambda: bytearray(2**62)"), "MemoryError");
  EXPECT_EQ(report.python_type, "MemoryError");
}

TEST_F(ErrorsTest, AnExceptionGroupIsReportedWithItsParts) {
  run("def f(): raise ExceptionGroup('several', [ValueError('a'), TypeError('b')])");
  EXPECT_EQ(called("f"), "ExceptionGroup: several (2 sub-exceptions)");
  EXPECT_THAT(report.traceback, HasSubstr("| TypeError: b"));
}

TEST_F(ErrorsTest, TextThatIsNoUnicodeIsEscaped) {
  run("def f(): raise ValueError('\\udc80')");
  EXPECT_EQ(called("f"), "ValueError: \\udc80");
}

TEST_F(ErrorsTest, AReportHoldsOnToNothing) {
  run("import weakref\nclass C: pass\nseen = []\n"
      "def f():\n  c = C()\n  seen.append(weakref.ref(c))\n  raise ValueError");
  called("f");
  EXPECT_EQ(told("seen[0]() is None"), "True");
}

TEST_F(ErrorsTest, ATracebackModuleThatIsBrokenLeavesTheMessage) {
  run("import traceback\nkept = traceback.format_exception\ndef broken(*a): raise SystemExit\ntraceback.format_exception = broken");
  EXPECT_EQ(called("lambda: 1 / 0"), "ZeroDivisionError: division by zero");
  EXPECT_EQ(report.traceback, "ZeroDivisionError: division by zero\n");
  run("traceback.format_exception = kept");
}

}  // namespace
}  // namespace deploy::guest
