#include "deploy/environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "deploy/error.h"
#include "lib/interpreter/environment.h"

namespace deploy {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

const std::string kOurs = python_version();

class EnvironmentTest : public testing::Test {
 protected:
  EnvironmentTest() {
    std::string pattern = (fs::temp_directory_path() / "deploy-environment-XXXXXX").native();
    root_ = mkdtemp(pattern.data());
  }
  ~EnvironmentTest() override { fs::remove_all(root_); }

  std::string folder(const fs::path& path) {
    fs::create_directories(root_ / path);
    return (root_ / path).native();
  }
  void file(const fs::path& path) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << "x";
  }
  static std::string problem(const Environment& environment) {
    const auto checked = detail::check_environment(environment);
    if (checked) return "none";
    EXPECT_EQ(checked.failure().code, ErrorCode::kEnvironment);
    return checked.failure().message;
  }

  fs::path root_;
};

TEST_F(EnvironmentTest, FromVenvFindsTheFolderOfThisPythonVersion) {
  const std::string packages = folder("venv/lib/python" + kOurs + "/site-packages");
  EXPECT_THAT(Environment::from_venv((root_ / "venv").native()).site_packages, testing::ElementsAre(packages));
}

TEST_F(EnvironmentTest, FromVenvSaysWhichVersionItFound) {
  folder("venv/lib/python3.8/site-packages");
  try {
    Environment::from_venv((root_ / "venv").native());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kEnvironment);
    EXPECT_THAT(error.message(), AllOf(HasSubstr("found python3.8"), HasSubstr("expected lib/python" + kOurs + "/site-packages")));
  }
}

TEST_F(EnvironmentTest, FromVenvOfAMissingFolderSaysSo) {
  try {
    Environment::from_venv("/does/not/exist");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "virtual environment \"/does/not/exist\": no such folder");
  }
}

TEST_F(EnvironmentTest, MissingFoldersAndFilesAreNamed) {
  file("a_file");
  EXPECT_EQ(problem({.site_packages = {"/does/not/exist"}}), "site-packages \"/does/not/exist\": no such folder");
  EXPECT_THAT(problem({.extra_paths = {(root_ / "a_file").native()}}), HasSubstr("not a folder"));
  EXPECT_EQ(problem({.site_packages = {folder("empty")}}), "none");
}

TEST_F(EnvironmentTest, APathWithANulCharacterIsNamed) {
  const std::string path = folder("there") + std::string("\0x", 2);
  for (const auto& [environment, what] :
       {std::pair(Environment{.site_packages = {path}}, "site-packages"),
        std::pair(Environment{.extra_paths = {path}}, "extra path"), std::pair(Environment{.cache_dir = path}, "cache_dir")}) {
    const auto checked = detail::check_environment(environment);
    ASSERT_FALSE(checked) << what;
    EXPECT_EQ(checked.failure().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(checked.failure().message, AllOf(HasSubstr(what), HasSubstr("there\\x00x' has a NUL character")));
  }
}

TEST_F(EnvironmentTest, FolderOfAnotherPythonVersionIsRefused) {
  const std::string packages = folder("lib/python3.8/site-packages");
  EXPECT_EQ(problem({.site_packages = {packages}}), "site-packages \"" + packages +
                                                        "\": a folder of Python 3.8; this library runs Python " + kOurs +
                                                        " and needs packages installed for it");
}

TEST_F(EnvironmentTest, ExtensionModulesOfAnotherPythonVersionAreRefused) {
  file("packages/numpy/core/_multiarray.cpython-38-x86_64-linux-gnu.so");
  EXPECT_THAT(problem({.site_packages = {folder("packages")}}),
              AllOf(HasSubstr("_multiarray.cpython-38-x86_64-linux-gnu.so is for Python 3.8"),
                    HasSubstr("this library runs Python " + kOurs)));
}

TEST_F(EnvironmentTest, FolderThatServesSeveralVersionsIsAccepted) {
  std::string tag = kOurs;
  tag.erase(tag.find('.'), 1);
  file("packages/_x.cpython-38-x86_64-linux-gnu.so");
  file("packages/_x.cpython-" + tag + "-x86_64-linux-gnu.so");
  file("packages/_y.abi3.so");
  EXPECT_EQ(problem({.site_packages = {folder("packages")}}), "none");
}

TEST(LinkPolicy, KnowsTheNamesOfPythonAndLibtorch) {
  const loader::Policy policy = detail::link_policy({.private_libraries = {"libmine*"}});
  for (const char* name : {"PyList_New", "_PyObject_New", "_Py_NoneStruct", "Py_Initialize", "_ZN2at6TensorC1Ev",
                           "_ZNK3c1010TensorImpl3dimEv", "_ZTVN5torch8autograd4NodeE"}) {
    EXPECT_TRUE(policy.is_private_symbol(name)) << name;
  }
  for (const char* name : {"PyInit__ssl", "Pyre", "memcpy", "_ZN4base3fooEv", "_ZSt4cout", "Py", "_Z1fN2at6TensorE"}) {
    EXPECT_FALSE(policy.is_private_symbol(name)) << name;
  }
  EXPECT_THAT(policy.private_names, testing::Contains("libmine*"));
  EXPECT_THAT(policy.private_names, testing::Contains("libc10*"));
}

TEST_F(EnvironmentTest, LibrariesOfItsFoldersArePrivateUnlessSharedLibrariesNamesThem) {
  const std::string site = folder("site"), extra = folder("extra");
  std::filesystem::create_directory_symlink(site, site + "-link");
  const loader::Policy policy = detail::link_policy(
      {.site_packages = {site + "-link/"}, .extra_paths = {extra + "/../extra"}, .shared_libraries = {"libmine*"}});
  EXPECT_THAT(policy.private_folders, testing::ElementsAre(site + "-link/", std::filesystem::canonical(site).native(), extra));
  for (const char* pattern : {"libmine*", "libgomp*", "libopenblas*", "libgfortran*"})
    EXPECT_THAT(policy.stateless_names, testing::Contains(pattern));
  EXPECT_THAT(policy.stateful_names, testing::Contains("libhdf5*"));
}

}  // namespace
}  // namespace deploy
