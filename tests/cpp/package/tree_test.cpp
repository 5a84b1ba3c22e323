#include "lib/package/tree.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "lib/package/digest.h"
#include "lib/package/tree_cache.h"
#include "tests/cpp/package/zip_builder.h"

namespace deploy {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ZipBuilder;

using Records = std::map<std::string, std::string>;

std::string digest_of(const std::string& text) {
  Sha256 digest;
  digest.add(text);
  return hex(digest.finish());
}

// A package of these records, with a manifest that says so; `more` are further members of it.
std::string package(const Records& records, const std::string& more = "") {
  ZipBuilder zip;
  zip.add({"p/.data/extern_modules", "\n"});
  std::string list;
  for (const auto& [name, data] : records) {
    zip.add({"p/" + name, data});
    list += (list.empty() ? "\"" : ", \"") + name + "\": {\"sha256\": \"" + digest_of(data) +
            "\", \"size\": " + std::to_string(data.size()) + "}";
  }
  return zip.add({"p/.data/deploy/manifest.json", "{\"format\": 1, \"records\": {" + list + "}" + more + "}"}).build();
}

const Records kRecords = {{"lib/__init__.py", "x = 1\n"}, {"lib/data.txt", "data"},           {"lib-1.0.dist-info/METADATA", "m"},
                          {"own.py", "y = 2\n"},          {"own_data/list.txt", "a"},         {"model/model.pkl", "pickle"},
                          {"fx-generated/_0.py", ""},     {"lib/__pycache__/a.pyc", "stale"}, {"byteorder", "little"}};
const std::string kManifest = R"(, "callables": [{"package": "model", "resource": "model.pkl"}],
    "interned": [{"distribution": "Lib", "version": "1.0", "modules": ["lib"]}])";

class TreeTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directory(folder_); }
  void TearDown() override { fs::remove_all(folder_); }

  PackageFile open(const std::string& content, const std::string& name = "m.pt", const FileOptions& options = {}) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return PackageFile::open((folder_ / name).string(), options).value();
  }
  static std::vector<TreeUnit> plan(const PackageFile& file) {
    return plan_tree(file.archive(), *file.manifest(), file.path()).value();
  }
  TreeCache cache() const { return TreeCache::open((folder_ / "cache").string()).value(); }
  static std::string read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  const fs::path folder_ = fs::temp_directory_path() / ("deploy_tree_" + std::to_string(::getpid()));
};

TEST_F(TreeTest, ADistributionIsAUnitAndTheRestIsOne) {
  const PackageFile file = open(package(kRecords, kManifest));
  const std::vector<TreeUnit> units = plan(file);
  ASSERT_EQ(units.size(), 2u);
  EXPECT_THAT(units[0].tops, ElementsAre("own", "own_data"));
  EXPECT_THAT(units[1].tops, ElementsAre("lib"));
  std::vector<std::string> names;
  for (const Record* record : units[1].records) names.push_back(record->name);
  EXPECT_THAT(names, ElementsAre("lib-1.0.dist-info/METADATA", "lib/__init__.py", "lib/data.txt"));
}

TEST_F(TreeTest, AUnitsKeyIsThatOfItsContentWhateverIsBesideIt) {
  Records other = kRecords;
  other["own.py"] = "y = 3\n";
  const PackageFile first = open(package(kRecords, kManifest), "a.pt"), second = open(package(other, kManifest), "b.pt");
  EXPECT_EQ(plan(first)[1].key, plan(second)[1].key);
  EXPECT_NE(plan(first)[0].key, plan(second)[0].key);
}

TEST_F(TreeTest, DistributionsOfOneNamespaceAreOneUnit) {
  const Records records = {{"ns/a.py", ""}, {"ns/b.py", ""}, {"c.py", ""}};
  const std::string manifest =
      R"(, "interned": [{"distribution": "a", "modules": ["ns"]}, {"distribution": "b", "modules": ["ns.b"]},
                                                 {"distribution": "c", "modules": ["c"]}])";
  const PackageFile file = open(package(records, manifest));
  const std::vector<TreeUnit> units = plan(file);
  ASSERT_EQ(units.size(), 2u);
  EXPECT_THAT(units[0].tops, ElementsAre("ns"));
}

