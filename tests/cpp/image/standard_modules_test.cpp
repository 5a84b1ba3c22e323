#include <gtest/gtest.h>

#include "tests/cpp/image/booted_guest.h"

namespace deploy::test {
namespace {

// Every name of sys.stdlib_module_names; docs/standard-library.md lists the ones that are not in the image.
TEST(StandardModules, EachImportsOrItsErrorSaysWhyNot) {
  BootedGuest guest;
  EXPECT_EQ(guest.exec(R"(
import importlib, re, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
reasons = {
    "of Windows": {"_msi", "_overlapped", "_winapi", "_wmi", "msilib", "msvcrt", "nt", "winreg", "winsound"},
    "of macOS": {"_scproxy"}, "of iOS": {"_ios_support"}, "of Android": {"_android_support"},
    "no graphical tools": {"_tkinter", "idlelib", "tkinter", "turtle", "turtledemo"},
    "opens a web browser": {"antigravity"},
    "nothing is installed from inside": {"ensurepip"},
}
built_without = re.compile(r"the embedded Python was built without it, for want of lib\w+")
wrong = []
for name in sorted(sys.stdlib_module_names):
    try:
        importlib.import_module(name)
    except ImportError as error:
        text = str(error)
        if not (built_without.search(text) or re.search(r"\blib[\w.+-]+\.so", text)
                or any(word in text and name in names for word, names in reasons.items())):
            wrong.append(f"{name}: {text}")
assert not wrong, wrong
)"),
            "");
}

// A distribution packs some packages apart (lib2to3, most of distutils), in part or whole.
TEST(StandardModules, PackagesAreWhole) {
  BootedGuest guest;
  EXPECT_EQ(guest.exec(R"(
import importlib, importlib.util, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
names = ["asyncio.taskgroups", "ctypes.wintypes", "email.mime.text", "json.tool", "xml.dom.minidom", "zoneinfo._zoneinfo"]
if sys.version_info < (3, 12):
    names += ["distutils.command.build_ext", "distutils.core", "distutils.version", "distutils.versionpredicate"]
if importlib.util.find_spec("lib2to3"):
    names += ["lib2to3.fixes.fix_print", "lib2to3.pgen2.tokenize"]
for name in names:
    importlib.import_module(name)
)"),
            "");
}

TEST(StandardModules, AnAbsentOneIsModuleNotFoundWithItsReason) {
  BootedGuest guest;
  EXPECT_EQ(guest.exec(R"(
import importlib.util
try:
    import winreg
except ModuleNotFoundError as error:
    assert str(error) == "No module named 'winreg': it is of Windows", error
    assert error.name == "winreg"
else:
    assert False
assert importlib.util.find_spec("winreg") is None
try:
    import tkinter
except ModuleNotFoundError as error:
    assert "no graphical tools" in str(error), error
else:
    assert False
)"),
            "");
}

TEST(StandardModules, AnAbsentOneMayComeFromSitePackages) {
  BootedGuest guest;
  EXPECT_EQ(guest.exec(R"(
import os, sys, tempfile
with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, "turtle.py"), "w") as stream:
        stream.write("here = True")
    sys.path.append(folder)
    import turtle
    assert turtle.here
)"),
            "");
}

TEST(StandardModules, PickleByReference) {
  BootedGuest guest;
  EXPECT_EQ(guest.exec(R"(
import collections, copyreg, decimal, json.decoder, os.path, pathlib, pickle, string, uuid
for thing in (collections.OrderedDict, decimal.Decimal, json.decoder.JSONDecoder, json.loads, os.path.join, pathlib.Path,
              string.Template, uuid.UUID, copyreg.pickle):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(thing, protocol)) is thing, thing
identifier = uuid.uuid4()
assert pickle.loads(pickle.dumps(identifier)) == identifier
)"),
            "");
}

TEST(StandardModules, SpecsDescribeThem) {
  BootedGuest guest;
  EXPECT_EQ(guest.exec(R"(
import importlib, importlib.util, json, json.decoder, math, sys
for name, package in (("json", "json"), ("json.decoder", "json")):
    spec = importlib.util.find_spec(name)
    module = sys.modules[name]
    assert spec.name == name and spec.parent == package and spec.has_location, spec
    assert spec.origin == module.__file__ and spec.submodule_search_locations == getattr(module, "__path__", None)
    assert spec.loader.is_package(name) == hasattr(module, "__path__")
    assert spec.loader.get_filename(name) == module.__file__
fresh = importlib.util.module_from_spec(importlib.util.find_spec("colorsys"))
fresh.__spec__.loader.exec_module(fresh)
assert fresh.rgb_to_hsv(1, 0, 0) == (0.0, 1.0, 1)
assert importlib.reload(json) is json
)"),
            "");
}

}  // namespace
}  // namespace deploy::test
