#include "lib/package/manifest_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/cpp/package/tree_testing.h"

namespace deploy {
namespace {

using testing::digest_of;
using ::testing::HasSubstr;
using testing::package;
using testing::ZipBuilder;

class ManifestRecordTest : public testing::TreeTest {
 protected:
  // A package with a.py and this manifest.
  std::string written(const std::string& manifest) {
    const std::string content = ZipBuilder()
                                    .add({"p/.data/extern_modules", ""})
                                    .add({"p/a.py", "x"})
                                    .add({"p/.data/deploy/manifest.json", manifest})
                                    .build();
    const std::filesystem::path path = folder_ / "m.pt";
    std::ofstream(path, std::ios::binary) << content;
    return path.string();
  }
};

TEST_F(ManifestRecordTest, ManifestsThatContradictTheArchiveAreRefused) {
  const auto problem = [&](const std::string& manifest) {
    const auto file = PackageFile::open(written(manifest));
    return file ? "opened" : file.failure().message;
  };
  const std::string record = R"({"sha256": ")" + digest_of("x") + R"(", "size": 1})";
  EXPECT_EQ(problem(R"({"format": 1, "records": {"a.py": )" + record + "}}"), "opened");
  EXPECT_THAT(problem("[1]"), HasSubstr("is no JSON object"));
  EXPECT_THAT(problem("{\"format\": 1, "), HasSubstr("is no JSON object"));
  EXPECT_THAT(problem(std::string(100000, '[')), HasSubstr("is no JSON object"));
  EXPECT_THAT(problem(R"({"records": {}})"), HasSubstr("has no format number"));
  EXPECT_THAT(problem(R"({"format": 2})"), HasSubstr("has format 2; this version of deploy reads formats up to 1"));
  EXPECT_THAT(problem(R"({"format": 1})"), HasSubstr("'records' is not an object"));
  EXPECT_THAT(problem(R"({"format": 1, "records": {}})"), HasSubstr("'a.py' is not a record that the manifest lists"));
  EXPECT_THAT(problem(R"({"format": 1, "records": {"b.py": )" + record + "}}"), HasSubstr("'b.py' is not in the package"));
  EXPECT_THAT(problem(R"({"format": 1, "records": {"a.py": {"sha256": "00", "size": 1}}})"), HasSubstr("SHA-256"));
  const std::string records = R"(, "records": {"a.py": )" + record + "}}", digits(5000, '9');
  EXPECT_EQ(problem(R"({"format": 1, "unknown": [1, {"a": [[]]}])" + records), "opened");
  EXPECT_THAT(problem(R"({"format": 1, "python": "3.)" + digits + "\"" + records),
              HasSubstr("'python' is not a text of at most 200 bytes; it has 5002"));
  EXPECT_THAT(problem(R"({"format": 1, "externs": [{"version": ")" + digits + "\"}]" + records),
              HasSubstr("'version' is not a text of at most 200 bytes; it has 5000"));
  EXPECT_THAT(problem(R"({"format": 1, "interned": [{"modules": [")" + digits + "\"]}]" + records),
              HasSubstr("'modules' is not a text of at most 2048 bytes; it has 5000"));
}

TEST_F(ManifestRecordTest, AnExampleMayHaveNoRecordedResult) {
  const auto open = [&](const std::string& example) {
    const std::string manifest = R"({"format": 1, "callables": [{"package": "m", "resource": "m.pkl"}], "examples": [)" + example +
                                 R"(], "records": {"a.py": {"sha256": ")" + digest_of("x") + R"(", "size": 1}}})";
    return read_manifest(written(manifest));
  };
  using Pair = std::pair<std::string, std::string>;
  for (const char* outputs : {R"("outputs": null)", R"("seed": 1)"}) {
    const auto manifest = open(std::string(R"({"callable": 0, "inputs": ["e", "0.pkl"], )") + outputs + "}");
    ASSERT_TRUE(manifest);
    ASSERT_EQ(manifest->examples.size(), 1u);
    EXPECT_EQ(manifest->examples[0].inputs, (Pair{"e", "0.pkl"}));
    EXPECT_EQ(manifest->examples[0].outputs, Pair{});
  }
  EXPECT_EQ(open(R"({"inputs": ["e", "0.pkl"], "outputs": ["e", "1.pkl"]})")->examples[0].outputs, (Pair{"e", "1.pkl"}));
  for (const char* wrong : {"[]", R"(["e"])", R"(["e", null])", R"("e/1.pkl")", "false", "0"}) {
    try {
      (void)open(std::string(R"({"inputs": ["e", "0.pkl"], "outputs": )") + wrong + "}");
      ADD_FAILURE() << wrong;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidPackage);
      EXPECT_THAT(error.what(), HasSubstr("'outputs' is not "));
    }
  }
}

