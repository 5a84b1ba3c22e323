// Files that mean one thing to one reader of zip files and another to the next, and small files that would cost much.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "lib/package/archive.h"
#include "tests/cpp/package/zip_builder.h"

namespace deploy {
namespace {

using testing::bytes;
using testing::descriptor;
using ::testing::HasSubstr;
using testing::ZipBuilder;

std::string problem(const std::string& file) {
  const Result<Archive> archive = Archive::parse(bytes(file), "model.pt");
  if (archive) return "parsed";
  EXPECT_EQ(archive.failure().code, ErrorCode::kInvalidPackage);
  EXPECT_LT(archive.failure().message.size(), 1000u);
  return archive.failure().message;
}
std::string problem(const ZipBuilder& zip, const ZipBuilder::End& end = {}) { return problem(zip.build(end)); }

// One way to read a file.

TEST(AmbiguousArchive, BytesInFrontOfTheFirstRecordAreRefused) {
  const std::string whole = ZipBuilder::package().build();
  EXPECT_THAT(problem("MZ" + whole), HasSubstr("has 2 bytes that are in no record: its directory ends at"));
  EXPECT_THAT(problem(whole + whole), HasSubstr("bytes that are in no record"));
  // With offsets that allow for them, as self-extracting files have it.
  const ZipBuilder shifted = ZipBuilder().add({.name = "p/.data/extern_modules", .data = "\n", .header = 0, .after = "....."});
  EXPECT_THAT(problem(shifted), HasSubstr("has 5 bytes at 53 that are in no record"));
}

TEST(AmbiguousArchive, GapsBetweenRecordsAreRefused) {
  const std::string hidden = ZipBuilder().add({"p/hidden.py", "x"}).build();
  for (const std::string& gap : {std::string("x"), std::string(16, '\0'), descriptor("other"), hidden}) {
    for (const bool unknown : {false, true}) {
      EXPECT_THAT(problem(ZipBuilder::package().add({.name = "p/a.py", .data = "a = 1", .unknown = unknown, .after = gap})),
                  HasSubstr("has " + std::to_string(gap.size()) + " bytes at"));
      EXPECT_THAT(
          problem(ZipBuilder::package().add({.name = "p/a.py", .data = "a = 1", .unknown = unknown, .after = gap}).add({"p/b"})),
          HasSubstr("that are in no record; expected one record behind the other"));
    }
  }
}

TEST(AmbiguousArchive, DescriptorsAreReadInAllFourForms) {
  for (const bool is_signed : {true, false}) {
    for (const bool is_wide : {true, false}) {
      const std::string data = "a = 1\n", after = descriptor(data, is_signed, is_wide);
      const ZipBuilder zip = ZipBuilder::package()
                                 .add({.name = "p/a.py", .data = data, .unknown = true, .after = after})
                                 .add({.name = "p/b", .unknown = true});
      EXPECT_EQ(problem(zip), "parsed") << is_signed << is_wide;
    }
  }
}

TEST(AmbiguousArchive, MoreThanOneEndRecordIsRefused) {
  const std::string more = "has more than one zip end record";
  EXPECT_THAT(problem(ZipBuilder::package(), {.comment = "PK\x05\x06 is no end record here"}), HasSubstr(more));
  EXPECT_THAT(problem(ZipBuilder::package(), {.comment = ZipBuilder().build()}), HasSubstr(more));
  EXPECT_THAT(problem(ZipBuilder::package(), {.comment = ZipBuilder::package().build() + "tail"}), HasSubstr(more));
  EXPECT_THAT(problem(ZipBuilder::package(), {.comment = "at the end PK\x05\x06"}), HasSubstr(more));
}

TEST(AmbiguousArchive, BytesBetweenDirectoryAndEndRecordAreRefused) {
  const std::string whole = ZipBuilder::package().build();
  const std::size_t end = whole.size() - 22;
  EXPECT_THAT(problem(whole.substr(0, end) + "gap" + whole.substr(end)), HasSubstr("has 3 bytes that are in no record"));
  EXPECT_THAT(problem(ZipBuilder::package(), {.count = 2}), HasSubstr("bytes more than its 2 entries"));
}

TEST(AmbiguousArchive, EndRecordsThatContradictEachOtherAreRefused) {
  std::string file = ZipBuilder::package().build({.zip64 = true});
  const std::size_t end = file.size() - 22;
  file[end + 8] = file[end + 10] = 3;
  file[end + 9] = file[end + 11] = 0;
  EXPECT_EQ(problem(file), "parsed");  // the same number, as PyTorch writes it
  file[end + 8] = file[end + 10] = 2;
  EXPECT_THAT(problem(file), HasSubstr("its two end records say different things of its directory"));
  file[end + 8] = 3;
  EXPECT_THAT(problem(file), HasSubstr("is one part of a zip file of several parts"));
}

TEST(AmbiguousArchive, HeadersThatContradictTheDirectoryAreRefused) {
  const std::string other = "has another size, checksum or compression in its own header than in the directory";
  EXPECT_THAT(problem(ZipBuilder::package().add({.name = "p/x", .data = "abc", .local_method = 8})), HasSubstr(other));
  EXPECT_THAT(problem(ZipBuilder::package().add({.name = "p/x", .data = "abc", .local_checksum = 1})), HasSubstr(other));
  std::string file = ZipBuilder().add({"p/.data/extern_modules", "\n"}).build();
  ASSERT_EQ(file[18], 1);
  file[18] = 0;  // without a descriptor there has to be a size
  EXPECT_THAT(problem(file), HasSubstr(other));
  file[18] = 2;
  EXPECT_THAT(problem(file), HasSubstr(other));
}

TEST(AmbiguousArchive, AnotherNameInTheUnicodeFieldIsRefused) {
  const auto field = [](const std::string& name) {
    return std::string("\x75\x70", 2) + static_cast<char>(name.size() + 5) + std::string(6, '\0') + name;
  };
  EXPECT_EQ(problem(ZipBuilder::package().add({.name = "p/x.py", .extra = field("p/x.py")})), "parsed");
  EXPECT_THAT(problem(ZipBuilder::package().add({.name = "p/x.py", .extra = field("p/y.py")})),
              HasSubstr("has a record 'p/x.py' with another name for programs that read its Unicode name field"));
}

TEST(AmbiguousArchive, Zip64FieldsThatFitInMoreThanOneWayAreRefused) {
  const std::string two = std::string("\x01\0\x18\0", 4) + std::string(24, '\0');
  EXPECT_THAT(problem(ZipBuilder::package().add({.name = "p/x", .zip64 = true, .extra = two})),
              HasSubstr("without its zip64 sizes"));
}

TEST(AmbiguousArchive, FoldersAreEntriesLikeOthers) {
  EXPECT_EQ(problem(ZipBuilder::package().add({"p/empty/"}).add({"p/empty/"})), "parsed");
  EXPECT_THAT(problem(ZipBuilder::package().add({"p/empty/", "data"})), HasSubstr("has a folder 'p/empty/' with data of 4 bytes"));
  EXPECT_THAT(problem(ZipBuilder::package().add({"p/code.py/"})), HasSubstr("has a folder and a record of the name 'p/code.py/'"));
  EXPECT_THAT(problem(ZipBuilder::package().add({"p/../x/"})), HasSubstr("leaves the archive ('..')"));
}

// What it may cost.

TEST(ArchiveLimits, NamesHaveALengthADepthAndParts) {
  const auto with = [](const std::string& name) { return problem(ZipBuilder::package().add({"p/" + name})); };
  std::string deep;
  for (std::size_t i = 1; i < Archive::kDeepest; ++i) deep += "a/";
  EXPECT_EQ(with(deep + "x"), "parsed");
  EXPECT_THAT(with("a/" + deep + "x"), HasSubstr("has 65 folders; expected at most 64"));
  EXPECT_EQ(with(std::string(255, 'x')), "parsed");
  EXPECT_THAT(with(std::string(256, 'x')), HasSubstr("has a component of 256 bytes; expected at most 255"));
  std::string longest;
  while (longest.size() < Archive::kLongestName) longest += std::string(99, 'y') + "/";
  EXPECT_EQ(with(longest.substr(0, Archive::kLongestName - 2)), "parsed");
  EXPECT_THAT(with(longest.substr(0, Archive::kLongestName - 1)), HasSubstr("has 2049 bytes; expected at most 2048"));
  std::string folders;
  for (int i = 0; i < 32000; ++i) folders += "a/";
  EXPECT_THAT(with(folders + "x"), HasSubstr("has 64003 bytes; expected at most 2048"));
}

TEST(ArchiveLimits, DeflatedRecordsMayNotSayThatTheyAreMuchLarger) {
  const auto zeros = [](std::uint64_t size, int count) {
    ZipBuilder zip = ZipBuilder::package();
    for (int i = 0; i < count; ++i) {
      zip.add({.name = "p/r" + std::to_string(i), .data = std::string(100000, 'z'), .method = 8, .size = size});
    }
    return problem(zip);
  };
  EXPECT_EQ(zeros(64 << 20, 1), "parsed");
  EXPECT_EQ(zeros(3200000, 10), "parsed");
  EXPECT_THAT(zeros(90 << 20, 1),
              HasSubstr("has deflated records of 100000 bytes that say they are 94371840 bytes; expected at most 32 "
                        "times as many and 67108864 more"));
  EXPECT_THAT(zeros(30 << 20, 4), HasSubstr("has deflated records of 400000 bytes that say they are 125829120 bytes"));
}

TEST(ArchiveLimits, ARecordThatIsLargerThanTheFileIsRefused) {
  const ZipBuilder::Entry entry = {.name = "p/x", .data = "abc", .method = 8, .size = UINT64_MAX / 2, .zip64 = true};
  EXPECT_THAT(problem(ZipBuilder::package().add(entry)), HasSubstr("deflated record 'p/x' of 3 bytes that says it is"));
}

// Counts what is read of it.
class CountingSource : public ByteSource {
 public:
  explicit CountingSource(const std::string& file) : ByteSource(file.size()), file_(file) {}
  Result<void> read(std::uint64_t offset, std::span<std::byte> out) const override {
    ++reads;
    bytes_read += out.size();
    return MemorySource(bytes(file_)).read(offset, out);
  }
  mutable std::size_t reads = 0, bytes_read = 0;

 private:
  const std::string& file_;
};

TEST(ArchiveLimits, HeadersOfSmallRecordsAreReadTogetherAndWeightsAreNotRead) {
  ZipBuilder small = ZipBuilder::package(), large = ZipBuilder::package();
  for (int i = 0; i < 4000; ++i) small.add({"p/s" + std::to_string(i), std::string(100, 's')});
  for (int i = 0; i < 20; ++i) large.add({"p/l" + std::to_string(i), std::string(1 << 20, 'l')});
  const std::string files[] = {small.build(), large.build()};
  const CountingSource first(files[0]), second(files[1]);
  ASSERT_TRUE(Archive::read(first, "first"));
  EXPECT_LT(first.reads, 200u);
  EXPECT_LT(first.bytes_read, 2 * files[0].size());
  ASSERT_TRUE(Archive::read(second, "second"));
  EXPECT_LT(second.reads, 40u);
  EXPECT_LT(second.bytes_read, 200000u);
}

}  // namespace
}  // namespace deploy
