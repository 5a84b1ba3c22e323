#include "lib/package/tree_cache.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/cpp/package/tree_testing.h"

namespace deploy {
namespace {

namespace fs = std::filesystem;
using testing::digest_of;
using ::testing::HasSubstr;
using testing::kManifest;
using testing::kRecords;
using testing::package;

class TreeCacheTest : public testing::TreeTest {};

TEST_F(TreeCacheTest, AUnitIsUnpackedOnceAndRepaired) {
  const PackageFile file = open(package(kRecords, kManifest));
  const std::vector<TreeUnit> units = plan(file);
  const fs::path folder = cache().unpack(file, units[1]).value().folder;
  EXPECT_EQ(read(folder / "lib/__init__.py"), "x = 1\n");
  EXPECT_FALSE(fs::exists(folder / "lib/__pycache__"));
  const auto inode = [](const fs::path& path) {
    struct stat status{};
    return ::stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
  };
  const auto before = inode(folder / "lib/data.txt");
  fs::remove(folder / "lib/__init__.py");
  EXPECT_EQ(cache().unpack(file, units[1]).value().folder, folder);
  EXPECT_EQ(read(folder / "lib/__init__.py"), "x = 1\n");
  EXPECT_EQ(inode(folder / "lib/data.txt"), before);
}

TEST_F(TreeCacheTest, ManyMayUnpackAtOnce) {
  const PackageFile file = open(package(kRecords, kManifest));
  const std::vector<TreeUnit> units = plan(file);
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (const TreeUnit& unit : units) EXPECT_TRUE(cache().unpack(file, unit));
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder_ / "cache/trees-1")) ++entries;
  EXPECT_EQ(entries, 4u);
}

TEST_F(TreeCacheTest, UnitsThatNobodyUsesAreRemovedInTheEnd) {
  const PackageFile file = open(package(kRecords, kManifest));
  const std::vector<TreeUnit> units = plan(file);
  const auto old = fs::file_time_type::clock::now() - std::chrono::hours(24 * 31);
  const auto age = [&](const std::string& folder) { fs::last_write_time(folder + ".lock", old); };
  std::string folder = cache().unpack(file, units[1]).value().folder;
  const fs::path left_over = folder + ".abcdef";
  fs::create_directory(left_over);
  fs::last_write_time(left_over, old);
  {
    const UnpackedUnit used = cache().unpack(file, units[1]).value();
    age(folder);
    const UnpackedUnit other = cache().unpack(file, units[0]).value();
    EXPECT_TRUE(fs::exists(folder));
    EXPECT_FALSE(fs::exists(left_over));
    fs::remove_all(other.folder);
  }
  age(folder);
  (void)cache().unpack(file, units[0]).value();
  EXPECT_FALSE(fs::exists(folder));
  EXPECT_FALSE(fs::exists(folder + ".lock"));
}

TEST_F(TreeCacheTest, AFolderOfOthersIsRefused) {
  fs::create_directories(folder_ / "cache/trees-1");
  ::chmod((folder_ / "cache/trees-1").c_str(), 0770);
  const auto cache = TreeCache::open((folder_ / "cache").string());
  ASSERT_FALSE(cache);
  EXPECT_EQ(cache.failure().code, ErrorCode::kEnvironment);
  EXPECT_THAT(cache.failure().message, HasSubstr("others than its owner may write in it"));
}

TEST_F(TreeCacheTest, AFolderOfOthersOnTheWayIsRefused) {
  fs::create_directories(folder_ / "shared/cache");
  ::chmod((folder_ / "shared").c_str(), 0777);
  const auto cache = TreeCache::open((folder_ / "shared/cache").string());
  ASSERT_FALSE(cache);
  EXPECT_EQ(cache.failure().code, ErrorCode::kEnvironment);
  EXPECT_THAT(cache.failure().message, HasSubstr("others than its owner may write in '" + (folder_ / "shared").string() + "'"));
  EXPECT_THAT(cache.failure().message, HasSubstr("; set Environment::cache_dir"));
}

