#include "lib/package/archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "tests/cpp/package/zip_builder.h"

namespace deploy {
namespace {

using testing::bytes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::ZipBuilder;

std::vector<std::string> names(const Archive& archive) {
  std::vector<std::string> out;
  for (const Record& record : archive.records()) out.push_back(record.name);
  return out;
}

std::string data(const std::string& file, const Record& record) {
  return file.substr(static_cast<std::size_t>(record.offset), static_cast<std::size_t>(record.stored_size));
}

// The message of the failure that `file` has to give.
std::string refusal(const std::string& file) {
  const Result<Archive> archive = Archive::parse(bytes(file), "model.pt");
  if (archive) return "parsed";
  EXPECT_EQ(archive.failure().code, ErrorCode::kInvalidPackage);
  EXPECT_THAT(archive.failure().message, HasSubstr("'model.pt'"));
  return archive.failure().message;
}

std::string refusal(const ZipBuilder& zip, const ZipBuilder::End& end = {}) { return refusal(zip.build(end)); }

void expect_the_package(const std::string& file) {
  const Result<Archive> archive = Archive::parse(bytes(file), "model.pt");
  ASSERT_TRUE(archive) << archive.failure().message;
  EXPECT_EQ(archive->root(), "p");
  EXPECT_THAT(names(*archive), ElementsAre(".data/extern_modules", "model/model.pkl", "code.py"));
  EXPECT_EQ(data(file, *archive->find("code.py")), "x = 1\n");
  EXPECT_EQ(archive->find("p/code.py"), nullptr);
}

TEST(Archive, GivesTheRecordsOfAPackageWithoutItsRootFolder) { expect_the_package(ZipBuilder::package().build()); }

TEST(Archive, ReadsAZip64End) { expect_the_package(ZipBuilder::package().build({.zip64 = true})); }

TEST(Archive, ReadsAFileWithAComment) { expect_the_package(ZipBuilder::package().build({.comment = "made by hand"})); }

TEST(Archive, ReadsZip64SizesOfARecord) {
  const std::string file = ZipBuilder::package().add({.name = "p/.data/0.storage", .data = "weights", .zip64 = true}).build();
  const Result<Archive> archive = Archive::parse(bytes(file), "model.pt");
  ASSERT_TRUE(archive) << archive.failure().message;
  EXPECT_EQ(data(file, *archive->find(".data/0.storage")), "weights");
}

TEST(Archive, TakesTheDataOffsetFromTheLocalHeader) {
  const std::string file = ZipBuilder::package().add({.name = "p/.data/0.storage", .data = "weights", .padding = 47}).build();
  const Result<Archive> archive = Archive::parse(bytes(file), "model.pt");
  ASSERT_TRUE(archive) << archive.failure().message;
  EXPECT_EQ(data(file, *archive->find(".data/0.storage")), "weights");
}

TEST(Archive, TellsDeflatedRecords) {
  const std::string file = ZipBuilder::package().add({.name = "p/x", .data = "abc", .method = 8, .size = 100}).build();
  const Result<Archive> archive = Archive::parse(bytes(file), "model.pt");
  ASSERT_TRUE(archive) << archive.failure().message;
  const Record& record = *archive->find("x");
  EXPECT_TRUE(record.deflated);
  EXPECT_EQ(record.stored_size, 3u);
  EXPECT_EQ(record.size, 100u);
}

TEST(Archive, IgnoresFolderEntries) {
  EXPECT_EQ(names(*Archive::parse(bytes(ZipBuilder::package().add({"p/empty/"}).build()), "")).size(), 3u);
}

TEST(Archive, DescribesItsRecordsForMessages) {
  ZipBuilder zip = ZipBuilder::package();
  EXPECT_EQ(Archive::parse(bytes(zip.build()), "")->describe_records(), "model/model.pkl, code.py");
  for (int i = 0; i < 50; ++i) zip.add({"p/r" + std::to_string(i)});
  EXPECT_THAT(Archive::parse(bytes(zip.build()), "")->describe_records(), HasSubstr("r37 and 12 more"));
}

TEST(Archive, RefusesAnEmptyFile) { EXPECT_THAT(refusal(std::string()), HasSubstr("is empty (0 bytes)")); }

TEST(Archive, RefusesAFileThatIsNoZip) {
  EXPECT_THAT(refusal(std::string(1000, 'x')), HasSubstr("is no package: not a zip file (1000 bytes, no zip end record)"));
}

TEST(Archive, RefusesATruncatedZip) {
  std::string file = ZipBuilder::package().build();
  file.resize(file.size() - 10);
  EXPECT_THAT(refusal(file), HasSubstr("is a truncated zip file"));
}

TEST(Archive, RefusesAZipThatIsNoPackage) {
  EXPECT_THAT(refusal(ZipBuilder().add({"p/data.pkl", "x"}).add({"p/version", "3"})),
              HasSubstr("no record 'p/.data/extern_modules', which torch.package writes; found: p/data.pkl, p/version"));
  EXPECT_THAT(refusal(ZipBuilder().add({"a.txt"})), HasSubstr("expected all records in one root folder; found: a.txt"));
  EXPECT_THAT(refusal(ZipBuilder::package().add({"q/other.py"})), HasSubstr("expected all records in one root folder"));
  EXPECT_THAT(refusal(ZipBuilder()),
              HasSubstr("is a zip file but no package: expected all records in one root folder; found: none"));
}

TEST(Archive, RefusesNamesThatArePathTricks) {
  for (const char* name : {"p/../x", "p/..", "p/./x", "p//x", "p/a\\b", "../p/x"}) {
    EXPECT_THAT(refusal(ZipBuilder::package().add({name})), HasSubstr("has a record whose name '")) << name;
  }
  EXPECT_THAT(refusal(ZipBuilder::package().add({"/p/x"})), HasSubstr("'/p/x' is an absolute path"));
  EXPECT_THAT(refusal(ZipBuilder::package().add({""})), HasSubstr("'' is empty"));
  EXPECT_THAT(refusal(ZipBuilder::package().add({std::string("p/a\0b", 5)})), HasSubstr("'p/a?b' has a control character"));
  for (const char* name : {"p/\xff", "p/\xc0\xaf", "p/\xed\xa0\x80", "p/\xe4\xb8"}) {
    EXPECT_THAT(refusal(ZipBuilder::package().add({name})), HasSubstr("is not UTF-8")) << name;
  }
  EXPECT_TRUE(Archive::parse(bytes(ZipBuilder::package().add({"p/d\xc3\xb6g.txt"}).build()), ""));
}

TEST(Archive, RefusesTwoRecordsOfOneName) {
  EXPECT_THAT(refusal(ZipBuilder::package().add({"p/code.py", "y"})), HasSubstr("has two records of the name 'code.py'"));
}

TEST(Archive, RefusesOverlappingRecords) {
  EXPECT_THAT(refusal(ZipBuilder().add({.name = "p/.data/extern_modules"}).add({.name = "p/a", .header = 0, .zip64 = true})),
              HasSubstr("record 'p/a' is called 'p/.data/extern_modules' in its own header"));
  // A record inside another one's data.
  const std::string inner = "PK\x03\x04" + std::string(22, '\0') + std::string("\x03\0\0\0", 4) + "p/b";
  const ZipBuilder zip = ZipBuilder().add({.name = "p/a", .data = inner}).add({.name = "p/b", .header = 33});
  EXPECT_THAT(refusal(zip), HasSubstr("records 'p/a' and 'p/b' overlap"));
}

TEST(Archive, RefusesWhatItCannotRead) {
  EXPECT_THAT(refusal(ZipBuilder::package().add({.name = "p/x", .flags = 1})), HasSubstr("encrypted record 'p/x'"));
  EXPECT_THAT(refusal(ZipBuilder::package().add({.name = "p/x", .method = 12})),
              HasSubstr("compression method 12; expected stored (0) or deflated (8)"));
  EXPECT_THAT(refusal(ZipBuilder::package(), {.disk = 2}), HasSubstr("one part of a zip file of several parts"));
}

TEST(Archive, RefusesSymbolicLinks) {
  EXPECT_THAT(refusal(ZipBuilder::package().add({.name = "p/x", .data = "/etc/passwd", .is_link = true})),
              HasSubstr("symbolic link 'p/x'; expected files only"));
}

TEST(Archive, RefusesADeflatedRecordThatCannotBeSoLarge) {
  EXPECT_THAT(
      refusal(ZipBuilder::package().add({.name = "p/x", .data = "abc", .method = 8, .size = UINT64_MAX / 2, .zip64 = true})),
      HasSubstr("deflated record 'p/x' of 3 bytes that says it is 9223372036854775807 bytes"));
}

TEST(Archive, TellsTheCommentAndWhereItBegins) {
  const std::string file = ZipBuilder::package().build({.comment = "hello"});
  const Archive archive = Archive::parse(bytes(file), "").value();
  EXPECT_EQ(archive.comment(), "hello");
  EXPECT_EQ(archive.comment_offset(), file.size() - 5);
}

TEST(Archive, MapsAlignedStoragesOnly) {
  const std::string file = ZipBuilder()
                               .add({.name = "p/.data/extern_modules"})
                               .add({.name = "p/.data/0.storage", .data = "weights", .padding = 64 + 128 - 52 - 30 - 17 - 64})
                               .add({.name = "p/.data/1.storage", .data = "weights", .padding = 1})
                               .build();
  const Archive archive = Archive::parse(bytes(file), "").value();
  EXPECT_EQ(archive.find(".data/0.storage")->offset % 64, 0u);
  for (const Record& record : archive.records()) {
    EXPECT_EQ(record.is_mapped(), record.name.ends_with(".storage") && record.offset % 64 == 0) << record.name;
  }
}

TEST(Archive, RefusesContradictingSizesAndOffsets) {
  EXPECT_THAT(refusal(ZipBuilder::package().add({.name = "p/x", .data = "abc", .size = 4})), HasSubstr("of two sizes: 4 and 3"));
  EXPECT_THAT(refusal(ZipBuilder::package().add({.name = "p/x", .header = 5})), HasSubstr("no header of record 'p/x' at 5"));
  EXPECT_THAT(refusal(ZipBuilder::package().add({.name = "p/x", .header = 1u << 30})), HasSubstr("no header of record 'p/x'"));
  EXPECT_THAT(refusal(ZipBuilder::package().add({.name = "p/x", .header = UINT64_MAX - 8, .zip64 = true})),
              HasSubstr("no header of record"));
  EXPECT_THAT(refusal(ZipBuilder::package().add({.name = "p/x", .zip64 = true, .zip64_missing = true})),
              HasSubstr("without its zip64 sizes"));
  EXPECT_THAT(refusal(ZipBuilder::package(), {.count = 9}), HasSubstr("cannot have 9 entries"));
  EXPECT_THAT(refusal(ZipBuilder::package(), {.zip64 = true, .count = UINT64_MAX / 2}), HasSubstr("entries"));
  EXPECT_THAT(refusal(ZipBuilder::package(), {.offset = 100000}), HasSubstr("does not fit before its end record"));
  EXPECT_THAT(refusal(ZipBuilder::package(), {.zip64 = true, .size = UINT64_MAX - 1}),
              HasSubstr("does not fit before its end record"));
  EXPECT_THAT(refusal(ZipBuilder::package(), {.zip64 = true, .zip64_at = UINT64_MAX - 1}),
              HasSubstr("zip64 end record is not where its locator says"));
}

// Whatever parse() accepts must be safe to use.
void expect_sound(const std::string& file) {
  const Result<Archive> archive = Archive::parse(bytes(file), "model.pt");
  if (!archive) {
    EXPECT_EQ(archive.failure().code, ErrorCode::kInvalidPackage);
    EXPECT_FALSE(archive.failure().message.empty());
    return;
  }
  std::set<std::string> seen;
  for (const Record& record : archive->records()) {
    EXPECT_LE(record.offset, file.size());
    EXPECT_LE(record.stored_size, file.size() - record.offset);
    EXPECT_TRUE(seen.insert(record.name).second);
    EXPECT_EQ(record.name.find(".."), std::string::npos);
    EXPECT_TRUE(is_utf8(record.name));
  }
}

std::vector<std::string> samples() {
  ZipBuilder zip = ZipBuilder::package();
  zip.add({.name = "p/.data/0.storage", .data = std::string(64, 'w'), .padding = 30, .zip64 = true})
      .add({.name = "p/z", .data = "abc", .method = 8, .size = 9});
  return {zip.build(), zip.build({.zip64 = true}), zip.build({.comment = "a comment"})};
}

TEST(Archive, IsSoundWhereverTheFileIsCut) {
  for (const std::string& file : samples()) {
    for (std::size_t size = 0; size < file.size(); ++size) {
      expect_sound(file.substr(0, size));
      expect_sound(file.substr(size));
    }
  }
}

TEST(Archive, IsSoundWhicheverByteIsFlipped) {
  for (std::string file : samples()) {
    for (std::size_t at = 0; at < file.size(); ++at) {
      const char original = file[at];
      for (const int mask : {0x01, 0x02, 0x08, 0x10, 0x80, 0xff}) {
        file[at] = static_cast<char>(original ^ mask);
        expect_sound(file);
      }
      file[at] = original;
    }
  }
}

TEST(Archive, IsSoundWhicheverFieldIsHuge) {
  for (std::string file : samples()) {
    for (std::size_t at = 0; at + 8 <= file.size(); ++at) {
      const std::string original = file.substr(at, 8);
      for (const std::string& value :
           {std::string(8, '\xff'), std::string(8, '\x7f'), std::string(4, '\xff'), std::string(2, '\xff')}) {
        file.replace(at, value.size(), value);
        expect_sound(file);
        file.replace(at, 8, original);
      }
    }
  }
}

}  // namespace
}  // namespace deploy
