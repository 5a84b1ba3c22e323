#include "deploy/package_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "tests/cpp/error_of.h"
#include "tests/cpp/package/file_testing.h"
#include "tests/cpp/package/zip_builder.h"

namespace deploy {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using testing::ZipBuilder;

class PackageReaderTest : public testing::FileTest {};

TEST_F(PackageReaderTest, TellsWhatIsInAFile) {
  const std::string content = ZipBuilder::package().build({.comment = "a comment"});
  const PackageReader reader(write(content));
  EXPECT_EQ(reader.root(), "p");
  EXPECT_EQ(reader.comment(), "a comment");
  EXPECT_EQ(reader.manifest(), nullptr);
  EXPECT_THAT(reader.records(),
              ElementsAre(Field(&PackageRecord::name, ".data/extern_modules"), Field(&PackageRecord::name, "model/model.pkl"),
                          Field(&PackageRecord::name, "code.py")));
  const std::optional<PackageRecord> record = reader.find("model/model.pkl");
  ASSERT_TRUE(record);
  EXPECT_EQ(content.substr(record->offset, record->stored_size), "pickle");
  EXPECT_FALSE(reader.find("p/model/model.pkl"));
}

TEST_F(PackageReaderTest, ReadsPartsOfRecords) {
  const PackageReader reader(write(ZipBuilder::package().build()));
  EXPECT_EQ(reader.read("model/model.pkl"), "pickle");
  EXPECT_EQ(reader.read("model/model.pkl", 2, 3), "ckl");
  EXPECT_EQ(reader.read("model/model.pkl", 4), "le");
  EXPECT_EQ(reader.read("model/model.pkl", 100), "");
  EXPECT_EQ(reader.read("model/model.pkl", 1, PackageReader::kAll - 1), "ickle");
}

TEST_F(PackageReaderTest, RefusesWhatIsNotThereAndWhatIsTooMuch) {
  const PackageReader reader(write(ZipBuilder::package().build()));
  const Error absent = error_of([&] { (void)reader.read("model/other.pkl"); });
  EXPECT_EQ(absent.code(), ErrorCode::kNotFound);
  EXPECT_THAT(absent.message(), HasSubstr("has no record 'model/other.pkl'; it has: model/model.pkl, code.py"));
  const Error large = error_of([&] { (void)reader.read("model/model.pkl", 0, PackageReader::kAll, 5); });
  EXPECT_EQ(large.code(), ErrorCode::kInvalidPackage);
  EXPECT_THAT(large.message(), HasSubstr("has a record 'model/model.pkl' of 6 bytes; expected at most 5"));
}

TEST_F(PackageReaderTest, RefusesAFileAsLoadingDoes) {
  EXPECT_EQ(error_of([&] { PackageReader reader((folder_ / "none.pt").string()); }).code(), ErrorCode::kNotFound);
  const Error error = error_of([&] { PackageReader reader(write("no zip")); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidPackage);
  EXPECT_THAT(error.message(), HasSubstr("is no package: not a zip file"));
}

TEST_F(PackageReaderTest, ComparesChecksums) {
  std::string content = ZipBuilder::package().build();
  PackageReader(write(content)).check();
  content.replace(content.find("pickle"), 6, "Pickle");
  const PackageReader reader(write(content));
  for (const Error& error : {error_of([&] { reader.check(); }), error_of([&] { (void)reader.read("model/model.pkl"); })}) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidPackage);
    EXPECT_THAT(error.message(), HasSubstr("record 'model/model.pkl' does not have the checksum"));
  }
}

}  // namespace
}  // namespace deploy