TEST_F(TreeTest, AFileThatIsAFolderTooIsRefused) {
  const PackageFile file = open(package({{"lib/a", "x"}, {"lib/a/b.py", "y"}}));
  const auto units = plan_tree(file.archive(), *file.manifest(), file.path());
  ASSERT_FALSE(units);
  EXPECT_EQ(units.failure().code, ErrorCode::kInvalidPackage);
  EXPECT_THAT(units.failure().message, HasSubstr("'lib/a/b.py' below a record that is a file"));
}

TEST_F(TreeTest, AUnitIsUnpackedOnceAndRepaired) {
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

TEST_F(TreeTest, ManyMayUnpackAtOnce) {
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

TEST_F(TreeTest, UnitsThatNobodyUsesAreRemovedInTheEnd) {
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

TEST_F(TreeTest, AFolderOfOthersIsRefused) {
  fs::create_directories(folder_ / "cache/trees-1");
  ::chmod((folder_ / "cache/trees-1").c_str(), 0770);
  const auto cache = TreeCache::open((folder_ / "cache").string());
  ASSERT_FALSE(cache);
  EXPECT_EQ(cache.failure().code, ErrorCode::kEnvironment);
  EXPECT_THAT(cache.failure().message, HasSubstr("others than its owner may write in it"));
}

TEST_F(TreeTest, AFolderOfOthersOnTheWayIsRefused) {
  fs::create_directories(folder_ / "shared/cache");
  ::chmod((folder_ / "shared").c_str(), 0777);
  const auto cache = TreeCache::open((folder_ / "shared/cache").string());
  ASSERT_FALSE(cache);
  EXPECT_EQ(cache.failure().code, ErrorCode::kEnvironment);
  EXPECT_THAT(cache.failure().message, HasSubstr("others than its owner may write in '" + (folder_ / "shared").string() + "'"));
  EXPECT_THAT(cache.failure().message, HasSubstr("; set Environment::cache_dir"));
}

TEST_F(TreeTest, WhatStandsInTheWayIsReplaced) {
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

TEST_F(TreeTest, WhatOthersMayWriteToIsUnpackedAgain) {
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

TEST_F(TreeTest, AVerifiedUnitsFolderHasItsFilesAndNoOthers) {
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

TEST_F(TreeTest, ALockThatIsNotGivenBackIsNamed) {
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

TEST_F(TreeTest, ALockThatIsGivenBackIsWaitedFor) {
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

TEST_F(TreeTest, ACacheFolderThatNoPathNamesIsRefused) {
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

TEST_F(TreeTest, ManifestsThatContradictTheArchiveAreRefused) {
  const auto problem = [&](const std::string& manifest) {
    const std::string content = ZipBuilder()
                                    .add({"p/.data/extern_modules", ""})
                                    .add({"p/a.py", "x"})
                                    .add({"p/.data/deploy/manifest.json", manifest})
                                    .build();
    std::ofstream(folder_ / "m.pt", std::ios::binary) << content;
    const auto file = PackageFile::open((folder_ / "m.pt").string());
    return file ? "opened" : file.failure().message;
  };
  const std::string record = R"({"sha256": ")" + digest_of("x") + R"(", "size": 1})";
  EXPECT_EQ(problem(R"({"format": 1, "records": {"a.py": )" + record + "}}"), "opened");
  EXPECT_THAT(problem("[1]"), HasSubstr("is no JSON object"));
  EXPECT_THAT(problem("{\"format\": 1, "), HasSubstr("is no JSON object"));
  EXPECT_THAT(problem(std::string(100000, '[')), HasSubstr("is no JSON object"));
  EXPECT_THAT(problem(R"({"records": {}})"), HasSubstr("has no format number"));
  EXPECT_THAT(problem(R"({"format": 2})"), HasSubstr("has format 2; this version of deploy reads formats up to 1"));
  EXPECT_THAT(problem(R"({"format": 1})"), HasSubstr("'records' is not an object"));
  EXPECT_THAT(problem(R"({"format": 1, "records": {}})"), HasSubstr("'a.py' is not a record that the manifest lists"));
  EXPECT_THAT(problem(R"({"format": 1, "records": {"b.py": )" + record + "}}"), HasSubstr("'b.py' is not in the package"));
  EXPECT_THAT(problem(R"({"format": 1, "records": {"a.py": {"sha256": "00", "size": 1}}})"), HasSubstr("SHA-256"));
}

}  // namespace
}  // namespace deploy
