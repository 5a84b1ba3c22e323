#include "lib/package/tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/cpp/package/tree_testing.h"

namespace deploy {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::kManifest;
using testing::kRecords;
using testing::package;
using testing::Records;

using TreeTest = testing::TreeTest;

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

TEST_F(TreeTest, FilesBesideFoldersAreToldFromFilesThatAreFolders) {
  const auto planned = [&](const Records& records) {
    const PackageFile file = open(package(records));
    const auto units = plan_tree(file.archive(), *file.manifest(), file.path());
    return units ? "planned" : units.failure().message;
  };
  EXPECT_EQ(planned({{"lib/a.py", ""}, {"lib/a/b.py", ""}, {"lib/a-b", ""}, {"lib/a b", ""}, {"lib/ab", ""}}), "planned");
  EXPECT_THAT(planned({{"lib/a", ""}, {"lib/a.py", ""}, {"lib/a-", ""}, {"lib/a/x/b", ""}}),
              HasSubstr("'lib/a/x/b' below a record"));
  EXPECT_THAT(planned({{"lib", ""}, {"lib.py", ""}, {"lib/b/c", ""}}), HasSubstr("'lib/b/c' below a record that is a file"));
}

TEST_F(TreeTest, ManyNamesCostTimeInProportion) {
  // What took time in proportion to the square of their number: top-level modules, and distributions that are joined one by one.
  Records records;
  std::string interned;
  constexpr int kMany = 30000;
  for (int i = 0; i < kMany; ++i) records["m" + std::to_string(i) + ".py"] = "";
  for (int i = kMany - 1; i > 0; --i) {
    interned += (interned.empty() ? "" : ", ") + std::string("{\"modules\": [\"m") + std::to_string(i) + "\", \"m" +
                std::to_string(i - 1) + "\"]}";
  }
  const PackageFile file = open(package(records, ", \"interned\": [" + interned + "]"));
  const std::vector<TreeUnit> units = plan(file);
  ASSERT_EQ(units.size(), 1u);
  EXPECT_EQ(units[0].tops.size(), static_cast<std::size_t>(kMany));
}

}  // namespace
}  // namespace deploy
