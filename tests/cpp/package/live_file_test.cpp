// Package files that are written to while they are read.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "lib/package/package_file.h"
#include "tests/cpp/package/zip_builder.h"

namespace deploy {
namespace {

using testing::bytes;
using ::testing::HasSubstr;
using testing::ZipBuilder;

class LiveFileTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directory(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // As `cp` does: the file is emptied, and written again in place.
  void copy_over(const std::string& content) const {
    const FileDescriptor file(::open(path().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    for (std::size_t done = 0; done < content.size();) {
      const ssize_t n = ::write(file.get(), content.data() + done, std::min<std::size_t>(content.size() - done, 1 << 14));
      ASSERT_GT(n, 0);
      done += static_cast<std::size_t>(n);
    }
  }
  std::string path() const { return (folder_ / "model.pt").string(); }
  static std::string package(const std::string& text, int records) {
    ZipBuilder zip = ZipBuilder::package();
    for (int i = 0; i < records; ++i) zip.add({"p/r" + std::to_string(i) + ".py", text});
    return zip.build();
  }

  const std::filesystem::path folder_ = std::filesystem::temp_directory_path() / ("deploy_live_" + std::to_string(::getpid()));
};

TEST_F(LiveFileTest, LoadingWhileAnotherFileIsCopiedOverItWorksOrSaysSo) {
  const std::string contents[] = {package(std::string(3000, 'a'), 400), package(std::string(50, 'b'), 3000)};
  copy_over(contents[0]);
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) copy_over(contents[i % 2]);
  });
  int refused = 0;
  const auto all = [](const Record&) { return true; };
  for (int i = 0; i < 400; ++i) {
    const FileOptions options = {.in_memory = i % 3 == 0};
    const Result<PackageFile> file = PackageFile::open(path(), options);
    const Result<void> checked = file ? file->check(all) : Result<void>(file.failure());
    if (checked) continue;
    ++refused;
    EXPECT_EQ(checked.failure().code, ErrorCode::kInvalidPackage) << checked.failure().message;
  }
  stop = true;
  writer.join();
  EXPECT_GT(refused, 0);
  copy_over(contents[0]);
  EXPECT_TRUE(PackageFile::open(path()).value().check(all));
}

TEST_F(LiveFileTest, AFileThatWasChangedSinceItWasOpenedIsKnown) {
  const std::string content = package("x", 3);
  copy_over(content);
  const PackageFile file = PackageFile::open(path()).value();
  EXPECT_TRUE(file.check_unchanged());
  std::filesystem::resize_file(path(), content.size() - 7);
  const Result<void> cut = file.check_unchanged();
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.failure().code, ErrorCode::kInvalidPackage);
  EXPECT_THAT(cut.failure().message, HasSubstr("was cut off while it was being read"));
  std::ofstream(path(), std::ios::app) << std::string(100, 'x');
  EXPECT_THAT(file.check_unchanged().failure().message, HasSubstr("was changed while it was being read"));
}

TEST_F(LiveFileTest, AFileThatIsShorterThanItWasIsAFailureWhereverItEnds) {
  const std::string content = package(std::string(100, 'x'), 60);
  copy_over(content);
  const FileDescriptor file = FileDescriptor::open(path()).value();
  for (std::size_t size = 0; size < content.size(); size += 97) {
    std::filesystem::resize_file(path(), size);
    const std::string name = path();
    const Result<Archive> archive = Archive::read(FileSource(file.get(), content.size(), name), name);
    ASSERT_FALSE(archive) << size;
    EXPECT_EQ(archive.failure().code, ErrorCode::kInvalidPackage);
    EXPECT_THAT(archive.failure().message, HasSubstr("was cut off while it was being read"));
  }
}

TEST_F(LiveFileTest, TheChecksumIsThatOfTheBytesThatWereRead) {
  copy_over(package("x = 1\n", 1));
  const PackageFile file = PackageFile::open(path()).value();
  const Record& record = *file.archive().find("code.py");
  EXPECT_EQ(file.read_checked(record).value(), "x = 1\n");
  const FileDescriptor writer(::open(path().c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_EQ(::pwrite(writer.get(), "y", 1, static_cast<off_t>(record.offset)), 1);
  EXPECT_THAT(file.read_checked(record).failure().message, HasSubstr("record 'code.py' does not have the checksum"));
}

}  // namespace
}  // namespace deploy
