#include "lib/interpreter/image.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

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

TEST(Image, IsMappedOutOfTheFileThatItIsPartOf) {
  struct stat image{}, program{};
  ASSERT_EQ(fstat(Image::get().value()->find(Image::kGuestPath)->fd, &image), 0);
  ASSERT_EQ(stat("/proc/self/exe", &program), 0);
  EXPECT_EQ(image.st_ino, program.st_ino);
}

// In a process of its own, for an image is made once.
TEST(ImageDeathTest, IsACopyInMemoryWhereThatIsAskedFor) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto child = [] {
    setenv("DEPLOY_IMAGE_IN_MEMORY", "1", 1);
    const auto file = Image::get().value()->find(Image::kGuestPath);
    struct stat image{}, program{};
    const bool other = fstat(file->fd, &image) == 0 && stat("/proc/self/exe", &program) == 0 && image.st_ino != program.st_ino;
    std::exit(other && first_bytes(*file)[1] == 'E' ? 0 : 1);
  };
  EXPECT_EXIT(child(), testing::ExitedWithCode(0), "");
}

TEST(Image, CannotBeWritten) {
  const auto file = Image::get().value()->find(Image::kGuestPath);
  const char byte = 0;
  EXPECT_EQ(pwrite(file->fd, &byte, 1, static_cast<off_t>(file->offset)), -1);
  EXPECT_EQ(first_bytes(*file)[0], 0x7f);
}

TEST(Image, SaysItsPythonVersion) { EXPECT_TRUE(std::string_view(python_version()).starts_with("3.")) << python_version(); }

}  // namespace
}  // namespace deploy::test
