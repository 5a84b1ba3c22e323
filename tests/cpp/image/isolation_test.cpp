#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "deploy/environment.h"
#include "tests/cpp/image/booted_guest.h"

namespace deploy::test {
namespace {

namespace fs = std::filesystem;

// A folder of traps: what a Python of the machine's would pick up, in the working directory, the home, and a site-packages. Every
// one that is taken sets an attribute of sys.
class Isolation : public testing::Test {
 protected:
  Isolation() {
    std::string pattern = (fs::temp_directory_path() / "deploy-isolation-XXXXXX").native();
    root_ = mkdtemp(pattern.data());
    user_site_ = root_ / "home/.local/lib" / (std::string("python") + python_version()) / "site-packages";
    for (const fs::path& folder : {root_ / "cwd", root_ / "pythonpath", user_site_}) {
      for (const char* name : {"json", "sitecustomize", "usercustomize", "trap", "_deploy", "encodings"}) trap(folder / name);
    }
    trap(root_ / "startup");
    write(user_site_ / "trap.pth", "import sys; sys.trapped = 'user .pth'\n");
    fs::current_path(root_ / "cwd");
    setenv("HOME", (root_ / "home").c_str(), 1);
  }
  ~Isolation() override {
    fs::current_path("/");
    fs::remove_all(root_);
  }

  static void write(const fs::path& file, const std::string& text) {
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  static void trap(const fs::path& module) {
    write(module.native() + ".py", "import sys; sys.trapped = '" + module.native() + "'\n");
  }

  fs::path root_, user_site_;
};

constexpr const char* kNothingLeaks = R"(
import json, site, sys, sysconfig, runpy, importlib, encodings.utf_8
assert json.__file__.startswith("<image>/"), json
for name in ("trap", "sitecustomize", "usercustomize"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        pass
    else:
        assert False, name
assert not hasattr(sys, "trapped"), sys.trapped
)";

TEST_F(Isolation, TheWorkingDirectoryIsNoPlaceForModules) {
  BootedGuest guest;
  EXPECT_EQ(guest.exec(kNothingLeaks), "");
  EXPECT_EQ(guest.eval("__import__('sys').path"), "[]");
}

TEST_F(Isolation, EnvironmentVariablesAreNotRead) {
  const std::string folder = (root_ / "pythonpath").native();
  setenv("PYTHONPATH", folder.c_str(), 1);
  setenv("PYTHONHOME", folder.c_str(), 1);
  setenv("PYTHONUSERBASE", (root_ / "home/.local").c_str(), 1);
  setenv("PYTHONSTARTUP", (root_ / "startup.py").c_str(), 1);
  setenv("PYTHONPLATLIBDIR", "nowhere", 1);
  setenv("PYTHONWARNINGS", "error", 1);
  setenv("PYTHONBREAKPOINT", "trap.trap", 1);
  for (const char* flag :
       {"PYTHONINSPECT", "PYTHONVERBOSE", "PYTHONOPTIMIZE", "PYTHONDEBUG", "PYTHONDONTWRITEBYTECODE", "PYTHONPROFILEIMPORTTIME",
        "PYTHONDEVMODE", "PYTHONTRACEMALLOC", "PYTHONMALLOCSTATS", "PYTHONSAFEPATH", "PYTHONNOUSERSITE"}) {
    setenv(flag, "1", 1);
  }
  BootedGuest guest;
  EXPECT_EQ(guest.exec(kNothingLeaks), "");
  EXPECT_EQ(guest.eval("__import__('sys').path"), "[]");
  EXPECT_EQ(guest.exec(R"(
import sys, warnings
flags = sys.flags
assert flags.isolated and flags.ignore_environment and flags.no_user_site and flags.no_site, flags
assert not (flags.inspect or flags.verbose or flags.optimize or flags.debug or flags.dev_mode), flags
assert not any(action == "error" for action, *_ in warnings.filters), warnings.filters
)"),
            "");
}

TEST_F(Isolation, UserSiteIsNotReadThoughTheHomeHasOne) {
  BootedGuest guest;
  EXPECT_EQ(guest.exec("import site, sys\nassert not sys.path, sys.path\nassert not site.ENABLE_USER_SITE"), "");
  EXPECT_EQ(guest.exec(kNothingLeaks), "");
}

TEST_F(Isolation, CodeOfPthFilesIsNotRun) {
  const fs::path packages = root_ / "venv/lib" / (std::string("python") + python_version()) / "site-packages";
  write(packages / "hook.pth", "import sys; sys.trapped = '.pth'\n/elsewhere\n");
  write(packages / "package.py", "here = True\n");
  BootedGuest guest({packages.native()});
  EXPECT_EQ(guest.exec(kNothingLeaks), "");
  EXPECT_EQ(guest.exec("import package; assert package.here"), "");
  EXPECT_EQ(guest.eval("__import__('sys').path"), "['" + packages.native() + "']");
}

TEST_F(Isolation, StandardModulesComeOutOfTheImageWhateverSitePackagesHolds) {
  BootedGuest guest({(root_ / "pythonpath").native()});
  EXPECT_EQ(guest.exec("import json, sys, encodings.cp1252\n"
                       "assert json.__file__.startswith('<image>/') and not hasattr(sys, 'trapped')\n"
                       "import trap\nassert sys.trapped == trap.__file__.removesuffix('.py')"),
            "");
}

TEST_F(Isolation, MetadataIsOfTheSitePackages) {
  const fs::path packages = root_ / "packages";
  write(packages / "thing-1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.2\n");
  write(packages / "thing-1.2.dist-info/entry_points.txt", "[things]\none = json:loads\n");
  BootedGuest guest({packages.native()});
  EXPECT_EQ(guest.exec(R"(
import importlib.metadata as metadata, json
assert metadata.version("thing") == "1.2"
assert [d.metadata["Name"] for d in metadata.distributions()] == ["thing"]
(entry,) = metadata.entry_points(group="things")
assert entry.load() is json.loads
)"),
            "");
}

}  // namespace
}  // namespace deploy::test
