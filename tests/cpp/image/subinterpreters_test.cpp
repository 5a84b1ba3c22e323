#include <gtest/gtest.h>

#include "tests/cpp/image/booted_guest.h"

namespace deploy::test {
namespace {

// The module that makes sub-interpreters has another name since Python 3.13.
constexpr const char* kPrelude = R"(
import sys
try:
    import _xxsubinterpreters as interpreters
    run = interpreters.run_string
except ImportError:
    import _interpreters as interpreters
    def run(interpreter, code):
        failure = interpreters.run_string(interpreter, code)
        if failure:
            raise RuntimeError(failure.formatted)
)";

class Subinterpreters : public testing::Test {
 protected:
  std::string exec(const std::string& code) { return guest_.exec(kPrelude + code); }
  BootedGuest guest_{{"/usr"}};
};

TEST_F(Subinterpreters, HaveTheStandardLibraryAndThePathsOfTheirMaker) {
  EXPECT_EQ(exec(R"(
interpreter = interpreters.create()
run(interpreter, '''
import sys
assert sys.path == ["/usr"] and sys._stdlib_dir.startswith("<image>/"), sys.path
import asyncio, collections, decimal, json, os, pathlib, re, site, subprocess, threading
assert json.__file__ == sys._stdlib_dir + "/json/__init__.py" and os.path.exists(json.__file__)
assert json.loads("[1]") == [1] and decimal.Decimal("0.1") * 3 == decimal.Decimal("0.3")
assert site.__file__ == sys._stdlib_dir + "/site.py" and site.main
try:
    import winreg
except ModuleNotFoundError as error:
    assert "it is of Windows" in str(error)
else:
    assert False
''')
interpreters.destroy(interpreter)
)"),
            "");
}

TEST_F(Subinterpreters, HaveModulesOfTheirOwn) {
  EXPECT_EQ(exec(R"(
import json
json.mark = "the maker's"
interpreter = interpreters.create()
run(interpreter, "import json\nassert not hasattr(json, 'mark')\njson.mark = 'its own'\n")
assert json.mark == "the maker's"
interpreters.destroy(interpreter)
)"),
            "");
}

TEST_F(Subinterpreters, TellOfAnExceptionAndGoOn) {
  EXPECT_EQ(exec(R"(
interpreter = interpreters.create()
try:
    run(interpreter, 'import json; json.loads("{" )')
except RuntimeError as error:
    assert "JSONDecodeError" in str(error) or "Expecting property name" in str(error), error
else:
    assert False
run(interpreter, "import json\nassert json.loads('1') == 1")
interpreters.destroy(interpreter)
)"),
            "");
}

TEST_F(Subinterpreters, MayBeMadeOnOneThreadAndEndedOnAnother) {
  EXPECT_EQ(exec(R"(
import threading
made = []
def on_a_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()
on_a_thread(lambda: made.append(interpreters.create()))
interpreters.destroy(made.pop())
made.append(interpreters.create())
on_a_thread(lambda: run(made[0], "import json, os"))
on_a_thread(lambda: interpreters.destroy(made.pop()))
)"),
            "");
}

// CPython ends the process where one is left at the end; the destructor of the guest asserts that it does not.
TEST_F(Subinterpreters, ThatAreLeftEndWithTheirMaker) {
  EXPECT_EQ(exec(R"(
left = [interpreters.create() for _ in range(3)]
run(left[1], "import threading, json, atexit")
)"),
            "");
}

}  // namespace
}  // namespace deploy::test
