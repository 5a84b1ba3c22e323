#include "lib/support/mapped_from.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <string>

namespace deploy {
namespace {

alignas(4096) constexpr std::array<char, 8192> kOwn = {'d', 'e', 'p', 'l', 'o', 'y'};

// A file with two pages, the second of which is mapped.
class Mapped {
 public:
  Mapped() {
    const int fd = ::mkstemp(path_.data());
    const std::string content = std::string(4096, 'a') + std::string(4096, 'b');
    EXPECT_EQ(::write(fd, content.data(), content.size()), static_cast<ssize_t>(content.size()));
    memory_ = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 4096);
    ::close(fd);
  }
  ~Mapped() {
    ::munmap(memory_, 4096);
    ::unlink(path_.c_str());
  }
  std::span<const std::byte> from(std::size_t offset, std::size_t size) const {
    return {static_cast<const std::byte*>(memory_) + offset, size};
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_ = testing::TempDir() + "/mapped_from XXXXXX";
  void* memory_ = nullptr;
};

TEST(MappedFrom, FindsAConstantOfTheProgramInTheProgramsFile) {
  const auto place = mapped_from(std::as_bytes(std::span(kOwn)));
  ASSERT_TRUE(place);
  std::array<char, 6> read = {};
  ASSERT_EQ(::pread(place->file.get(), read.data(), read.size(), static_cast<off_t>(place->offset)), 6);
  EXPECT_EQ(std::memcmp(read.data(), kOwn.data(), read.size()), 0);
}

TEST(MappedFrom, SaysWhereInTheFile) {
  const Mapped mapped;
  const auto place = mapped_from(mapped.from(96, 4000));
  ASSERT_TRUE(place);
  EXPECT_EQ(place->offset, 4096u + 96);
}

TEST(MappedFrom, KnowsNoFileOfMemoryThatIsNoFiles) {
  const std::array<std::byte, 8> local{};
  EXPECT_FALSE(mapped_from(local));
}

TEST(MappedFrom, KnowsNoFileOfMoreThanOneMapping) {
  const Mapped mapped;
  EXPECT_FALSE(mapped_from(mapped.from(0, 4097)));
}

TEST(MappedFrom, KnowsNoFileThatIsGone) {
  const Mapped mapped;
  ::unlink(mapped.path().c_str());
  EXPECT_FALSE(mapped_from(mapped.from(0, 8)));
}

TEST(MappedFrom, KnowsNoFileThatWasReplaced) {
  const Mapped mapped;
  const std::string other = mapped.path() + ".new";
  std::FILE* file = std::fopen(other.c_str(), "w");
  std::fputs(std::string(8192, 'c').c_str(), file);
  std::fclose(file);
  ASSERT_EQ(std::rename(other.c_str(), mapped.path().c_str()), 0);
  EXPECT_FALSE(mapped_from(mapped.from(0, 8)));
}

TEST(MappedFrom, KnowsNoFileThatHasBecomeShorter) {
  const Mapped mapped;
  ASSERT_EQ(::truncate(mapped.path().c_str(), 4096), 0);
  EXPECT_FALSE(mapped_from(mapped.from(0, 8)));
}

}  // namespace
}  // namespace deploy
