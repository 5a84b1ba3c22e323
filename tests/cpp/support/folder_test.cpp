#include "lib/support/folder.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace deploy {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

constexpr uid_t kStranger = 12345;

class FolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(top_);
    fs::permissions(top_, fs::perms::owner_all);
  }
  void TearDown() override { fs::remove_all(top_); }

  static std::string problem(const fs::path& path) {
    const Result<Folder> folder = open_trusted_folder(path.string());
    if (folder) return "trusted";
    EXPECT_EQ(folder.failure().code, ErrorCode::kEnvironment);
    return folder.failure().message;
  }
  static std::string where(const fs::path& path) { return open_trusted_folder(path.string()).value().path; }
  static FileDescriptor opened(const fs::path& path) {
    return FileDescriptor(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }

  const fs::path top_ = fs::canonical(fs::temp_directory_path()) / ("deploy_folder_" + std::to_string(::getpid()));
};

TEST_F(FolderTest, IsMadeForTheUserAlone) {
  EXPECT_EQ(where(top_ / "a/b/c"), (top_ / "a/b/c").string());
  EXPECT_EQ(fs::status(top_ / "a").permissions(), fs::perms::owner_all);
  EXPECT_EQ(fs::status(top_ / "a/b/c").permissions(), fs::perms::owner_all);
}

TEST_F(FolderTest, PathsAreCleaned) {
  EXPECT_EQ(where(top_.string() + "//a/./b/../c/"), (top_ / "a/c").string());
  EXPECT_EQ(where("/.."), "/");
}

TEST_F(FolderTest, AFolderThatOthersMayWriteInIsRefusedWhereverItIsOnTheWay) {
  fs::create_directories(top_ / "a/b/c");
  for (const char* name : {"a", "a/b", "a/b/c"}) {
    for (const mode_t mode : {0777, 0702, 0770}) {
      ::chmod((top_ / name).c_str(), mode);
      EXPECT_THAT(problem(top_ / "a/b/c"), HasSubstr("others than its owner may write in '" + (top_ / name).string() + "'"))
          << mode;
    }
    ::chmod((top_ / name).c_str(), 0700);
  }
  EXPECT_EQ(problem(top_ / "a/b/c"), "trusted");
}

TEST_F(FolderTest, AStickyFolderIsNoProblem) {
  fs::create_directories(top_ / "a/b");
  ::chmod((top_ / "a").c_str(), 01777);
  EXPECT_EQ(problem(top_ / "a/b"), "trusted");
}

TEST_F(FolderTest, AnotherUsersFolderIsRefused) {
  fs::create_directories(top_ / "a/b/c");
  if (::geteuid() != 0) return;  // nobody else can give files away
  for (const char* name : {"a", "a/b", "a/b/c"}) {
    ASSERT_EQ(::chown((top_ / name).c_str(), kStranger, 0), 0);
    EXPECT_THAT(problem(top_ / "a/b/c"), HasSubstr("'" + (top_ / name).string() + "' belongs to user 12345")) << name;
    EXPECT_THAT(problem(top_ / "a/b/c/new"), HasSubstr("belongs to user 12345")) << name;
    ASSERT_EQ(::chown((top_ / name).c_str(), 0, 0), 0);
  }
  EXPECT_EQ(problem(top_ / "a/b/c"), "trusted");
}

TEST_F(FolderTest, LinksOfTheUserAreFollowedAndLeaveThePath) {
  fs::create_directories(top_ / "real/a");
  fs::create_directory_symlink(top_ / "real", top_ / "absolute");
  fs::create_directory_symlink("real/a", top_ / "relative");
  fs::create_directory_symlink("../real/../absolute", top_ / "real/again");
  EXPECT_EQ(where(top_ / "absolute/a"), (top_ / "real/a").string());
  EXPECT_EQ(where(top_ / "relative/new"), (top_ / "real/a/new").string());
  EXPECT_EQ(where(top_ / "real/again/a"), (top_ / "real/a").string());
}