TEST_F(TreeCacheTest, WhatStandsInTheWayIsReplaced) {
  const PackageFile file = open(package(kRecords, kManifest));
  const std::vector<TreeUnit> units = plan(file);
  const fs::path trees = folder_ / "cache/trees-1", folder = trees / units[1].key;
  const fs::path elsewhere = folder_ / "elsewhere";
  const auto expect_unpacked = [&](const std::string& what) {
    const auto unpacked = cache().unpack(file, units[1]);
    ASSERT_TRUE(unpacked) << what << ": " << unpacked.failure().message;
    EXPECT_EQ(unpacked->folder, folder.string()) << what;
    EXPECT_EQ(read(folder / "lib/__init__.py"), "x = 1\n") << what;
    EXPECT_FALSE(fs::exists(fs::symlink_status(folder / "lib/planted.py"))) << what;
  };
  const auto replace = [](const fs::path& path, const auto& make) {
    fs::remove_all(path);
    fs::create_directories(path.parent_path());
    make(path);
  };
  const auto a_file = [](const fs::path& path) { std::ofstream(path) << "in the way"; };
  const auto a_fifo = [](const fs::path& path) { ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0); };
  const auto a_link = [&](const fs::path& path) {
    fs::create_directories(elsewhere);
    std::ofstream(elsewhere / "planted.py") << "raise SystemExit";
    fs::create_directory_symlink(elsewhere, path);
  };
  expect_unpacked("nothing");
  for (const fs::path& path : {trees, folder, folder / "lib", folder / "lib/__init__.py", fs::path(folder.string() + ".lock")}) {
    replace(path, a_file);
    expect_unpacked("a file at " + path.string());
    replace(path, a_fifo);
    expect_unpacked("a FIFO at " + path.string());
    replace(path, a_link);
    if (path == trees) {
      // Somebody's decision, who would wonder where the files are.
      EXPECT_THAT(TreeCache::open((folder_ / "cache").string()).failure().message, HasSubstr("it is a symbolic link"));
      fs::remove(path);
      continue;
    }
    expect_unpacked("a link at " + path.string());
  }
  for (const fs::path& path : {folder / "lib/__init__.py", fs::path(folder.string() + ".lock")}) {
    replace(path, [](const fs::path& at) { fs::create_directories(at / "inner"); });
    expect_unpacked("a folder at " + path.string());
  }
  EXPECT_EQ(read(elsewhere / "planted.py"), "raise SystemExit");
}

TEST_F(TreeCacheTest, WhatOthersMayWriteToIsUnpackedAgain) {
  const PackageFile file = open(package(kRecords, kManifest));
  const std::vector<TreeUnit> units = plan(file);
  const fs::path folder = cache().unpack(file, units[1]).value().folder;
  const auto plant = [](const fs::path& path) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << "planted";
  };
  // A folder that others could write in is not believed, and neither is anything in it.
  plant(folder / "lib/__pycache__/planted.pyc");
  ::chmod((folder / "lib").c_str(), 0777);
  (void)cache().unpack(file, units[1]).value();
  EXPECT_FALSE(fs::exists(folder / "lib/__pycache__"));
  plant(folder / "planted.py");
  ::chmod(folder.c_str(), 0775);
  (void)cache().unpack(file, units[1]).value();
  EXPECT_FALSE(fs::exists(folder / "planted.py"));
  // A file: of the same size and time, so that it is the mode that tells.
  const fs::path text = folder / "lib/data.txt";
  const auto time = fs::last_write_time(text);
  ::chmod(text.c_str(), 0666);
  std::ofstream(text) << "DATA";
  fs::last_write_time(text, time);
  (void)cache().unpack(file, units[1]).value();
  EXPECT_EQ(read(text), "data");
  if (::geteuid() != 0) return;  // nobody else can give files away
  for (const fs::path& path : {folder, folder / "lib", text}) {
    ASSERT_EQ(::chown(path.c_str(), 12345, 0), 0);
    (void)cache().unpack(file, units[1]).value();
    struct stat status{};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_uid, 0u) << path;
  }
}

