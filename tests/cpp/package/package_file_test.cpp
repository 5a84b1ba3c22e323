#include "lib/package/package_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/cpp/package/zip_builder.h"

namespace deploy {
namespace {

using ::testing::HasSubstr;
using testing::ZipBuilder;

class PackageFileTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directory(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string write(const std::string& content) const {
    std::ofstream(folder_ / "model.pt", std::ios::binary) << content;
    return (folder_ / "model.pt").string();
  }
  Failure refusal(const std::string& path) const {
    const Result<PackageFile> file = PackageFile::open(path);
    return file ? Failure{ErrorCode::kInternal, "opened"} : file.failure();
  }

  const std::filesystem::path folder_ = std::filesystem::temp_directory_path() / ("deploy_package_" + std::to_string(::getpid()));
};

TEST_F(PackageFileTest, ReadsARecordsBytes) {
  const Result<PackageFile> file = PackageFile::open(write(ZipBuilder::package().build()));
  ASSERT_TRUE(file) << file.failure().message;
  EXPECT_EQ(*file->read(*file->archive().find("code.py")), "x = 1\n");
}

TEST_F(PackageFileTest, SaysThatAFileDoesNotExist) {
  const Failure failure = refusal((folder_ / "none.pt").string());
  EXPECT_EQ(failure.code, ErrorCode::kNotFound);
  EXPECT_THAT(failure.message, HasSubstr("none.pt': No such file or directory"));
}

TEST_F(PackageFileTest, SaysThatAFolderIsNoPackage) {
  const Failure failure = refusal(folder_.string());
  EXPECT_EQ(failure.code, ErrorCode::kInvalidPackage);
  EXPECT_THAT(failure.message, HasSubstr("is a directory"));
}

TEST_F(PackageFileTest, SaysThatAnEmptyFileIsNoPackage) {
  const Failure failure = refusal(write(""));
  EXPECT_EQ(failure.code, ErrorCode::kInvalidPackage);
  EXPECT_THAT(failure.message, HasSubstr("is empty (0 bytes)"));
}

TEST_F(PackageFileTest, KeepsReadingTheFileThatItOpened) {
  const std::string path = write(ZipBuilder::package().build());
  const Result<PackageFile> file = PackageFile::open(path);
  std::filesystem::remove(path);
  write(ZipBuilder().build());
  EXPECT_EQ(*file->read(*file->archive().find("code.py")), "x = 1\n");
}

TEST_F(PackageFileTest, SaysThatTheFileWasCutOffWhileInUse) {
  const std::string path = write(ZipBuilder::package().build());
  const Result<PackageFile> file = PackageFile::open(path);
  std::filesystem::resize_file(path, 10);
  const Result<std::string> data = file->read(*file->archive().find("code.py"));
  ASSERT_FALSE(data);
  EXPECT_EQ(data.failure().code, ErrorCode::kInvalidPackage);
  EXPECT_THAT(data.failure().message, HasSubstr("was cut off while it was in use: record 'code.py'"));
}

}  // namespace
}  // namespace deploy
