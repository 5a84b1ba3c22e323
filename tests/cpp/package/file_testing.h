#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace deploy::testing {

// A folder of the test's own, for package files of any content.
class FileTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directory(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // The path of the file.
  std::string write(const std::string& content) const {
    std::ofstream(folder_ / "model.pt", std::ios::binary) << content;
    return (folder_ / "model.pt").string();
  }

  const std::filesystem::path folder_ = std::filesystem::temp_directory_path() / ("deploy_files_" + std::to_string(::getpid()));
};

}  // namespace deploy::testing