TEST_F(TreeCacheTest, AVerifiedUnitsFolderHasItsFilesAndNoOthers) {
  const std::string content = package(kRecords, kManifest);
  const FileOptions verified = {.sha256 = digest_of(content)};
  const PackageFile file = open(content, "v.pt", verified), plain = open(content, "u.pt");
  const fs::path folder = cache().unpack(file, plan(file)[1]).value().folder;
  EXPECT_NE(folder, fs::path(cache().unpack(plain, plan(plain)[1]).value().folder));
  for (const char* name : {"numpy.py", "lib/__pycache__/a.cpython-311.pyc", "lib/data/__init__.py", "lib/lib.so"}) {
    fs::create_directories((folder / name).parent_path());
    std::ofstream(folder / name) << "planted";
  }
  fs::create_directory_symlink("/etc", folder / "lib/link");
  // The same size and time: it is the content that tells.
  const auto time = fs::last_write_time(folder / "lib/data.txt");
  fs::permissions(folder / "lib/data.txt", fs::perms::owner_all);
  std::ofstream(folder / "lib/data.txt") << "DATA";
  fs::last_write_time(folder / "lib/data.txt", time);
  (void)cache().unpack(file, plan(file)[1]).value();
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) names.push_back(fs::relative(entry.path(), folder).string());
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("lib", "lib/__init__.py", "lib/data.txt", "lib-1.0.dist-info",
                                                     "lib-1.0.dist-info/METADATA"));
  EXPECT_EQ(read(folder / "lib/data.txt"), "data");
}

TEST_F(TreeCacheTest, ALockThatIsNotGivenBackIsNamed) {
  const PackageFile file = open(package(kRecords, kManifest));
  const std::vector<TreeUnit> units = plan(file);
  const std::string lock = cache().unpack(file, units[1]).value().folder + ".lock";
  {
    const FileDescriptor held(::open(lock.c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_EQ(::flock(held.get(), LOCK_EX), 0);
    const auto unpacked = cache().unpack(file, units[1]);
    ASSERT_FALSE(unpacked);
    EXPECT_EQ(unpacked.failure().code, ErrorCode::kEnvironment);
    EXPECT_THAT(unpacked.failure().message, HasSubstr("another process has held the lock '" + lock + "'"));
  }
  EXPECT_TRUE(cache().unpack(file, units[1]));
}

TEST_F(TreeCacheTest, ALockThatIsGivenBackIsWaitedFor) {
  const PackageFile file = open(package(kRecords, kManifest));
  const std::vector<TreeUnit> units = plan(file);
  const std::string lock = cache().unpack(file, units[1]).value().folder + ".lock";
  FileDescriptor held(::open(lock.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(::flock(held.get(), LOCK_EX), 0);
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    held = FileDescriptor();
  });
  EXPECT_TRUE(cache().unpack(file, units[1]));
  other.join();
}

TEST_F(TreeCacheTest, ACacheFolderThatNoPathNamesIsRefused) {
  for (const std::string& path : {std::string("a\0b", 3), std::string(300, 'x'), "/" + std::string(5000, 'x')}) {
    const auto cache = TreeCache::open(path);
    ASSERT_FALSE(cache);
    EXPECT_EQ(cache.failure().code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(cache.failure().message, HasSubstr("the folder to unpack the code of packages in, '"));
  }
  std::ofstream(folder_ / "file") << "mine";
  const auto cache = TreeCache::open((folder_ / "file").string());
  ASSERT_FALSE(cache);
  EXPECT_EQ(cache.failure().code, ErrorCode::kEnvironment);
  EXPECT_THAT(cache.failure().message, HasSubstr("file' is no folder"));
  EXPECT_EQ(read(folder_ / "file"), "mine");
}

}  // namespace
}  // namespace deploy
