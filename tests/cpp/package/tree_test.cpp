#include "lib/package/tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

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
