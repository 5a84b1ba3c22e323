#include "lib/support/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

namespace deploy {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directory(folder_); }
  void TearDown() override { fs::remove_all(folder_); }
  static Failure refusal(const std::string& path) {
    const Result<FileDescriptor> file = FileDescriptor::open(path);
    return file ? Failure{ErrorCode::kInternal, "opened"} : file.failure();
  }

  const fs::path folder_ = fs::temp_directory_path() / ("deploy_file_" + std::to_string(::getpid()));
};

TEST_F(FileTest, ARegularFileIsOpened) {
  std::ofstream(folder_ / "file") << "abc";
  EXPECT_EQ(FileDescriptor::open((folder_ / "file").string()).value().size().value(), 3u);
}

TEST_F(FileTest, WhatIsNoRegularFileIsRefusedAtOnce) {
  const fs::path fifo = folder_ / "fifo", socket = folder_ / "socket";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  std::strncpy(address.sun_path, socket.c_str(), sizeof address.sun_path - 1);
  const FileDescriptor bound(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(bound.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  for (const auto& [path, kind] : {std::pair(fifo.string(), "a FIFO"), std::pair(socket.string(), "a socket"),
                                   std::pair(folder_.string(), "a directory"), std::pair(std::string("/dev/zero"), "a device")}) {
    const Failure failure = refusal(path);
    EXPECT_EQ(failure.code, ErrorCode::kInvalidArgument) << path;
    EXPECT_THAT(failure.message, HasSubstr("'" + path + "' is " + kind + ", expected a file"));
  }
}

TEST_F(FileTest, APathThatNoFileCanHaveIsNamed) {
  const auto expect_problem = [](const std::string& path, const std::string& problem) {
    EXPECT_EQ(path_problem(path), problem);
    const Failure failure = refusal(path);
    EXPECT_EQ(failure.code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(failure.message, HasSubstr(problem));
    EXPECT_LT(failure.message.size(), 1000u);
  };
  expect_problem("", "is empty");
  expect_problem(std::string("a\0b", 3), "has a NUL character");
  EXPECT_THAT(refusal(std::string("a\0b", 3)).message, HasSubstr("'a\\x00b'"));
  expect_problem("/tmp/" + std::string(256, 'x'), "has a component of 256 bytes; expected at most 255");
  expect_problem(std::string(100, '/') + std::string(5000, 'x'), "is 5100 bytes long; expected at most 4095");
  EXPECT_EQ(path_problem("/a/" + std::string(255, 'x') + "/b"), "");
}

TEST_F(FileTest, AFileThatIsNotThereIsNotFound) {
  EXPECT_EQ(refusal((folder_ / "none").string()).code, ErrorCode::kNotFound);
  std::ofstream(folder_ / "file") << "abc";
  EXPECT_EQ(refusal((folder_ / "file/none").string()).code, ErrorCode::kNotFound);
}

TEST_F(FileTest, WhatIsAppendedToGrowingMemoryStays) {
  const FileDescriptor memory = FileDescriptor::growing_memory("test").value();
  ASSERT_EQ(::write(memory.get(), "abc", 3), 3);
  ASSERT_EQ(::lseek(memory.get(), 0, SEEK_SET), 0);
  ASSERT_EQ(::write(memory.get(), "de", 2), 2);
  char text[8] = {};
  EXPECT_EQ(::pread(memory.get(), text, sizeof text, 0), 5);
  EXPECT_STREQ(text, "abcde");
}

}  // namespace
}  // namespace deploy
