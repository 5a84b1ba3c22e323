#include "lib/package/package_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "lib/package/digest.h"
#include "tests/cpp/package/file_testing.h"
#include "tests/cpp/package/zip_builder.h"

namespace deploy {
namespace {

using ::testing::HasSubstr;
using testing::ZipBuilder;

class PackageFileTest : public testing::FileTest {
 protected:
  Failure refusal(const std::string& path) const {
    const Result<PackageFile> file = PackageFile::open(path);
    return file ? Failure{ErrorCode::kInternal, "opened"} : file.failure();
  }
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

TEST_F(PackageFileTest, SaysThatAFifoIsNoPackageAndDoesNotWaitForIt) {
  const std::string fifo = (folder_ / "fifo").string();
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  for (const auto& [path, kind] : {std::pair(fifo, "a FIFO"), std::pair(std::string("/dev/zero"), "a device")}) {
    const Failure failure = refusal(path);
    EXPECT_EQ(failure.code, ErrorCode::kInvalidPackage);
    EXPECT_THAT(failure.message, HasSubstr("'" + path + "' is " + kind + ", expected a file"));
  }
}

TEST_F(PackageFileTest, APathThatNoFileCanHaveIsAnArgument) {
  for (const auto& [path, problem] :
       {std::pair(std::string(), "is empty"), std::pair(std::string("m\0.pt", 5), "'m\\x00.pt', has a NUL character"),
        std::pair(std::string(300, 'x'), "has a component of 300 bytes; expected at most 255"),
        std::pair(std::string(5000, '/'), "is 5000 bytes long; expected at most 4095")}) {
    const Failure failure = refusal(path);
    EXPECT_EQ(failure.code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(failure.message, HasSubstr(problem));
  }
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

// What follows the file's own header in `weights.pt`: a storage of 1000 bytes, aligned.
std::string with_weights(const std::string& comment = "") {
  constexpr std::size_t kName = sizeof "p/.data/0.storage" - 1;
  return ZipBuilder()
      .add({.name = "p/.data/0.storage", .data = std::string(1000, 'w'), .padding = 128 - 30 - kName})
      .add({"p/.data/extern_modules", "sys\n"})
      .add({"p/code.py", "x = 1\n"})
      .build({.comment = comment});
}

TEST_F(PackageFileTest, WhatWasVerifiedStaysAndWeightsAreTheFiles) {
  const std::string content = with_weights(), path = write(content);
  Sha256 digest;
  digest.add(content);
  const Result<PackageFile> file = PackageFile::open(path, {.sha256 = hex(digest.finish())});
  ASSERT_TRUE(file) << file.failure().message;
  EXPECT_NE(file->contents(), file->weights());
  write(std::string(content.size(), '?'));
  EXPECT_EQ(*file->read(*file->archive().find("code.py")), "x = 1\n");
  EXPECT_EQ(*file->read(*file->archive().find(".data/0.storage")), std::string(1000, '?'));
}

TEST_F(PackageFileTest, InMemoryWeightsStayToo) {
  const std::string content = with_weights(), path = write(content);
  const Result<PackageFile> file = PackageFile::open(path, {.in_memory = true});
  ASSERT_TRUE(file) << file.failure().message;
  EXPECT_EQ(file->contents(), file->weights());
  write("");
  EXPECT_EQ(*file->read(*file->archive().find(".data/0.storage")), std::string(1000, 'w'));
}

TEST_F(PackageFileTest, AnotherDigestIsRefused) {
  const Result<PackageFile> file = PackageFile::open(write(with_weights()), {.sha256 = std::string(64, '0')});
  ASSERT_FALSE(file);
  EXPECT_EQ(file.failure().code, ErrorCode::kUntrusted);
  EXPECT_THAT(file.failure().message, HasSubstr("; expected " + std::string(64, '0')));
}

TEST_F(PackageFileTest, SamePathAndOptionsAreTheSame) {
  const std::string path = write(with_weights());
  const PackageFile file = PackageFile::open(path).value();
  EXPECT_TRUE(file.is_same(PackageFile::open(path).value()));
  EXPECT_FALSE(file.is_same(PackageFile::open(path, {.in_memory = true}).value()));
  write(with_weights("a comment"));
  EXPECT_FALSE(file.is_same(PackageFile::open(path).value()));
}

TEST_F(PackageFileTest, DamagedRecordsAreFound) {
  std::string content = with_weights();
  const auto all = [](const Record&) { return true; };
  EXPECT_TRUE(PackageFile::open(write(content)).value().check(all));
  content[content.find("x = 1")] = 'y';
  const Result<void> checked = PackageFile::open(write(content)).value().check(all);
  ASSERT_FALSE(checked);
  EXPECT_THAT(checked.failure().message, HasSubstr("record 'code.py' does not have the checksum"));
}

TEST_F(PackageFileTest, WhatDoesNotInflateSaysSo) {
  for (const char* data : {"\x07garbage", "\x03\x00", ""}) {
    const auto content = ZipBuilder::package().add({.name = "p/x", .data = data, .method = 8, .size = 9}).build();
    const PackageFile file = PackageFile::open(write(content)).value();
    const Result<std::string> read = file.read(*file.archive().find("x"));
    ASSERT_FALSE(read) << data;
    EXPECT_EQ(read.failure().code, ErrorCode::kInvalidPackage);
    EXPECT_THAT(read.failure().message, HasSubstr("record 'x' "));
  }
}

}  // namespace
}  // namespace deploy
