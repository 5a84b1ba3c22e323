#include <gtest/gtest.h>

#include "tests/cpp/image/booted_guest.h"

namespace deploy::test {
namespace {

// What of an import is to be seen: as in plain Python, none of its machinery.
class HiddenFrames : public testing::Test {
 protected:
  HiddenFrames() {
    EXPECT_EQ(guest_.exec(R"(
import atexit, os, shutil, sys, tempfile
folder = tempfile.mkdtemp()
atexit.register(shutil.rmtree, folder)
sys.path.append(folder)
sys.modules["hidden_frames"] = type(sys)("hidden_frames")
def write(name, text):
    os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
    with open(os.path.join(folder, name), "w") as file:
        file.write(text)
def frames(error):
    import traceback
    return [(os.path.basename(frame.filename), frame.name) for frame in traceback.extract_tb(error.__traceback__)]
import hidden_frames
hidden_frames.write, hidden_frames.frames = write, frames
)"),
              "");
  }
  BootedGuest guest_;
};

TEST_F(HiddenFrames, OfAModuleThatFails) {
  EXPECT_EQ(guest_.exec(R"(
from hidden_frames import frames, write
write("fails.py", "def inner():\n    1 / 0\ninner()\n")
write("outer.py", "import fails\n")
try:
    import outer
except ZeroDivisionError as error:
    assert frames(error) == [("<string>", "<module>"), ("outer.py", "<module>"), ("fails.py", "<module>"), ("fails.py", "inner")], frames(error)
else:
    assert False
)"),
            "");
}

TEST_F(HiddenFrames, OfAModuleThatIsNotThere) {
  EXPECT_EQ(guest_.exec(R"(
from hidden_frames import frames
for name in ("no_such_module", "json.no_such_module", "winreg"):
    try:
        exec(f"import {name}", {})
    except ModuleNotFoundError as error:
        assert frames(error)[1:] == [("<string>", "<module>")], frames(error)
    else:
        assert False
)"),
            "");
}

TEST_F(HiddenFrames, OfAModuleOfTheImageThatFails) {
  EXPECT_EQ(guest_.exec(R"(
import sys
from hidden_frames import frames
sys.modules.pop("this", None)
sys.stdout, stdout = None, sys.stdout
class Broken:
    def write(self, text):
        raise ValueError("no output")
sys.stdout = Broken()
try:
    import this
except ValueError as error:
    assert frames(error) == [("<string>", "<module>"), ("this.py", "<module>"), ("<string>", "write")], frames(error)
else:
    assert False
finally:
    sys.stdout = stdout
)"),
            "");
}

TEST_F(HiddenFrames, OfARegisteredModuleThatFails) {
  EXPECT_EQ(guest_.exec(R"(
from _deploy import registered
from hidden_frames import frames
registered.register("registered_fails", "def inner():\n    {}['k']\ninner()\n")
try:
    import registered_fails
except KeyError as error:
    assert [name for _, name in frames(error)] == ["<module>", "<module>", "inner"], frames(error)
    assert "frozen" not in str(frames(error))
else:
    assert False
)"),
            "");
}

TEST_F(HiddenFrames, ACallersFrameIsWhatAWarningOfAnImportCounts) {
  EXPECT_EQ(guest_.exec(R"(
import warnings
from hidden_frames import write
write("warns.py", "import warnings\nwarnings.warn('at its import', DeprecationWarning, stacklevel=2)\n")
write("imports.py", "\n\nimport warns\n")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import imports
assert [(w.filename.rpartition("/")[2], w.lineno) for w in caught] == [("imports.py", 3)], caught[0].filename
)"),
            "");
}

TEST_F(HiddenFrames, ADebuggerStepsThroughTheStandardLibraryAndShowsItsSource) {
  EXPECT_EQ(guest_.exec(R"(
import io, json, pdb
out = io.StringIO()
debugger = pdb.Pdb(stdin=io.StringIO("step\nstep\nlist\nwhere\ncontinue\n"), stdout=out, nosigint=True, readrc=False)
debugger.runcall(json.loads, "[1]")
text = out.getvalue()
assert "json/__init__.py" in text and "if isinstance(s, str):" in text and "_deploy" not in text, text
)"),
            "");
}

TEST_F(HiddenFrames, ADebuggerLeavesThemOutByTheNameOfImportlib) {
  EXPECT_EQ(guest_.exec(R"(
import bdb, sys
sys.modules.pop("colorsys", None)
class Debugger(bdb.Bdb):
    seen = []
    def user_call(self, frame, arguments):
        self.seen.append((frame.f_globals.get("__name__"), frame.f_code.co_name))
        self.set_step()
    def user_line(self, frame):
        self.set_step()
debugger = Debugger(skip=["importlib*", "zipimport"])
debugger.run("import colorsys", {"__name__": "caller"})
assert [name for name, _ in debugger.seen if name not in ("caller", "colorsys")] == [], debugger.seen
)"),
            "");
}

}  // namespace
}  // namespace deploy::test
