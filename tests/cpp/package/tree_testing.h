#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "lib/package/digest.h"
#include "lib/package/package_file.h"
#include "lib/package/tree.h"
#include "lib/package/tree_cache.h"
#include "tests/cpp/package/zip_builder.h"

// Packages with a manifest, for tests of what is made of their records.

namespace deploy::testing {

using Records = std::map<std::string, std::string>;

inline std::string digest_of(const std::string& text) {
  Sha256 digest;
  digest.add(text);
  return hex(digest.finish());
}

// A package of these records, with a manifest that says so; `more` are further members of it.
inline std::string package(const Records& records, const std::string& more = "") {
  ZipBuilder zip;
  zip.add({"p/.data/extern_modules", "\n"});
  std::string list;
  for (const auto& [name, data] : records) {
    zip.add({"p/" + name, data});
    list += (list.empty() ? "\"" : ", \"") + name + "\": {\"sha256\": \"" + digest_of(data) +
            "\", \"size\": " + std::to_string(data.size()) + "}";
  }
  return zip.add({"p/.data/deploy/manifest.json", "{\"format\": 1, \"records\": {" + list + "}" + more + "}"}).build();
}

inline const Records kRecords = {
    {"lib/__init__.py", "x = 1\n"}, {"lib/data.txt", "data"},           {"lib-1.0.dist-info/METADATA", "m"},
    {"own.py", "y = 2\n"},          {"own_data/list.txt", "a"},         {"model/model.pkl", "pickle"},
    {"fx-generated/_0.py", ""},     {"lib/__pycache__/a.pyc", "stale"}, {"byteorder", "little"}};
inline const std::string kManifest = R"(, "callables": [{"package": "model", "resource": "model.pkl"}],
    "interned": [{"distribution": "Lib", "version": "1.0", "modules": ["lib"]}])";

class TreeTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directory(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  PackageFile open(const std::string& content, const std::string& name = "m.pt", const FileOptions& options = {}) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return PackageFile::open((folder_ / name).string(), options).value();
  }
  static std::vector<TreeUnit> plan(const PackageFile& file) {
    return plan_tree(file.archive(), *file.manifest(), file.path()).value();
  }
  TreeCache cache() const { return TreeCache::open((folder_ / "cache").string()).value(); }
  static std::string read(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  const std::filesystem::path folder_ = std::filesystem::temp_directory_path() / ("deploy_tree_" + std::to_string(::getpid()));
};

}  // namespace deploy::testing