TEST_F(FolderTest, LinksInOrToAFolderOfOthersAreRefused) {
  fs::create_directories(top_ / "open");
  fs::create_directories(top_ / "real");
  fs::create_directory_symlink(top_ / "open", top_ / "to_open");
  fs::create_directory_symlink(top_ / "real", top_ / "open/to_real");
  ::chmod((top_ / "open").c_str(), 0777);
  EXPECT_THAT(problem(top_ / "to_open"), HasSubstr("may write in '" + (top_ / "open").string() + "'"));
  EXPECT_THAT(problem(top_ / "open/to_real"), HasSubstr("may write in '" + (top_ / "open").string() + "'"));
  if (::geteuid() != 0) return;
  ::chmod((top_ / "open").c_str(), 01777);
  EXPECT_EQ(problem(top_ / "open/to_real"), "trusted");
  ASSERT_EQ(::lchown((top_ / "open/to_real").c_str(), kStranger, 0), 0);
  EXPECT_THAT(problem(top_ / "open/to_real"), HasSubstr("to_real' belongs to user 12345"));
}

TEST_F(FolderTest, LinksThatGoRoundAndFilesOnTheWayAreNamed) {
  fs::create_directory_symlink("b", top_ / "a");
  fs::create_directory_symlink("a", top_ / "b");
  EXPECT_THAT(problem(top_ / "a/x"), HasSubstr("Too many levels of symbolic links"));
  std::ofstream(top_ / "file") << "x";
  EXPECT_THAT(problem(top_ / "file/x"), HasSubstr("/file' is no folder"));
  EXPECT_TRUE(fs::is_regular_file(top_ / "file"));
  fs::create_directory_symlink("nowhere", top_ / "dangling");
  EXPECT_EQ(where(top_ / "dangling"), (top_ / "nowhere").string());
}

TEST_F(FolderTest, OneOfOnesOwnTakesThePlaceOfWhateverIsThere) {
  const FileDescriptor top = opened(top_);
  std::ofstream(top_ / "file") << "x";
  fs::create_directories(top_ / "target");
  fs::create_directory_symlink(top_ / "target", top_ / "link");
  fs::create_directories(top_ / "open/inner");
  ::chmod((top_ / "open").c_str(), 0777);
  ASSERT_EQ(::mkfifo((top_ / "fifo").c_str(), 0600), 0);
  for (const char* name : {"file", "link", "open", "fifo", "new"}) {
    ASSERT_TRUE(make_own_folder(top.get(), name)) << name;
    EXPECT_TRUE(fs::is_directory(fs::symlink_status(top_ / name))) << name;
    EXPECT_TRUE(fs::is_empty(top_ / name)) << name;
    EXPECT_EQ(fs::status(top_ / name).permissions(), fs::perms::owner_all) << name;
  }
  EXPECT_TRUE(fs::is_directory(top_ / "target"));
}

TEST_F(FolderTest, RemovingFollowsNoLinksAndReachesEveryDepth) {
  const FileDescriptor top = opened(top_);
  fs::create_directories(top_ / "kept/inner");
  fs::create_directories(top_ / "doomed/locked");
  std::ofstream(top_ / "doomed/locked/file") << "x";
  ::chmod((top_ / "doomed/locked").c_str(), 0);
  fs::create_directory_symlink(top_ / "kept", top_ / "doomed/link");
  fs::path deep = top_ / "doomed";
  for (int i = 0; i < 300; ++i) deep /= "d";
  fs::create_directories(deep);
  std::ofstream(deep / "file") << "x";
  remove_at(top.get(), "doomed");
  remove_at(top.get(), "never was there");
  EXPECT_THAT(names_in(top.get()), UnorderedElementsAre("kept"));
  EXPECT_TRUE(fs::is_directory(top_ / "kept/inner"));
}

TEST_F(FolderTest, FoldersBelowAreMadeOnce) {
  const FileDescriptor top = opened(top_);
  FoldersBelow folders(top.get());
  const int first = folders.folder_of("a/b/x.py").value();
  EXPECT_EQ(folders.folder_of("a/b/y.py").value(), first);
  EXPECT_EQ(folders.folder_of("z.py").value(), top.get());
  (void)folders.folder_of("a/c/z.py").value();
  EXPECT_TRUE(fs::is_directory(top_ / "a/b"));
  EXPECT_TRUE(fs::is_directory(top_ / "a/c"));
}

}  // namespace
}  // namespace deploy