TEST_F(ManifestRecordTest, AnObjectsGradModeIsWhatTheManifestSaysOrNoGradWhereItUsesTorch) {
  const auto parsed = [&](const std::string& members) {
    const std::string record = R"({"sha256": ")" + digest_of("x") + R"(", "size": 1})";
    std::ofstream(folder_ / "m.pt", std::ios::binary)
        << ZipBuilder()
               .add({"p/.data/extern_modules", ""})
               .add({"p/a.py", "x"})
               .add({"p/.data/deploy/manifest.json", R"({"format": 1, "records": {"a.py": )" + record + "}, " + members + "}"})
               .build();
    return PackageFile::open((folder_ / "m.pt").string());
  };
  const auto mode = [&](const std::string& members) { return parsed(members)->manifest()->manifest.callables.at(0).grad_mode; };
  EXPECT_EQ(mode(R"("callables": [{}])"), std::nullopt);
  EXPECT_EQ(mode(R"("callables": [{"grad_mode": null}])"), std::nullopt);
  EXPECT_EQ(mode(R"("torch": "2.13.0", "callables": [{}])"), GradMode::kNoGrad);
  EXPECT_EQ(mode(R"("callables": [{"grad_mode": "no_grad"}])"), GradMode::kNoGrad);
  EXPECT_EQ(mode(R"("callables": [{"grad_mode": "inference_mode"}])"), GradMode::kInferenceMode);
  EXPECT_EQ(mode(R"("torch": "2.13.0", "callables": [{"grad_mode": "enable_grad"}])"), GradMode::kEnableGrad);
  EXPECT_THAT(parsed(R"("callables": [{"grad_mode": "off"}])").failure().message,
              HasSubstr("'grad_mode' is not no_grad, inference_mode or enable_grad"));
  EXPECT_THAT(parsed(R"("callables": [{"grad_mode": 3}])").failure().message, HasSubstr("'grad_mode' is not a string"));
}

long resident_kib() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

std::string deflated(const std::string& data) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, data.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

TEST_F(ManifestRecordTest, AManifestCostsWhatItsRecordsAccountFor) {
  const auto problem = [&](const std::string& manifest) {
    const std::string content = ZipBuilder()
                                    .add({"p/.data/extern_modules", ""})
                                    .add({.name = "p/.data/deploy/manifest.json",
                                          .data = deflated(manifest),
                                          .method = 8,
                                          .size = manifest.size(),
                                          .checksum_of = manifest})
                                    .build();
    std::ofstream(folder_ / "m.pt", std::ios::binary) << content;
    const auto file = PackageFile::open((folder_ / "m.pt").string());
    return file ? "opened" : file.failure().message;
  };
  const auto repeated = [](const std::string& text, std::size_t size) {
    std::string out;
    while (out.size() < size) out += text;
    return out;
  };
  std::string huge = R"({"format": 1, "records": {}, "externs": [)" + repeated("{},", 60 << 20) + "{}]}";
  const long before = resident_kib();
  EXPECT_THAT(problem(huge), HasSubstr("has a manifest of " + std::to_string(huge.size()) + " bytes; expected at most 1049"));
  for (const char* name : {"externs", "unknown", "records", "own_modules"}) {
    for (const char* text : {"{},", "[],", "0,", "[{\"a\":[]}],"}) {
      const std::string list = repeated(text, 1000 << 10) + "0]";
      EXPECT_THAT(problem("{\"format\": 1, \"" + std::string(name) + "\": [" + list + ", \"records\": {}}"),
                  HasSubstr("has more than 100012 values, for a package of 2 records"));
    }
  }
  EXPECT_LT(resident_kib() - before, 100 << 10);
}

TEST_F(ManifestRecordTest, AManifestsOwnSizeHasNoPartInTheChecksOfTheRest) {
  const std::string manifest = R"({"format": 1, "records": {}, "note": ")" + std::string(900000, 'n') + "\"}";
  const std::string content =
      ZipBuilder().add({"p/.data/extern_modules", ""}).add({"p/.data/deploy/manifest.json", manifest}).build();
  EXPECT_EQ(open(content).manifest()->manifest.json, manifest);
}

}  // namespace
}  // namespace deploy
