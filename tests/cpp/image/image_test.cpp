#include "lib/interpreter/image.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>

#include "deploy/environment.h"

namespace deploy::test {
namespace {

std::array<unsigned char, 4> first_bytes(const loader::EmbeddedFile& file) {
  std::array<unsigned char, 4> bytes = {};
  EXPECT_EQ(pread(file.fd, bytes.data(), bytes.size(), static_cast<off_t>(file.offset)), 4);
  return bytes;
}

TEST(Image, HoldsTheGuestAsAnElfFileOnAPageBoundary) {
  const auto file = Image::get().value()->find(Image::kGuestPath);
  ASSERT_TRUE(file.has_value());
  EXPECT_EQ(file->offset % static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)), 0u);
  EXPECT_EQ(first_bytes(*file), (std::array<unsigned char, 4>{0x7f, 'E', 'L', 'F'}));
}

TEST(Image, HasNoFileAtAnyOtherPath) {
  const Image& image = *Image::get().value();
  EXPECT_FALSE(image.find("<image>/lib-dynload/no_such_module.so").has_value());
  EXPECT_FALSE(image.find("libdeploy_guest.so").has_value());
  EXPECT_FALSE(image.find("").has_value());
}

TEST(Image, IsMadeOnceAProcess) { EXPECT_EQ(Image::get().value(), Image::get().value()); }

TEST(Image, CannotBeWritten) {
  const auto file = Image::get().value()->find(Image::kGuestPath);
  const char byte = 0;
  EXPECT_EQ(pwrite(file->fd, &byte, 1, static_cast<off_t>(file->offset)), -1);
  EXPECT_EQ(first_bytes(*file)[0], 0x7f);
}

TEST(Image, SaysItsPythonVersion) { EXPECT_TRUE(std::string_view(python_version()).starts_with("3.")) << python_version(); }

}  // namespace
}  // namespace deploy::test
