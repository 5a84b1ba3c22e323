#include "lib/package/tree.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <numeric>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "lib/package/digest.h"

namespace deploy {

namespace {

std::string record_name(const std::string& package, const std::string& resource) {
  std::string name = package;
  std::ranges::replace(name, '.', '/');
  return name.empty() ? resource : name + "/" + resource;
}

// How distributions are compared: runs of '-', '_' and '.' are one '-', and case does not count.
std::string normalized(std::string_view name) {
  std::string out;
  for (const char c : name) {
    const bool separator = c == '-' || c == '_' || c == '.';
    if (!separator) {
      out += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    } else if (!out.empty() && out.back() != '-') {
      out += '-';
    }
  }
  return out;
}

// "transformers" out of "transformers-5.23.0.dist-info"; empty for any other folder.
std::string distribution_of(std::string_view folder) {
  if (!folder.ends_with(".dist-info") && !folder.ends_with(".egg-info")) return {};
  return normalized(folder.substr(0, folder.find('-')));
}

// Which unit each name belongs to: 0 is that of the package's own modules, i + 1 that of interned distribution i.
class Owners {
 public:
  explicit Owners(const Manifest& manifest) : parents_(manifest.interned.size() + 1) {
    std::iota(parents_.begin(), parents_.end(), std::size_t{0});
    for (std::size_t i = 0; i < manifest.interned.size(); ++i) {
      const Manifest::Distribution& distribution = manifest.interned[i];
      join("/" + normalized(distribution.name), i + 1);
      for (const std::string& module : distribution.modules) join(module.substr(0, module.find('.')), i + 1);
    }
  }

  std::size_t unit_of(const std::string& top) {
    const std::string distribution = distribution_of(top);
    const auto found = names_.find(distribution.empty() ? top : "/" + distribution);
    return found == names_.end() ? 0 : root(found->second);
  }

 private:
  void join(const std::string& name, std::size_t unit) {
    const auto [found, is_new] = names_.emplace(name, unit);
    if (!is_new) parents_[root(unit)] = root(found->second);
  }
  std::size_t root(std::size_t unit) {
    for (; parents_[unit] != unit; unit = parents_[unit]) parents_[unit] = parents_[parents_[unit]];  // halves the way
    return unit;
  }

  std::vector<std::size_t> parents_;
  std::unordered_map<std::string, std::size_t> names_;
};

// The name that a file or folder of the tree can be imported by; empty: none.
std::string importable(const std::string& first, bool is_folder) {
  if (is_folder) return distribution_of(first).empty() ? first : "";
  return first.ends_with(".py") ? first.substr(0, first.size() - 3) : "";
}

bool is_byte_code(const std::string& name) { return name.find("__pycache__/") != name.npos; }

// A file that is a folder too could not be unpacked. Where a slash is the least of all characters, what lies in a folder comes
// right behind a file of its name.
const std::string* file_that_is_a_folder(std::vector<const Record*> records) {
  const auto key = [](char c) { return c == '/' ? 0u : static_cast<unsigned char>(c); };
  std::ranges::sort(records, [&](const Record* a, const Record* b) {
    return std::ranges::lexicographical_compare(a->name, b->name, {}, key, key);
  });
  for (std::size_t i = 1; i < records.size(); ++i) {
    const std::string &file = records[i - 1]->name, &next = records[i]->name;
    if (next.size() > file.size() && next[file.size()] == '/' && next.starts_with(file)) return &next;
  }
  return nullptr;
}

std::string key_of(const TreeUnit& unit, const PackageManifest& manifest) {
  Sha256 key;
  key.add("deploy tree 1\n");
  for (const Record* record : unit.records) {
    key.add(manifest.digests.at(record->name) + " " + std::to_string(record->size) + " " + record->name + "\n");
  }
  return hex(key.finish());
}

}  // namespace

Result<std::vector<TreeUnit>> plan_tree(const Archive& archive, const PackageManifest& manifest, const std::string& path) {
  std::unordered_set<std::string> pickles;
  for (const Manifest::Callable& each : manifest.manifest.callables) pickles.insert(record_name(each.package, each.resource));
  for (const Manifest::Example& each : manifest.manifest.examples) {
    pickles.insert(record_name(each.inputs.first, each.inputs.second));
    pickles.insert(record_name(each.outputs.first, each.outputs.second));
  }
  Owners owners(manifest.manifest);
  std::map<std::size_t, TreeUnit> units;
  std::unordered_set<std::string> tops;
  for (const Record& record : archive.records()) {
    if (record.name.starts_with(".data/") || record.name == "byteorder" || pickles.contains(record.name)) continue;
    if (record.name.starts_with("fx-generated/")) continue;  // has the same names in every package: see guest/package.py
    if (is_byte_code(record.name)) continue;                 // it could be of other sources
    const std::size_t slash = record.name.find('/');
    const bool is_folder = slash != record.name.npos;
    const std::string first = record.name.substr(0, slash), top = importable(first, is_folder);
    TreeUnit& unit = units[owners.unit_of(top.empty() ? first : top)];
    unit.records.push_back(&record);
    if (!top.empty() && tops.insert(top).second) unit.tops.push_back(top);  // a name is of one unit
  }
  std::vector<TreeUnit> out;
  for (auto& [number, unit] : units) {
    std::ranges::sort(unit.records, {}, &Record::name);
    std::ranges::sort(unit.tops);
    if (const std::string* name = file_that_is_a_folder(unit.records)) {
      return Failure{ErrorCode::kInvalidPackage,
                     "package '" + path + "' has a record '" + *name + "' below a record that is a file"};
    }
    unit.key = key_of(unit, manifest);
    out.push_back(std::move(unit));
  }
  return out;
}

}  // namespace deploy
