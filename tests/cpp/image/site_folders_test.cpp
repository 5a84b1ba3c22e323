#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/cpp/image/booted_guest.h"

namespace deploy::test {
namespace {

namespace fs = std::filesystem;

// .pth files, and so editable installations, of site-packages folders.
class SiteFolders : public testing::Test {
 protected:
  SiteFolders() {
    std::string name = (fs::temp_directory_path() / "site-folders-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    fs::create_directories(folder_ / "site-packages");
  }
  ~SiteFolders() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text;
  }
  std::string in_guest(const std::string& code) {
    BootedGuest guest({(folder_ / "site-packages").string()});
    return guest.exec(code);
  }
  fs::path folder_;
};

TEST_F(SiteFolders, ALineThatNamesAFolderAddsItBehindTheEnvironments) {
  write("project/src/mine.py", "value = 1\n");
  write("other/theirs.py", "value = 2\n");
  write("site-packages/mine.pth", "# a comment\n\n" + (folder_ / "project/src").string() + "\n../other\n../missing\n");
  EXPECT_EQ(in_guest("import mine, sys, theirs\nassert (mine.value, theirs.value) == (1, 2)\n"
                     "assert [p.rpartition('/')[2] for p in sys.path] == ['site-packages', 'src', 'other'], sys.path"),
            "");
}

TEST_F(SiteFolders, AnEditableInstallationsFinderIsPutInPlace) {
  write("project/hidden/mapped/__init__.py", "value = 3\n");
  write("site-packages/__editable___mapped_1_0_finder.py",
        "import sys\nfrom importlib.util import spec_from_file_location\n"
        "class _EditableFinder:\n    @classmethod\n    def find_spec(cls, name, path=None, target=None):\n        if name == "
        "'mapped':\n"
        "            return spec_from_file_location(name, '" +
            (folder_ / "project/hidden/mapped/__init__.py").string() +
            "')\n"
            "def install():\n    sys.meta_path.append(_EditableFinder)\n");
  write("site-packages/__editable__.mapped-1.0.pth",
        "import __editable___mapped_1_0_finder; __editable___mapped_1_0_finder.install()\n");
  EXPECT_EQ(in_guest("import mapped\nassert mapped.value == 3\n"
                     "from _deploy import site_folders\nimport sys\ndel sys.modules['mapped']\nsite_folders.forget()\n"
                     "try:\n    import mapped\nexcept ModuleNotFoundError:\n    pass\nelse:\n    assert False"),
            "");
}

TEST_F(SiteFolders, OtherCodeOfTheirsIsNotExecuted) {
  write("site-packages/coverage.pth", "import sys; sys.started_by_pth = True\n");
  EXPECT_EQ(in_guest("import sys\nassert not hasattr(sys, 'started_by_pth')"), "");
}

TEST_F(SiteFolders, AFileThatFailsIsLeftOutAndTheOthersAreRead) {
  write("site-packages/a_editable.pth", "import no_such_editable_finder\n");
  write("site-packages/b.pth", "../late\n");
  write("late/late.py", "value = 4\n");
  EXPECT_EQ(in_guest("import late\nassert late.value == 4"), "");
}

TEST_F(SiteFolders, WhatIsInstalledComesBeforeWhatIsAdded) {
  write("site-packages/same.py", "value = 'installed'\n");
  write("added/same.py", "value = 'added'\n");
  write("added/json.py", "value = 'added'\n");
  write("site-packages/added.pth", "../added\n");
  EXPECT_EQ(in_guest("import json, same\nassert same.value == 'installed' and json.loads('1') == 1"), "");
}

}  // namespace
}  // namespace deploy::test
